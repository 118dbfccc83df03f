"""Problem, the exception for errors that the owner of a checkpoint can fix; any other exception is a bug."""


class Problem(Exception):
    """An error in one line: what, where, expected, got, what to do."""


def one_line(text: object) -> str:
    """Return another library's text as one printable line."""
    words = " ".join(str(text).split())
    return words if words.isprintable() else ascii(words)
