"""The exception for what a user can mend; anything else that is raised is a bug."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Problem(Exception):
    """One line for the user: what, where, expected, got, what to do.

    >>> from gpt2_text_prediction import Problem, Sampling
    >>> try:
    ...     Sampling(top_p=2)
    ... except Problem as problem:
    ...     print(problem)
    top_p: expected a number from 0 to 1 (all tokens), got 2
    """


def shown(value: object) -> str:
    """Return a value as an error line has it: not longer than a line, whatever it is."""
    try:
        return f"{value!r:.80}"
    except Exception:  # a number of thousands of digits, an object that cannot be printed
        return f"a {type(value).__name__}"


def printable(text: str) -> str:
    """Return text as a line of a terminal, which may be a file's: what is not printable is escaped, but for tabs."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\t" else c.encode("unicode_escape").decode() for c in text)


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn what the file system refuses (no permission, a name too long) into a Problem."""
    try:
        yield
    except OSError as error:
        raise Problem(f"{path}: cannot be read: {error.strerror}") from None
