"""What a finished download has in its folder; test_postprocess.py tries the records that real steps leave."""

import io
import zipfile
from pathlib import Path

import pytest

from omz_model_tools.common.problem import Problem
from omz_model_tools.descriptor.finished import RECORD, NotPostprocessed, check_finished, finished_files
from omz_model_tools.descriptor.model import Model
from omz_model_tools.download.postprocess import postprocess
from support.model_tree import descriptor, file_entry, load_models, write_model

UNPACK = {"$type": "unpack_archive", "file": "a.zip", "format": "zip"}
EDIT = {"$type": "regex_replace", "file": "in", "pattern": "x", "replacement": "y"}


def model(root: Path, *steps: dict[str, str]) -> Model:
    """A model of two files, laid into root as the downloader leaves them before the steps."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as opened:
        opened.writestr("in", b"x")
    contents = {"a.zip": out.getvalue(), "plain": b"p"}
    for name, content in contents.items():
        (root / name).write_bytes(content)
    files = [file_entry(name, content, "https://a/b") for name, content in contents.items()]
    write_model(root / "models", "toy", descriptor(*files, postprocessing=list(steps)))
    (found,) = load_models([root / "models"])
    return found


def names(found: Model, folder: Path) -> list[str] | None:
    files = finished_files(found, folder)
    return None if files is None else sorted(str(file.name) for file in files)


def test_without_steps_it_is_the_descriptors_files(tmp_path: Path) -> None:
    found = model(tmp_path)
    assert names(found, tmp_path) == ["a.zip", "plain"]
    assert dict(check_finished(found, tmp_path)) == {tmp_path / "a.zip": None, tmp_path / "plain": None}


def test_with_steps_it_is_what_they_left_by_their_record(tmp_path: Path) -> None:
    found = model(tmp_path, UNPACK, EDIT)
    assert names(found, tmp_path) is None
    *files, (folder, error) = check_finished(found, tmp_path)
    assert files == [(tmp_path / "a.zip", None), (tmp_path / "plain", None)]
    assert (folder, type(error)) == (tmp_path, NotPostprocessed)
    postprocess(found, tmp_path)
    assert names(found, tmp_path) == ["in", "in.orig", "plain"]
    assert dict(check_finished(found, tmp_path)) == {tmp_path / name: None for name in ("plain", "in", "in.orig")}
    assert names(model(tmp_path, UNPACK), tmp_path) is None  # other steps
    (tmp_path / RECORD).write_text("{}")
    assert names(found, tmp_path) is None


def test_a_folder_in_the_place_of_a_result(tmp_path: Path) -> None:
    found = model(tmp_path, UNPACK)
    postprocess(found, tmp_path)
    (tmp_path / "in").unlink()
    (tmp_path / "in").mkdir()
    with pytest.raises(Problem, match="in: expected a file or nothing, got a folder; move it away"):
        list(check_finished(found, tmp_path))
