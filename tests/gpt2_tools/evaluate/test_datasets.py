"""datasets: the sum is the one in the data set's README; a file that is missing or another is one line."""

import hashlib
from importlib.resources import files
from pathlib import Path, PurePosixPath

import pytest

from gpt2_tools.common.problem import Problem
from gpt2_tools.evaluate.datasets import WIKITEXT_2, Dataset, read_dataset

TOY = Dataset("toy", PurePosixPath("sub/x.txt"), hashlib.sha256(b"some text").hexdigest())


def write(folder: Path, raw: bytes) -> Path:
    path = folder / "datasets/toy/sub/x.txt"
    path.parent.mkdir(parents=True)
    path.write_bytes(raw)
    return path


def test_the_readme_and_the_descriptor_of_the_data_set_say_the_same():
    folder = Path(str(files("omz_models"))) / "datasets" / WIKITEXT_2.name
    assert (folder / "dataset.yml").is_file()
    row = f"| `{WIKITEXT_2.file}` | 1290590 | `{WIKITEXT_2.sha256}` |"
    assert row in (folder / "README.md").read_text(encoding="utf-8").splitlines()


def test_a_text_where_the_downloader_puts_it(tmp_path):
    path = write(tmp_path, b"some text")
    text = read_dataset(TOY, tmp_path)
    assert (text.path, text.text, text.sha256) == (path, "some text", TOY.sha256)


def test_a_text_that_is_not_there(tmp_path):
    with pytest.raises(Problem) as caught:
        read_dataset(TOY, tmp_path)
    command = f"`omz_data_downloader --name toy -o {tmp_path}` brings it, and --data_dir says where it is"
    assert str(caught.value) == f"{tmp_path}/datasets/toy/sub/x.txt: there is no such file; {command}"
    with pytest.raises(Problem, match="; `omz_data_downloader --name toy` brings it"):
        read_dataset(TOY, Path())


def test_another_text(tmp_path):
    path = write(tmp_path, b"another")
    with pytest.raises(Problem) as caught:
        read_dataset(TOY, tmp_path)
    got = hashlib.sha256(b"another").hexdigest()
    command = f"`omz_data_downloader --name toy -o {tmp_path}` brings it again"
    assert str(caught.value) == f"{path}: expected the SHA-256 {TOY.sha256}, got {got}; {command}"
