"""What stands in the place of a file is refused by its name, before anything is read."""

import os
import re
from pathlib import Path

import pytest

import gpt2_recipe
from gpt2_recipe.plain_file import require_plain_file
from support.refusal import refused
from support.toy import Toy

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:248dfc3911869ec4\nsize 548105171\n"
FILES = ["config.json", "model.safetensors", "vocab.json", "merges.txt"]
PAGES = [
    b"<!DOCTYPE html>\n<html>",
    b"\r\n <!doctype HTML>",
    b"<html><head>",
    b"\xef\xbb\xbf<!-- x -->\n<HTML lang=en>",
]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "model.safetensors.index.json"])
def test_a_pipe_is_not_waited_for(tmp_path, name):
    Toy(seed=1).write(tmp_path)
    if name.endswith("index.json"):
        (tmp_path / "model.safetensors").unlink()
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    with pytest.raises(gpt2_recipe.Problem, match=f"{name}: cannot be read: expected a file, got a pipe or device"):
        gpt2_recipe.convert(tmp_path)


def refusal(folder: Path, name: str) -> str:
    return refused(gpt2_recipe.Problem, gpt2_recipe.convert, folder, begins=lambda folder: folder / name)


@pytest.mark.parametrize("name", [*FILES, "pytorch_model.bin", "model.safetensors.index.json", "tokenizer.json"])
def test_a_git_lfs_pointer_says_so_in_every_file_that_is_read(tmp_path, name):
    assert re.fullmatch(
        r"\S+: is a Git LFS pointer to 548,105,171 bytes, not the file itself; "
        "run `git lfs install`, then `git lfs pull` in its folder",
        refusal(with_content(tmp_path, name, POINTER), name),
    )


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("page", PAGES)
def test_a_page_that_was_saved_says_so(tmp_path, name, page):
    assert "is an HTML page, not the file itself" in refusal(with_content(tmp_path, name, page), name)


@pytest.mark.parametrize("content", [b"", b"<", b"<htmlx>", b"version https://example.org", b"<p>"])
def test_what_only_looks_like_one_is_left_to_its_reader(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    require_plain_file(tmp_path / "file")


def test_what_is_not_there_is_left_to_whoever_opens_it(tmp_path):
    require_plain_file(tmp_path / "none")


def with_content(folder: Path, name: str, content: bytes) -> Path:
    """Return the folder of a toy in which this file has this content, and is read."""
    Toy(seed=1).write(folder)
    instead = {"pytorch_model.bin": ["model.safetensors"], "model.safetensors.index.json": ["model.safetensors"]}
    instead["tokenizer.json"] = ["vocab.json", "merges.txt"]
    for other in instead.get(name, []):
        (folder / other).unlink()
    (folder / name).write_bytes(content)
    return folder
