"""Check, before a file is parsed, that it is the file and not what stands in its place.

That is a folder or a pipe, the pointer that Git leaves without Git LFS, or the web page that a browser saved.
"""

import re
from pathlib import Path

from gpt2_recipe.problem import Problem

HEAD = 1024
"""Bytes; a pointer is shorter, and a page says what it is at its beginning."""
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
PAGE = re.compile(rb"(\xef\xbb\xbf)?\s*(<!--.{0,512}?-->\s*)?<(!doctype\s+html|html|head)\b", re.IGNORECASE | re.DOTALL)


def require_plain_file(path: Path) -> None:
    """Raise Problem for a path that has something else than the content of a checkpoint's file.

    A path that does not exist, or cannot be read, is left to whoever opens it.
    """
    if path.exists() and not path.is_file():
        raise Problem(
            f"{path}: cannot be read: expected a file, got {'a folder' if path.is_dir() else 'a pipe or device'}"
        )
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError:
        return
    if head.startswith(LFS_POINTER):
        raise Problem(
            f"{path}: is a Git LFS pointer{_size_in(head)}, not the file itself; "
            "run `git lfs install`, then `git lfs pull` in its folder"
        )
    if PAGE.match(head):
        raise Problem(
            f"{path}: is an HTML page, not the file itself: a page was saved in its place; "
            "fetch it by its download link (on the hub …/resolve/…, not …/blob/…), logged in where that is asked for"
        )


def _size_in(pointer: bytes) -> str:
    size = re.search(rb"^size (\d{1,18})$", pointer, re.MULTILINE)
    return f" to {int(size[1]):,} bytes" if size else ""
