"""The one exception whose text is meant for the user; who raises it, and who prints it, is not known here."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LONGEST_REASON = 300  # characters


class Problem(Exception):
    """What the user can mend, in one line: what, where, expected, got, and what to do.

    A hash mismatch has its two hashes as details, since Open Model Zoo prints them on lines of their own.
    """

    def __init__(self, line: str, *details: str) -> None:
        super().__init__(line)
        self.details = details


def one_line(text: object) -> str:
    """The text of somebody else's error without its line breaks."""
    return " ".join(str(text).split())


def openvino_reason(error: Exception) -> str:
    """Why OpenVINO raised, in one line, without the places in its sources that its messages begin with."""
    lines = [line for line in str(error).splitlines() if not re.match("Exception from|Check '", line)]
    text = one_line(" ".join(lines)) or type(error).__name__
    return text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]}..."


def utf8_text(raw: bytes, where: object) -> str:
    """The text that the bytes are; Problem, naming `where` and the first wrong byte, if they are none."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Problem(f"{where}: expected UTF-8 text, got byte 0x{raw[error.start]:02x} at {error.start}") from error


@contextmanager
def disk_problems(where: Path, temporary: Path | None = None) -> Iterator[None]:
    """Turn what the file system refuses (no space, no permission, no such folder) into a Problem.

    It is about the file the error names; else, or where that is only a temporary one, about `where`.
    """
    try:
        yield
    except BrokenPipeError:  # stdout was closed: no matter of the disk
        raise
    except OSError as error:
        named = error.filename2 or error.filename
        place = where if named is None or str(named) == str(temporary) else named
        raise Problem(f"{place}: {error.strerror or one_line(error)}") from error
