"""Files and folders under names that these tools keep for themselves, such as .FP16.old, where links may be planted.

A link there is removed, never followed: what it leads to is not ours.
"""

import contextlib
import os
import stat
from pathlib import Path
from typing import BinaryIO


def remove_planted(path: Path) -> None:
    """Remove what stands at a name of ours and is none of our files and folders: a link, a pipe, a device's node.

    Of a file that has a second name only this one is removed: writing into it would change the other.
    """
    with contextlib.suppress(FileNotFoundError):
        found = path.lstat()
        if not (stat.S_ISDIR(found.st_mode) or _is_own_file(found)):
            path.unlink()


def open_own(path: Path, flags: int) -> int:
    """Open a file of ours, and create it if it is not there; return its descriptor."""
    remove_planted(path)
    # O_NOFOLLOW, which Windows lacks: a link that was planted since is an error.
    return os.open(path, flags | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0), 0o666)


def create_own(path: Path) -> BinaryIO:
    """Open a file of ours for writing, empty."""
    return os.fdopen(open_own(path, os.O_WRONLY | os.O_TRUNC), "wb")


def own_size(path: Path) -> int:
    """Return the bytes of a file of ours, 0 where there is none."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return 0
    return found.st_size if _is_own_file(found) else 0


def _is_own_file(found: os.stat_result) -> bool:
    return stat.S_ISREG(found.st_mode) and found.st_nlink == 1
