"""--verify: each file is reported as matching or wrong, and nothing is changed."""

import io
from pathlib import Path
from typing import Any

from omz_model_tools.common.report import Report
from omz_model_tools.download.audit import Audit
from omz_model_tools.download.postprocess import postprocess
from support.model_tree import descriptor, file_entry, load_models, write_model

URL = "https://a/b"


def check(tmp_path: Path) -> tuple[list[str], str, str]:
    out, err = io.StringIO(), io.StringIO()
    failed = Audit(tmp_path / "out", Report(out, err)).check(load_models([tmp_path / "models"]))
    return failed, out.getvalue(), err.getvalue()


def model(tmp_path: Path, name: str, *entries: dict[str, Any], **changed: Any) -> Path:
    """Describe a model; returns its folder, which is there."""
    write_model(tmp_path / "models", name, descriptor(*entries, **changed))
    folder = tmp_path / "out/public" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def test_matching_wrong_and_missing_files(tmp_path: Path) -> None:
    good = model(tmp_path, "good", file_entry("x", b"abc", URL))
    bad = model(tmp_path, "bad", *(file_entry(name, b"abd", URL) for name in ("missing", "short", "other", "true")))
    for path, content in (
        (good / "x", b"abc"),
        (bad / "short", b"ab"),
        (bad / "other", b"abc"),
        (bad / "true", b"abd"),
    ):
        path.write_bytes(content)
    assert check(tmp_path) == (
        ["bad"],
        f"OK {bad}/true\nOK {good}/x\n",
        f"########## Error: {bad}/missing: expected a downloaded file, got none\n"
        f"########## Error: {bad}/short: file is shorter (2 B) than expected (3 B)\n"
        f'########## Error: Hash mismatch for "{bad}/other"\n'
        "##########      Expected: a52d159f262b2c6ddb724a61840befc36eb30c88877a4030b65cbe86298449c9\n"
        "##########      Actual:   ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n",
    )


def test_a_place_that_is_taken(tmp_path: Path) -> None:
    place = model(tmp_path, "toy", file_entry("x", b"abc", URL)) / "x"
    place.mkdir()
    failed, _, err = check(tmp_path)
    assert failed == ["toy"]
    assert err == f"########## Error: {place}: expected a file or nothing, got a folder; move it away\n"


def test_what_postprocessing_made_is_checked_by_its_record(tmp_path: Path) -> None:
    step = {"$type": "regex_replace", "file": "x.txt", "pattern": "sea", "replacement": "lake"}
    folder = model(tmp_path, "toy", file_entry("x.txt", b"the sea", URL), postprocessing=[step])
    (folder / "x.txt").write_bytes(b"the sea")
    failed, out, err = check(tmp_path)
    assert (failed, out) == (["toy"], f"OK {folder}/x.txt\n")
    wanted = 'expected the results of the descriptor\'s "postprocessing", got no record of them'
    assert err == f"########## Error: {folder}: {wanted}\n"
    postprocess(load_models([tmp_path / "models"])[0], folder)
    failed, out, err = check(tmp_path)
    assert (failed, err) == ([], "")
    assert f"OK {folder}/x.txt\n" in out
    (folder / "x.txt").write_bytes(b"the LAKE")
    failed, _, err = check(tmp_path)
    assert failed == ["toy"]
    assert err.startswith(f'########## Error: Hash mismatch for "{folder}/x.txt"\n')
