"""What the command lines of several commands share: types of arguments, and which flags were given."""

import argparse


def positive_int(text: str) -> int:
    """A whole number from 1, for `type=` of an argument."""
    if not text.isdecimal() or int(text[:9]) == 0:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text!r}")
    if len(text) > 9:  # more digits fit into no 32-bit integer
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 to 999999999, got {text!r}")
    return int(text)


def whole_number(text: str) -> int:
    """A whole number from 0, for `type=` of an argument."""
    if not text.isdecimal() or len(text) > 9:
        raise argparse.ArgumentTypeError(f"expected a whole number, got {text!r}")
    return int(text)


def given_flags(parser: argparse.ArgumentParser, args: argparse.Namespace) -> dict[str, str]:
    """Return the flags whose values are not their defaults, by their names in args."""
    return {
        action.dest: next(name for name in action.option_strings if name.startswith("--"))
        for action in parser._actions
        if action.option_strings
        and action.help is not argparse.SUPPRESS  # other spellings
        and vars(args).get(action.dest, action.default) != parser.get_default(action.dest)
    }
