"""Problem, the exception for errors that the owner of a checkpoint can fix; any other exception is a bug."""

from pathlib import Path


class Problem(Exception):
    """An error in one line: what, where, expected, got, what to do."""


def one_line(text: object) -> str:
    """Return another library's text as one printable line."""
    words = " ".join(str(text).split())
    return words if words.isprintable() else ascii(words)


def require_plain_file(path: Path) -> None:
    """Raise Problem for a path that exists and is no file: a folder, or a pipe, which reading would wait for."""
    if path.exists() and not path.is_file():
        raise Problem(
            f"{path}: cannot be read: expected a file, got {'a folder' if path.is_dir() else 'a pipe or device'}"
        )
