"""Problem, the exception for errors that the user can fix, and how other libraries' errors become one."""

import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LONGEST_REASON = 300  # characters


class Problem(Exception):
    """An error that the user can fix, in one line: what, where, expected, got, and what to do.

    `details` are further lines: Open Model Zoo prints the two hashes of a mismatch on lines of their own.
    """

    def __init__(self, line: str, *details: str) -> None:
        super().__init__(line)
        self.details = details


def one_line(text: object) -> str:
    """Return the text of another library's error without its line breaks."""
    return " ".join(str(text).split())


def printable(text: str) -> str:
    """Return text, which may be a server's or a file's, for a terminal: what is not printable is escaped.

    Line breaks and tabs stay.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def openvino_reason(error: Exception) -> str:
    """Why OpenVINO raised, in one line, without the places in its sources that its messages begin with."""
    lines = [line for line in str(error).splitlines() if not re.match("Exception from|Check '", line)]
    text = one_line(" ".join(lines)) or type(error).__name__
    return text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]}..."


def utf8_text(raw: bytes, where: object) -> str:
    """Decode UTF-8; Problem, naming `where` and the first wrong byte, if that fails."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Problem(f"{where}: expected UTF-8 text, got byte 0x{raw[error.start]:02x} at {error.start}") from error


def check_onnx_path(path: Path) -> None:
    """Raise Problem for a path that the package onnx cannot open: it takes UTF-8 alone."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise Problem(f"{path}: the package onnx takes paths in UTF-8 alone; rename it, or give another") from None


def is_endless(path: Path) -> bool:
    """Return whether it is a pipe or a device, whose end might never come. Raises OSError where there is nothing."""
    mode = path.stat().st_mode
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def read_file(path: Path, most: int = -1) -> bytes:
    """Return the content of a file, or its first `most` bytes.

    Raises Problem for one that cannot be read, and for a pipe or a device, whose end might never come.
    """
    with disk_problems(path):
        if is_endless(path):
            raise Problem(f"{path}: expected a file, got a pipe or a device")
        with path.open("rb") as stream:
            return stream.read(most)


@contextmanager
def disk_problems(where: Path, temporary: Path | None = None) -> Iterator[None]:
    """Turn an error of the file system (no space, no permission, no such folder) into a Problem.

    It names the file of the error; if there is none, or it is only the `temporary` one, `where`.
    """
    try:
        yield
    except BrokenPipeError:  # stdout was closed: not an error of the disk
        raise
    except OSError as error:
        named = error.filename2 or error.filename
        path = where if named is None or str(named) == str(temporary) else named
        raise Problem(f"{path}: {error.strerror or one_line(error)}") from error
