"""The one exception whose text is meant for the user; who raises it, and who prints it, is not known here."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
