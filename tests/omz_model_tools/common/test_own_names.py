"""What stands at a name of ours and is not ours goes, and what it leads to stays as it was."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from omz_model_tools.common.own_names import create_own, open_own, own_size, remove_planted

pytestmark = pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")

FOREIGN = b"somebody's"
PLANTED: dict[str, Callable[[Path, Path], None]] = {
    "a link to a file": lambda path, foreign: path.symlink_to(foreign),
    "a link to a folder": lambda path, foreign: path.symlink_to(foreign.parent),
    "a dangling link": lambda path, foreign: path.symlink_to(foreign.with_name("nothing")),
    "a second name": lambda path, foreign: path.hardlink_to(foreign),
    "a pipe": lambda path, foreign: os.mkfifo(path),
}


@pytest.fixture(params=PLANTED)
def planted(request, tmp_path: Path) -> Path:
    """Return a name of ours at which something is planted that leads to tmp_path/theirs/file, or to nothing."""
    foreign = tmp_path / "theirs/file"
    foreign.parent.mkdir()
    foreign.write_bytes(FOREIGN)
    PLANTED[request.param](tmp_path / ".ours", foreign)
    return tmp_path / ".ours"


def check_foreign(planted: Path) -> None:
    assert [(path.name, path.read_bytes()) for path in (planted.parent / "theirs").iterdir()] == [("file", FOREIGN)]


def test_it_counts_as_nothing(planted: Path) -> None:
    assert own_size(planted) == 0
    assert planted.is_symlink() or planted.exists()


@pytest.mark.parametrize("flags", [os.O_RDWR, os.O_RDWR | os.O_APPEND, os.O_WRONLY | os.O_TRUNC])
def test_opening_makes_a_file_in_its_place(planted: Path, flags: int) -> None:
    with os.fdopen(open_own(planted, flags), "wb") as stream:
        stream.write(b"ours")
    assert (planted.read_bytes(), stat.S_ISREG(planted.lstat().st_mode), own_size(planted)) == (b"ours", True, 4)
    check_foreign(planted)


def test_it_is_removed(planted: Path) -> None:
    remove_planted(planted)
    assert not planted.is_symlink()
    assert not planted.exists()
    check_foreign(planted)


def test_what_is_ours_stays(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"ours")
    for path in (tmp_path / "folder", tmp_path / "file", tmp_path / "nothing"):
        remove_planted(path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
    with os.fdopen(open_own(tmp_path / "file", os.O_RDWR | os.O_APPEND), "a+b") as stream:
        stream.write(b"!")
    assert (tmp_path / "file").read_bytes() == b"ours!"
    with create_own(tmp_path / "file") as stream:
        stream.write(b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
