"""The exception for what a user of these tools can mend; anything else that is raised is a bug."""


class Problem(Exception):
    """One line for the user: what, where, expected, got, what to do."""
