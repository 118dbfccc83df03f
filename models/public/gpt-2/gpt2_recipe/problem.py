"""The exception for what the owner of a checkpoint can mend; anything else that is raised is a bug."""


class Problem(Exception):
    """One line for the user: what, where, expected, got, what to do."""


def one_line(text: object) -> str:
    """Return a text of somebody else's as one line that prints."""
    words = " ".join(str(text).split())
    return words if words.isprintable() else ascii(words)
