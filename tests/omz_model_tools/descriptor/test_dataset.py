"""A dataset.yml is read, with the facts of the packaged ones; a broken one is one line."""

from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from omz_model_tools.common.problem import Problem
from omz_model_tools.descriptor.catalogue import DATASETS, find, packaged_dataset, packaged_root
from omz_model_tools.descriptor.dataset import Dataset, read_dataset
from omz_model_tools.descriptor.model import Downloadable, UnpackArchive
from omz_model_tools.descriptor.schema import Location
from support.model_tree import dataset, file_entry

PACKAGED = packaged_root() / "datasets" / "wikitext-2" / "dataset.yml"


def read(raw: bytes | dict[str, Any], name: str = "words") -> Dataset:
    if isinstance(raw, dict):
        raw = yaml.safe_dump(raw, sort_keys=False).encode()
    path = Path("/zoo/datasets/words/dataset.yml")
    return read_dataset(raw, path, PurePosixPath("datasets", name), Location(("d.yml",)))


def test_the_packaged_data_sets() -> None:
    lambada, wikitext, _ = (entry.read() for entry in find(DATASETS, [packaged_root()]))
    assert (lambada.name, wikitext.name) == ("lambada", "wikitext-2")
    assert [str(one.subdirectory) for one in (lambada, wikitext)] == ["datasets/lambada", "datasets/wikitext-2"]
    (passages,), (archive,) = lambada.files, wikitext.files
    assert (str(passages.name), passages.size) == ("lambada_test.jsonl", 1819752)
    assert passages.checksum.digest == "4aa8d02cd17c719165fc8a7887fddd641f43fcafa4b1c806ca8abc31fabdb226"
    assert [str(source).split("/")[2] for source in passages.sources] == [
        "openaipublic.blob.core.windows.net", "huggingface.co"
    ]  # fmt: skip
    assert (str(archive.name), archive.size) == ("wikitext-2-raw-v1.zip", 4721645)
    assert archive.checksum.digest == "ef7edb566e3e2b2d31b29c1fdb0c89a4cc683597484c3dc2517919c615435a11"
    assert [str(source).split("/")[2] for source in archive.sources] == ["huggingface.co", "wikitext.smerity.com"]
    assert lambada.postprocessing == ()
    assert wikitext.postprocessing == (UnpackArchive(archive.name, "zip"),)
    (test,) = wikitext.contents
    assert (str(test.name), test.size) == ("wikitext-2-raw/wiki.test.raw", 1290590)
    assert wikitext.checksum(test.name) == test.checksum
    assert wikitext.checksum(archive.name) == archive.checksum
    assert packaged_dataset("wikitext-2") == wikitext


def test_the_packaged_data_sets_have_a_page_with_their_sums() -> None:
    for entry in find(DATASETS, [packaged_root()]):
        page = entry.descriptor.with_name("README.md").read_text(encoding="utf-8")
        assert page.startswith(f"# {entry.name}\n")
        assert f"omz_data_downloader --name {entry.name}\n" in page
        for file in entry.read().files:
            assert f"{file.size:,}" in page or f"| {file.size} | `{file.checksum.digest}` |" in page


def test_a_data_set_can_be_downloaded_like_a_model() -> None:
    words: Downloadable = read(dataset(file_entry("a/b", b"", {"$type": "file", "path": "b"})))
    assert words == Dataset(
        name="words",
        subdirectory=PurePosixPath("datasets/words"),
        descriptor=Path("/zoo/datasets/words/dataset.yml"),
        description="Words.",
        license="https://example.invalid/LICENSE",
        files=words.files,
    )
    (file,) = words.files
    assert [str(source) for source in file.sources] == ["/zoo/datasets/words/b"]


@pytest.mark.parametrize(
    ("value", "line"),
    [
        (dataset(license=None), '"license": expected a value, got no such key'),
        (dataset(description=7), '"description": expected a string, got 7'),
        (dataset(files=[]), '"files": expected at least one file, got none'),
        (dataset(file_entry("a", b"", "ftp://a")),
         "files[0] \"a\": \"source\": expected an http or https URL, got 'ftp://a'"),
        (dataset(framework="onnx"),
         '"framework": unknown key, expected one of: contents, description, files, license, postprocessing'),
        (dataset(postprocessing=[{"$type": "shell"}]),
         "postprocessing[0]: \"$type\": expected one of regex_replace, unpack_archive, got 'shell'"),
    ],
)  # fmt: skip
def test_each_mistake_is_one_line_with_its_breadcrumb(value: dict[str, Any], line: str) -> None:
    with pytest.raises(Problem) as caught:
        read(value)
    assert str(caught.value) == f"d.yml: {line}"


def test_a_folder_name_that_is_no_data_sets_name() -> None:
    with pytest.raises(Problem, match=r"\Ad\.yml: expected a folder name of letters, digits and \._-, got 'w d'\Z"):
        read(dataset(), "w d")


def outcome(raw: bytes) -> Dataset | Problem:
    try:
        return read(raw)
    except Problem as problem:
        return problem


@given(
    st.integers(0, 1200), st.integers(0, 40), st.binary(max_size=20) | st.sampled_from([b"&a ", b"*a", b"<<: ", b"- "])
)
def test_a_text_with_bytes_changed_is_a_data_set_or_a_problem(start: int, length: int, new: bytes) -> None:
    raw = PACKAGED.read_bytes()
    found = outcome(raw[:start] + new + raw[start + length :])
    if isinstance(found, Problem):
        assert str(found).startswith("d.yml: ")
        assert str(found).isprintable()
    else:
        assert found.files
        assert all(file.sources for file in found.files)
