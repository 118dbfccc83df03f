"""Publish by rename: a file or folder in its place is the old one or the new one, whole; never a part of either.

A folder such as FP16 is replaced in a transaction: `locked_folders`, then `PublishedFolder.replacing` for each. A
process may die at any step: the folder is then the old one, the new one or, between steps 4 and 5, missing until the
next command that locks it restores it. None leaves a folder that is half old and half new:

    step                                     what a death leaves           the next command (`recover`)
    1. lock the folders                      nothing: the lock dies too
    2. recover, refuse what is no folder     see below: each step repeats
    3. write all files into .FP16.new        FP16, half a .FP16.new        deletes .FP16.new
    4. rename FP16 to .FP16.old              .FP16.old, .FP16.new          renames .FP16.old back, deletes .FP16.new
    5. rename .FP16.new to FP16              FP16, .FP16.old               continues with 6
    6. move a user's own files over          FP16, .FP16.old               continues with 6
    7. delete .FP16.old                      FP16, half a .FP16.old        deletes the rest of it

All files are on the disk (fsync) before step 4, so that the order also holds after a power cut. An exception, such as
Ctrl-C or a full disk, recovers at once.
"""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from omz_model_tools.common.lock import exclusive
from omz_model_tools.common.own_names import create_own, remove_planted
from omz_model_tools.common.problem import Problem, disk_problems


def free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def publish_file(new: Path, target: Path) -> None:
    """`new`, already synced and in the same folder, becomes `target`."""
    new.replace(target)
    sync_folder(target.parent)


@contextlib.contextmanager
def publishing(path: Path) -> Iterator[BinaryIO]:
    """Yield a stream whose bytes become the file at the end; until then, and after an exception, it is as before.

    Raises Problem for an error of the disk.
    """
    new = path.with_name(f".{path.name}.new")
    with disk_problems(path, temporary=new):
        try:
            with create_own(new) as out:
                yield out
                out.flush()
                os.fsync(out.fileno())
            publish_file(new, path)
        finally:
            new.unlink(missing_ok=True)


def check_file(target: Path) -> None:
    """Refuse a target that cannot be replaced as a file, before any work is done for it."""
    with disk_problems(target):
        kind = "a symbolic link" if target.is_symlink() else "a folder" if target.is_dir() else "a pipe or a device"
        if target.is_symlink() or (target.exists() and not target.is_file()):
            raise Problem(f"{target}: expected a file or nothing, got {kind}; give another or move it away")
        if not target.parent.is_dir():
            raise Problem(f"{target}: expected a file in an existing folder; make the folder first")


@dataclass(frozen=True)
class PublishedFolder:
    """A folder that is replaced as a whole, with the names it has while it is written and while it is replaced."""

    target: Path
    free_in: Callable[[Path], int] = free_bytes

    @property
    def new(self) -> Path:
        return self.target.with_name(f".{self.target.name}.new")

    @property
    def old(self) -> Path:
        return self.target.with_name(f".{self.target.name}.old")

    def check(self) -> None:
        """Refuse a target that cannot be replaced as a folder, before any work is done for it."""
        if self.target.is_symlink() or (self.target.exists() and not self.target.is_dir()):
            kind = "a symbolic link" if self.target.is_symlink() else "a file"
            raise Problem(f"{self.target}: expected a folder or nothing, got {kind}; move it away")

    @contextlib.contextmanager
    def replacing(self, needed: int) -> Iterator[Path]:
        """Yield an empty folder to write into, which becomes `target`; after an exception `target` is as before.

        Only inside `locked_folders`. Problem if fewer than `needed` bytes are free.
        """
        require_room(self.target.parent, needed, self.target.name, "make room", self.free_in)
        try:
            self.new.mkdir()
            yield self.new
            self.publish()
        finally:
            self.recover()

    def publish(self) -> None:
        """`new` becomes `target`; an entry of the old folder that the new one lacks moves over."""
        sync_tree(self.new)
        try:
            if self.target.exists():
                self.target.rename(self.old)
            self.new.rename(self.target)
            sync_folder(self.target.parent)
            self.recover()
        except BaseException:
            self.recover()
            raise

    def recover(self) -> None:
        """Finish or undo what was begun, wherever it stopped: one whole `target`, neither `new` nor `old`."""
        remove_planted(self.old)
        remove_planted(self.new)
        if self.old.exists() and not self.target.exists():
            self.old.rename(self.target)
        if self.old.exists():
            self._keep_foreign_entries()
            shutil.rmtree(self.old)
        if self.new.exists():
            shutil.rmtree(self.new)

    def _keep_foreign_entries(self) -> None:
        """Move what a user put beside our files: it is not ours to delete."""
        ours = {entry.name for entry in self.target.iterdir()}
        for entry in sorted(self.old.iterdir()):
            if entry.name not in ours:
                entry.rename(self.target / entry.name)


@contextlib.contextmanager
def locked_folders(lock: Path, folders: Sequence[PublishedFolder], waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock file, the folders recovered and fit to be replaced; `waiting` as for `exclusive`."""
    lock.parent.mkdir(parents=True, exist_ok=True)  # the error of a file there names it, not the lock
    with exclusive(lock, waiting):
        for folder in folders:
            folder.recover()
            folder.check()
        yield


def require_room(
    folder: Path, needed: int, what: str, advice: str, free_in: Callable[[Path], int] = free_bytes
) -> None:
    """Raise Problem unless `needed` bytes are free on the disk of `folder`."""
    free = free_in(folder)
    if needed > free:
        raise Problem(
            f"{folder}: expected {_megabytes(needed)} of free space for {what}, got {_megabytes(free)}; {advice}"
        )


def _megabytes(count: int) -> str:
    return f"{-(-count // 1_000_000)} MB"


def sync_tree(folder: Path) -> None:
    """Bring every file of the folder to the disk; a full disk may show only here."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb+") as stream:
                os.fsync(stream.fileno())
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Bring the folder's names to the disk (Windows has no such call)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
