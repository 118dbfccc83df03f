"""Types of command-line arguments that several commands share."""

import argparse


def positive_int(text: str) -> int:
    """A whole number from 1, for `type=` of an argument."""
    if not text.isdecimal() or len(text) > 9 or int(text) == 0:  # more digits fit into no 32-bit integer
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text!r}")
    return int(text)
