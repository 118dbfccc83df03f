"""The parser of a command line: what is wrong with the flags is one line, with the nearest flag for an unknown one."""

import argparse
import contextlib
import itertools
import os
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from omz_model_tools.common.version import version


class Parser(argparse.ArgumentParser):
    """A parser with --version, whose errors are one line each. `commands`: whether it only chooses another parser."""

    def __init__(self, *args: Any, commands: bool = False, **options: Any) -> None:
        super().__init__(*args, **options)
        self._chooses = commands
        self.add_argument("--version", action=_Version, nargs=0, default=argparse.SUPPRESS, help="print the version")

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Parse, or tell the shell what may come next, where that is what it asks."""
        if "_ARGCOMPLETE" in os.environ:
            with contextlib.suppress(ImportError):
                import argcomplete  # noqa: PLC0415 - an extra

                argcomplete.autocomplete(self)
        return super().parse_args(args, namespace)

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Parse; an unknown flag is told before a missing one, of which it may be the misspelling."""
        given = sys.argv[1:] if args is None else list(args)
        # The chosen command has flags of its own; one without prefix_chars hands all of them on.
        own = itertools.takewhile(_is_flag, given) if self._chooses else given
        if self.prefix_chars:
            self._refuse_unknown(own)
        namespace, rest = super().parse_known_args(given, namespace)
        if rest:  # here, so that a chosen command names itself
            self.error(f"unrecognized arguments: {' '.join(rest)}")
        return namespace, rest

    def error(self, message: str) -> NoReturn:
        """End with one line on stderr, and the exit code 2."""
        self.exit(2, f"{self.prog}: error: {message}\n")

    def _refuse_unknown(self, given: Iterable[str]) -> None:
        known, before = self._option_string_actions, ""
        for word in itertools.takewhile("--".__ne__, given):
            name = word.partition("=")[0]
            cut = self.allow_abbrev and name.startswith("--") and any(flag.startswith(name) for flag in known)
            if _is_flag(name) and name not in known and name[:2] not in known and not cut:
                if (action := known.get(before)) is not None and action.nargs is None:
                    long = next(flag for flag in action.option_strings if flag.startswith("--"))
                    self.error(f"{before}: expected a value, got {name}; one that begins with - is {long}={word}")
                from difflib import get_close_matches  # noqa: PLC0415 - slow to import

                shown = [flag for flag, each in known.items() if each.help is not argparse.SUPPRESS]
                whole = f"--{name.lstrip('-')}"
                nearest = get_close_matches(whole, [flag for flag in shown if flag.startswith("--")], 1)
                meant = f"did you mean {nearest[0]}?" if nearest else f"{self.prog} -h lists them"
                self.error(f"{name}: unknown flag; {meant}")
            before = word


def _is_flag(name: str) -> bool:
    """Whether argparse takes a word for a flag: not "-", a negative number, or a text with spaces."""
    return name.startswith("-") and not re.fullmatch(r"-|-\d.*|-\.\d.*", name) and " " not in name


class _Version(argparse.Action):
    """--version, which looks the version up only when it is given."""

    def __call__(self, parser: argparse.ArgumentParser, *rest: Any) -> NoReturn:
        sys.stdout.write(f"{parser.prog.partition(' ')[0]} {version()}\n")
        parser.exit()
