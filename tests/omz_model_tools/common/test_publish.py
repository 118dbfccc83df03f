"""Tests of omz_model_tools.common.publish: whenever a process dies, one whole folder stays, the old or the new."""

import itertools
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from omz_model_tools.common.problem import Problem
from omz_model_tools.common.publish import PublishedFolder, check_file, locked_folders, publish_file

OLD = {"m.xml": "old xml", "m.bin": "old bin", "vocab.json": "old vocab"}
NEW = {"m.xml": "new xml", "m.bin": "new bin", "vocab.json": "new vocab", "merges.txt": "new merges"}
MINE = {"notes.txt": "the user's", "cache/blob": "the user's too"}


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def content(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def prepare(folder: Path, had: bool) -> PublishedFolder:
    place = PublishedFolder(folder / "FP16")
    if had:
        write(place.target, OLD | MINE)
    write(place.new, NEW)
    return place


def whole(place: PublishedFolder, had: bool, may_be_absent: bool = False) -> None:
    """The invariant, with nothing left beside the place."""
    found = content(place.target)
    if had:
        assert found in (OLD | MINE, NEW | MINE)
    else:
        assert found == NEW or (may_be_absent and not place.target.exists())
    assert [path.name for path in place.target.parent.iterdir()] == ["FP16"] * place.target.exists()


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
@pytest.mark.parametrize("had", [True, False])
@pytest.mark.parametrize("kind", ["old", "new"])
def test_a_link_at_its_temporary_names_is_not_followed(tmp_path: Path, had: bool, kind: str) -> None:
    place = PublishedFolder(tmp_path / "out/FP16")
    write(tmp_path / "theirs", OLD | MINE)
    write(tmp_path / "out", {"FP16/m.xml": "mine"} if had else {"notes.txt": "mine"})
    getattr(place, kind).symlink_to(tmp_path / "theirs")
    with locked_folders(tmp_path / "out/.lock", [place], lambda: None), place.replacing(0) as folder:
        write(folder, NEW)
    assert content(tmp_path / "theirs") == OLD | MINE
    assert content(place.target) == NEW
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["FP16"] + ["notes.txt"] * (not had)


@pytest.mark.parametrize("had", [True, False])
def test_a_new_folder_takes_its_place_and_foreign_files_stay(tmp_path: Path, had: bool) -> None:
    place = prepare(tmp_path, had)
    place.publish()
    assert content(place.target) == (NEW | MINE if had else NEW)
    whole(place, had)


def test_an_old_folder_is_restored_where_the_new_one_never_came(tmp_path: Path) -> None:
    place = PublishedFolder(tmp_path / "FP16")
    write(place.old, OLD)
    place.recover()
    assert content(place.target) == OLD
    assert [path.name for path in tmp_path.iterdir()] == ["FP16"]


def test_without_leftovers_recovering_changes_nothing(tmp_path: Path) -> None:
    place = PublishedFolder(tmp_path / "FP16")
    place.recover()
    assert list(tmp_path.iterdir()) == []
    write(place.target, OLD | MINE)
    place.recover()
    assert content(place.target) == OLD | MINE


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    place = PublishedFolder(tmp_path / "FP16")
    place.check()
    place.target.write_text("mine")
    with pytest.raises(Problem) as caught:
        place.check()
    assert str(caught.value) == f"{tmp_path}/FP16: expected a folder or nothing, got a file; move it away"
    place.target.unlink()
    place.target.symlink_to(tmp_path)
    with pytest.raises(Problem, match="got a symbolic link; move it away"):
        place.check()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """A link is, even to a file: replacing it would leave its target as it was."""
    check_file(tmp_path / "new")
    (tmp_path / "file").write_text("mine")
    check_file(tmp_path / "file")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "broken").symlink_to("nowhere")
    (tmp_path / "folder").mkdir()
    for name, kind in (
        ("pipe", "a pipe or a device"),
        ("link", "a symbolic link"),
        ("broken", "a symbolic link"),
        ("folder", "a folder"),
    ):
        with pytest.raises(Problem, match=f"{name}: expected a file or nothing, got {kind}; give another"):
            check_file(tmp_path / name)
    with pytest.raises(Problem, match="gone/x: expected a file in an existing folder"):
        check_file(tmp_path / "gone/x")


def test_a_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("old")
    (tmp_path / "part").write_text("new")
    publish_file(tmp_path / "part", tmp_path / "x")
    assert content(tmp_path) == {"x": "new"}


# The whole transaction. It is stopped before each of its system calls in turn, by kill -9 or by an exception.

LOCK = ".lock"
FORKS = pytest.mark.skipif(not hasattr(os, "fork"), reason="stops a forked process")
CHILD_ENDS = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # it uses no thread of its parent
CALLS = {"open", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate", "fcntl.flock"}


def replace_folder(target: Path) -> None:
    folder = PublishedFolder(target)
    with locked_folders(target.parent / LOCK, [folder], lambda: None), folder.replacing(1) as new:
        write(new, NEW)


def recover_folder(target: Path) -> None:
    with locked_folders(target.parent / LOCK, [PublishedFolder(target)], lambda: None):
        pass


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def interrupt() -> None:
    raise KeyboardInterrupt


def stopped(action: Callable[[Path], None], target: Path, step: int, stop: Callable[[], None]) -> bool:
    """Run the action in a process that stops before that system call; False if it has fewer."""
    child = os.fork()
    if child == 0:
        calls = itertools.count()

        def hook(event: str, _: Any) -> None:
            if event in CALLS and next(calls) == step:
                stop()

        code = 1
        try:
            sys.addaudithook(hook)
            action(target)
            code = 0
        except KeyboardInterrupt:
            code = 130
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, 130, -signal.SIGKILL)
    return code != 0


def prepare_target(folder: Path, had: bool) -> Path:
    target = folder / "FP16"
    folder.mkdir()
    if had:
        write(target, OLD | MINE)
    return target


@FORKS
@CHILD_ENDS
@pytest.mark.parametrize("had", [True, False])
@pytest.mark.parametrize("after", [recover_folder, replace_folder])
def test_a_transaction_killed_at_any_step(tmp_path: Path, had: bool, after: Callable[[Path], None]) -> None:
    for step in itertools.count():
        target = prepare_target(tmp_path / str(step), had)
        died = stopped(replace_folder, target, step, die)
        if target.exists():  # what a reader finds until the next start
            assert {**content(target), **MINE} in (OLD | MINE, NEW | MINE)
        else:
            assert not had or content(PublishedFolder(target).old) == OLD | MINE
        after(target)
        whole(PublishedFolder(target), had, may_be_absent=died and after is recover_folder)
        if not died:
            break
    assert step > 18  # system calls


@FORKS
@CHILD_ENDS
@pytest.mark.parametrize("had", [True, False])
def test_a_transaction_interrupted_at_any_step_leaves_no_work_for_the_next_start(tmp_path: Path, had: bool) -> None:
    for step in itertools.count():
        target = prepare_target(tmp_path / str(step), had)
        died = stopped(replace_folder, target, step, interrupt)
        (target.parent / LOCK).unlink(missing_ok=True)  # nobody holds it
        whole(PublishedFolder(target), had, may_be_absent=died)
        if not died:
            break
    assert step > 18  # system calls


@FORKS
@CHILD_ENDS
def test_a_recovery_killed_at_any_step(tmp_path: Path) -> None:
    """From each state in which a killed transaction leaves the disk."""
    states: list[dict[str, str]] = []
    for first in itertools.count():
        folder = tmp_path / str(first)
        if not stopped(replace_folder, prepare_target(folder, had=True), first, die):
            break
        if content(folder) not in states:
            states.append(content(folder))
            for second in itertools.count():
                target = tmp_path / f"{first}-{second}" / "FP16"
                shutil.copytree(folder, target.parent)
                died = stopped(recover_folder, target, second, die)
                recover_folder(target)
                whole(PublishedFolder(target), had=True)
                if not died:
                    break
    assert len(states) > 12


def test_a_transaction_without_room_writes_nothing(tmp_path: Path) -> None:
    target = prepare_target(tmp_path / "x", had=True)
    folder = PublishedFolder(target, free_in=lambda where: 999_999)
    lock = target.parent / LOCK
    with pytest.raises(Problem) as caught, locked_folders(lock, [folder], lambda: None), folder.replacing(2_000_000):
        pytest.fail("it began")
    assert str(caught.value) == f"{tmp_path}/x: expected 2 MB of free space for FP16, got 1 MB; make room"
    assert content(target) == OLD | MINE
    assert [path.name for path in target.parent.iterdir()] == ["FP16"]


def test_a_transaction_refuses_what_is_no_folder_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "FP16").write_text("mine")
    with pytest.raises(Problem, match="expected a folder or nothing, got a file"):
        replace_folder(tmp_path / "FP16")
    assert content(tmp_path) == {"FP16": "mine"}
