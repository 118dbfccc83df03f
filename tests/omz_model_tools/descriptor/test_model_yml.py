"""A model.yml of Open Model Zoo's or ours is read; a broken one is one line with its location."""

import copy
import random
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from omz_model_tools.common.problem import Problem
from omz_model_tools.descriptor.catalogue import packaged_root
from omz_model_tools.descriptor.model import (
    Checksum,
    FileSource,
    HttpSource,
    InputInfo,
    Model,
    RegexReplace,
    UnpackArchive,
)
from omz_model_tools.descriptor.model_yml import read_model
from omz_model_tools.descriptor.schema import Location
from support import DATA
from support.model_tree import descriptor, file_entry

OMZ = DATA / "omz" / "gpt-2" / "model.yml"
PACKAGED = packaged_root() / "public" / "gpt-2" / "model.yml"


def read(raw: bytes | dict[str, Any], name: str = "toy") -> Model:
    if isinstance(raw, dict):
        raw = yaml.safe_dump(raw, sort_keys=False).encode()
    return read_model(raw, Path("/zoo/public/toy/model.yml"), PurePosixPath("public", name), Location(("m.yml",)))


def complaint(raw: bytes | dict[str, Any], name: str = "toy") -> str:
    with pytest.raises(Problem) as caught:
        read(raw, name)
    return str(caught.value)


def test_open_model_zoos_own_descriptor_loads() -> None:
    model = read(OMZ.read_bytes(), "gpt-2")
    assert (model.name, model.framework, model.task_type) == ("gpt-2", "pytorch", "text_prediction")
    assert model.license == "https://huggingface.co/gpt2"
    assert model.description.startswith('The "gpt-2" model is a one of Generative Pre-trained Transformer (GPT)')
    assert model.recipe is None
    assert model.precisions == ("FP16", "FP32")
    assert model.input_info == (InputInfo("input", None, "NS"),)
    assert model.model_optimizer_args == ("--input_model=$conv_dir/gpt-2.onnx", "--output=output")
    assert len(model.conversion_to_onnx_args) == 11
    weights = model.files[1]
    assert len(model.files) == 6
    assert (str(weights.name), weights.size) == ("gpt2/pytorch_model.bin", 548118077)
    assert weights.checksum == Checksum(
        "sha384", "da7d73f86e4aaa2ea10ae5cca81af55f1914ad27a65127a8fe171c30fda2addb035bb81e02855c9ff7e4c0c411330d3d"
    )
    mirror = "https://storage.openvinotoolkit.org/repositories/open_model_zoo/public/2023.2/gpt-2/pytorch_model.bin"
    assert weights.sources == (HttpSource(mirror),)
    assert weights.original_source == HttpSource("https://huggingface.co/gpt2/resolve/main/pytorch_model.bin")
    assert model.postprocessing[0] == UnpackArchive(PurePosixPath("transformers-4.9.1-py3-none-any.whl"), "zip")
    assert len(model.postprocessing) == 13
    last = model.postprocessing[-1]
    assert isinstance(last, RegexReplace)
    assert (str(last.file), last.replacement, last.count) == ("transformers/trainer.py", r"# \g<0>", 0)
    assert last.pattern.pattern == "from .dependency_versions_check import dep_version_check"


def test_every_way_to_name_a_source() -> None:
    source = [
        "https://a/b",
        {"$type": "http", "url": "http://c/d"},
        {"$type": "google_drive", "id": "1a/b"},
        {"$type": "file", "path": "sub/weights.bin"},
    ]
    (file,) = read(descriptor(file_entry("x", b"", source))).files
    drive = "https://drive.usercontent.google.com/download?export=download&confirm=t&id=1a%2Fb"
    expected = ("https://a/b", "http://c/d", drive, "/zoo/public/toy/sub/weights.bin")
    assert tuple(str(source) for source in file.sources) == expected
    assert isinstance(file.sources[3], FileSource)


def test_checksums_plain_and_tagged_and_the_size_that_may_be_absent() -> None:
    plain = file_entry("a", b"", "https://a/a", checksum="AB" * 48)
    tagged = file_entry("b", b"", "https://a/b", checksum={"$type": "sha384", "value": "cd" * 48})
    sizeless = file_entry("c", b"", "https://a/c", size=None, max_size=7)
    files = read(descriptor(plain, tagged, sizeless)).files
    assert [file.checksum.digest[:4] for file in files] == ["abab", "cdcd", "e3b0"]
    assert [file.size for file in files] == [0, 0, None]
    assert [file.longest for file in files] == [0, 0, 7]
    for entry in (plain, tagged):
        del entry["size"]
        assert '"size": expected a non-negative integer, got no such key' in complaint(descriptor(entry))


def test_frameworks_conversions_and_precisions() -> None:
    assert read(descriptor(recipe=None, framework="onnx", model_optimizer_args=[])).model_optimizer_args == ()
    assert read(descriptor(quantized="INT8")).precisions == ("FP16-INT8", "FP32-INT8")
    both = [file_entry(f"{folder}/toy.{end}", b"", "https://a/b") for folder in ("FP16", "FP32-INT8")
            for end in ("xml", "bin")]  # fmt: skip
    ready = read(descriptor(*both, recipe=None, framework="dldt"))
    assert (ready.precisions, ready.is_converted) == (("FP16", "FP32-INT8"), False)


def test_model_info_becomes_plain_values() -> None:
    info = {"labels": ["a", "b"], "masks": [0, 1], "iou_threshold": 0.5, "model_type": "x"}
    assert dict(read(descriptor(model_info=info)).model_info) == {**info, "labels": ("a", "b"), "masks": (0, 1)}


# Ours, changed in one place; the first line is the issue's own example.
ENTRY = 'files[0] "a/b"'
SHA = 'm.yml: files[0] "a/b": "checksum"'
KEPT = 'm.yml: files[0] "{}": "name": expected a name of its own, got one that these tools keep for themselves'


def changed_file(**changes: Any) -> dict[str, Any]:
    return descriptor(file_entry("a/b", b"", **{"source": "https://a/b", **changes}))


COMPLAINTS = [
    (changed_file(size="548"), f"m.yml: {ENTRY}: \"size\": expected a non-negative integer, got '548'"),
    (changed_file(size=True), f'm.yml: {ENTRY}: "size": expected a non-negative integer, got True'),
    (
        changed_file(max_size=7),
        f'm.yml: {ENTRY}: "max_size": expected no such key beside a size, which the file has exactly',
    ),
    (
        changed_file(size=None, max_size="7"),
        f'm.yml: {ENTRY}: "max_size": expected a non-negative integer, got \'7\'',
    ),
    (changed_file(size=-1), f'm.yml: {ENTRY}: "size": expected a non-negative integer, got -1'),
    (changed_file(checksum=None), f"{SHA}: expected a value, got no such key"),
    (changed_file(checksum=5), f"{SHA}: expected a mapping, got 5"),
    (changed_file(checksum="0" * 64), f"{SHA}: expected 96 hexadecimal digits (sha384), got '{'0' * 64}'"),
    (changed_file(checksum={"$type": "md5", "value": ""}),
     f"{SHA}: \"$type\": expected one of sha256, sha384, got 'md5'"),
    (changed_file(checksum={"$type": "sha256", "value": "xyz"}),
     f"{SHA}: \"value\": expected 64 hexadecimal digits (sha256), got 'xyz'"),
    (changed_file(checksum={"value": "0" * 64}), f'{SHA}: "$type": expected a value, got no such key'),
    (changed_file(sise=1), f'm.yml: {ENTRY}: "sise": unknown key, '
     "expected one of: checksum, max_size, name, original_source, size, source"),
    (changed_file(source=None), f'm.yml: {ENTRY}: "source": expected a value, got no such key'),
    (changed_file(source=[]), f'm.yml: {ENTRY}: "source": expected at least one source, got none'),
    (changed_file(source=7), f'm.yml: {ENTRY}: "source": expected a URL or a mapping, got 7'),
    (changed_file(source=["https://a/b", "ftp://a/b"]),
     f"m.yml: {ENTRY}: source[1]: expected an http or https URL, got 'ftp://a/b'"),
    (changed_file(source={"url": "http://a"}),
     f'm.yml: {ENTRY}: "source": "$type": expected one of file, google_drive, http, got no such key'),
    (changed_file(source={"$type": "ftp"}),
     f"m.yml: {ENTRY}: \"source\": \"$type\": expected one of file, google_drive, http, got 'ftp'"),
    (changed_file(source={"$type": "http"}), f'm.yml: {ENTRY}: "source": "url": expected a value, got no such key'),
    (changed_file(source={"$type": "file", "path": "../x"}),
     f'm.yml: {ENTRY}: "source": "path": expected a relative path without empty, "." and ".." parts, got \'../x\''),
    (changed_file(original_source={"$type": "http", "url": 1}),
     f'm.yml: {ENTRY}: "original_source": "url": expected a string, got 1'),
    (descriptor(file_entry("../x", b"", "https://a/b")),
     'm.yml: files[0] "../x": "name": expected a relative path without empty, "." and ".." parts, got \'../x\''),
    (descriptor(file_entry("/x", b"", "https://a/b")),
     'm.yml: files[0] "/x": "name": expected a relative path without empty, "." and ".." parts, got \'/x\''),
    (descriptor(file_entry("C:\\x", b"", "https://a/b")),
     'm.yml: files[0] "C:\\x": "name": expected a relative path with forward slashes, got \'C:\\\\x\''),
    (descriptor(file_entry("a\0b", b"", "https://a/b")),
     "m.yml: files[0]: \"name\": expected a name without control characters, got 'a\\x00b'"),
    (descriptor(file_entry("a", b"", "https://a/b"), file_entry("a", b"", "https://a/b")),
     'm.yml: files[1] "a": "name": expected a name of its own, got that of an earlier file'),
    (descriptor(file_entry(f".{'0' * 32}.part", b"", "https://a/b")), KEPT.format(f".{'0' * 32}.part")),
    (descriptor(file_entry("a/.postprocessed.json", b"", "https://a/b")), KEPT.format("a/.postprocessed.json")),
    (descriptor(file_entry(".FP16.NEW/x", b"", "https://a/b")), KEPT.format(".FP16.NEW/x")),
    (descriptor(file_entry("a", b"", "https://a/b"), file_entry("a/b", b"", "https://a/b")),
     'm.yml: files[1] "a/b": "name": expected a place of its own, but "a" is a file too'),
    (descriptor(files=[]), 'm.yml: "files": expected at least one file, got none'),
    (descriptor(files={"a": 1}), "m.yml: \"files\": expected a list, got {'a': 1}"),
    (descriptor(files=["a"]), "m.yml: files[0]: expected a mapping, got 'a'"),
    (descriptor(name="x"), 'm.yml: "name": unknown key, expected one of: conversion_to_onnx_args, description, files, '
     "framework, input_info, license, model_info, model_optimizer_args, postprocessing, "
     "quantizable, quantized, recipe, task_type"),
    (descriptor(description=None), 'm.yml: "description": expected a value, got no such key'),
    (descriptor(license=["MIT"]), "m.yml: \"license\": expected a string, got ['MIT']"),
    (descriptor(framework="jax"),
     "m.yml: \"framework\": expected one of caffe, dldt, mxnet, onnx, paddle, pytorch, tf, got 'jax'"),
    (descriptor(recipe=None),
     'm.yml: expected "recipe" or "model_optimizer_args": the model is no IR and needs a conversion'),
    (descriptor(recipe=None, model_optimizer_args=[]),
     'm.yml: "conversion_to_onnx_args": expected a list, '
     'since "framework: pytorch" without a recipe goes through ONNX'),
    (descriptor(framework="onnx", conversion_to_onnx_args=["x"]),
     'm.yml: "conversion_to_onnx_args": expected no such key with "framework: onnx"'),
    (descriptor(model_optimizer_args=["a", 1]), "m.yml: model_optimizer_args[1]: expected a string, got 1"),
    (descriptor(framework="dldt"),
     'm.yml: "recipe": expected no recipe, since with "framework: dldt" the files are the IR'),
    (descriptor(recipe="../evil"),
     "m.yml: \"recipe\": expected the name of a recipe (letters, digits and ._-), got '../evil'"),
    (descriptor(file_entry("FP16/toy.xml", b"", "https://a/b"), recipe=None, framework="dldt"),
     'm.yml: "files": expected "FP16/toy.bin" with the other files of FP16'),
    (descriptor(file_entry("FP8/toy.xml", b"", "https://a/b"), recipe=None, framework="dldt"),
     "m.yml: \"files\": expected one of FP16, FP16-INT1, FP16-INT8, FP32, FP32-INT1, FP32-INT8, got 'FP8'"),
    (descriptor(quantizable="yes"), "m.yml: \"quantizable\": expected a boolean, got 'yes'"),
    (descriptor(quantized="INT4"), "m.yml: \"quantized\": expected one of INT8, got 'INT4'"),
    (descriptor(input_info=[{"name": "x", "shape": [1, "n"]}]),
     "m.yml: input_info[0]: shape[1]: expected a non-negative integer, got 'n'"),
    (descriptor(model_info={"colour": "red"}), 'm.yml: "model_info": "colour": unknown key, expected one of: '
     "anchors, confidence_threshold, iou_threshold, labels, masks, model_type, resize_type"),
    (descriptor(model_info={"anchors": [1.5, "x"]}),
     "m.yml: \"model_info\": anchors[1]: expected a non-negative number, got 'x'"),
    (descriptor(postprocessing=[{"$type": "shell", "file": "a"}]),
     "m.yml: postprocessing[0]: \"$type\": expected one of regex_replace, unpack_archive, got 'shell'"),
    (descriptor(postprocessing=[{"$type": "unpack_archive", "file": "a", "format": "rar"}]),
     "m.yml: postprocessing[0]: \"format\": expected one of bztar, gztar, tar, xztar, zip, got 'rar'"),
    (descriptor(postprocessing=[{"$type": "regex_replace", "file": "a", "pattern": "(", "replacement": ""}]),
     "m.yml: postprocessing[0]: \"pattern\": expected a regular expression, got '(' "
     "(missing ), unterminated subpattern at position 0)"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "line"), COMPLAINTS)
def test_each_mistake_is_one_line_with_its_breadcrumb(value: dict[str, Any], line: str) -> None:
    assert complaint(value) == line


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        (b"", "m.yml: expected a mapping, got nothing"),
        (b"- a\n- b\n", "m.yml: expected a mapping, got ['a', 'b']"),
        (b"task_type: a\ntask_type: b\n", 'm.yml: "task_type": expected once, got a duplicate key'),
    ],
)
def test_a_text_that_is_no_descriptor_at_all(raw: bytes, line: str) -> None:
    assert complaint(raw) == line


def test_a_duplicate_key_inside_a_file_is_found_there() -> None:
    raw = PACKAGED.read_bytes().replace(b"    size: 548105171\n", b"    size: 1\n    size: 548105171\n")
    assert complaint(raw) == 'm.yml: files[2] "gpt2/model.safetensors": "size": expected once, got a duplicate key'


def test_a_folder_name_that_is_no_model_name() -> None:
    assert complaint(descriptor(), "g p t") == ("m.yml: expected a folder name of letters, digits and ._-, got 'g p t'")


# Hypothesis: whatever is done to a descriptor, the outcome is a Model or a Problem.

ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=20) | st.dates()
    | st.sampled_from(["sha256", "file", "../x", "C:", "https://a", "0" * 64, "0" * 96, "FP16/toy.xml", "(", "dldt"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip


def places(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value inside a value."""
    inner = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    return [way, *(found for key, content in inner for found in places(content, (*way, key)))]


def mutate(value: Any, chance: random.Random, odd: Any) -> Any:
    """Replace, remove, rename or add something at a place chosen at random."""
    value = copy.deepcopy(value)
    *way, last = chance.choice(places(value)[1:])
    holder = value
    for key in way:
        holder = holder[key]
    action = chance.choice(["replace", "remove", "add", "rename"])
    if action == "remove":
        del holder[last]
    elif action == "replace" or isinstance(holder, list):
        holder[last] = odd
    else:
        holder[chance.choice(["name", "sise", "recipe", "quantized", 5, None])] = (
            odd if action == "add" else holder.pop(last)
        )
    return value


def model_or_problem(raw: bytes) -> Model | Problem:
    try:
        return read(raw)
    except Problem as problem:
        return problem


def survives(raw: bytes) -> None:
    outcome = model_or_problem(raw)
    if isinstance(outcome, Problem):
        assert str(outcome).startswith("m.yml: ")
        assert str(outcome).isprintable()
        return
    model = outcome
    for file in model.files:
        folder = Path("/models/toy")
        assert folder in Path(f"{folder}/{file.name}").resolve().parents
        assert len(bytes.fromhex(file.checksum.digest)) == {"sha256": 32, "sha384": 48}[file.checksum.algorithm]
        assert file.checksum.algorithm == "sha256" or file.size is not None
        assert file.sources
    assert model.recipe is None or model.recipe.replace("-", "").replace("_", "").replace(".", "").isalnum()


BASES = [
    yaml.safe_load(OMZ.read_bytes()),
    yaml.safe_load(PACKAGED.read_bytes()),
    descriptor(
        file_entry("a/b", b"", [{"$type": "file", "path": "b"}, {"$type": "google_drive", "id": "1"}]),
        model_info={"labels": ["x"], "anchors": [1.5], "iou_threshold": 0.5},
        postprocessing=[{"$type": "regex_replace", "file": "a", "pattern": "b", "replacement": "c", "count": 1}],
    ),
]


@given(st.sampled_from(BASES), st.randoms(use_true_random=False), st.lists(ODD, min_size=1, max_size=3))
def test_a_mutated_descriptor_is_a_model_or_a_problem(base: Any, chance: random.Random, odd: list[Any]) -> None:
    for value in odd:
        base = mutate(base, chance, value) if isinstance(base, dict) and base else base
    survives(yaml.safe_dump(base, sort_keys=False, allow_unicode=True).encode("utf-8", "surrogatepass"))


@given(
    st.integers(0, 2000), st.integers(0, 40), st.binary(max_size=20) | st.sampled_from([b"&a ", b"*a", b"<<: ", b"- "])
)
@example(0, 0, b'"\\ud800": ')
def test_a_text_with_bytes_changed_is_a_model_or_a_problem(start: int, length: int, new: bytes) -> None:
    raw = PACKAGED.read_bytes()
    survives(raw[:start] + new + raw[start + length :])


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_a_model_or_a_problem(raw: bytes) -> None:
    survives(raw)
