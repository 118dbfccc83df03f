"""A finished file or folder takes its place by rename, whole or not at all; it knows nothing of its content.

A folder takes three steps: FP16 -> .FP16.old, .FP16.new -> FP16, delete .FP16.old. `recover` finishes or
undoes them after a crash, and must run before the next folder is prepared. One process at a time.
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from omz_model_tools.common.problem import Problem


def publish_file(new: Path, target: Path) -> None:
    """`new`, already synced and in the same folder, becomes `target`."""
    new.replace(target)
    sync_folder(target.parent)


@dataclass(frozen=True)
class FolderPlace:
    """A folder's place, with the names it has while it is prepared and while it is replaced."""

    target: Path
    rename: Callable[[Path, Path], None] = os.replace
    remove: Callable[[Path], None] = shutil.rmtree

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

    def publish(self) -> None:
        """`new` becomes `target`; an entry of the old folder that the new one lacks moves over."""
        sync_tree(self.new)
        try:
            if self.target.exists():
                self.rename(self.target, self.old)
            self.rename(self.new, self.target)
            sync_folder(self.target.parent)
            self.recover()
        except BaseException:
            self.recover()
            raise

    def recover(self) -> None:
        """From wherever an earlier run was stopped: one whole `target`, neither `new` nor `old`."""
        if self.old.exists() and not self.target.exists():
            self.rename(self.old, self.target)
        if self.old.exists():
            self._keep_foreign_entries()
            self.remove(self.old)
        if self.new.exists():
            self.remove(self.new)

    def _keep_foreign_entries(self) -> None:
        """What a user laid beside our files is not ours to delete."""
        ours = {entry.name for entry in self.target.iterdir()}
        for entry in sorted(self.old.iterdir()):
            if entry.name not in ours:
                self.rename(entry, self.target / entry.name)


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
