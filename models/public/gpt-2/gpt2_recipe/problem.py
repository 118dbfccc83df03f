"""The exception for what the owner of a checkpoint can mend; anything else that is raised is a bug."""


class Problem(Exception):
    """One line for the user: what, where, expected, got, what to do."""
