"""The exception for what the owner of a checkpoint can mend; anything else that is raised is a bug."""

from pathlib import Path


class Problem(Exception):
    """One line for the user: what, where, expected, got, what to do."""


def one_line(text: object) -> str:
    """Return a text of somebody else's as one line that prints."""
    words = " ".join(str(text).split())
    return words if words.isprintable() else ascii(words)


def require_plain_file(path: Path) -> None:
    """Raise Problem for what is there and no file, such as a pipe that would be waited for, or a folder."""
    if path.exists() and not path.is_file():
        raise Problem(
            f"{path}: cannot be read: expected a file, got {'a folder' if path.is_dir() else 'a pipe or device'}"
        )
