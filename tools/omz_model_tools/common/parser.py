"""The parser of a command line: what is wrong with the flags is one line, with the nearest flag for an unknown one."""

import argparse
import contextlib
import itertools
import os
import sys
from collections.abc import Sequence
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
        if not self._chooses and self.prefix_chars:  # the chosen command has flags of its own, or hands all of them on
            self._refuse_unknown(given)
        namespace, rest = super().parse_known_args(given, namespace)
        if rest:  # here, so that a chosen command names itself
            self.error(f"unrecognized arguments: {' '.join(rest)}")
        return namespace, rest

    def error(self, message: str) -> NoReturn:
        """End with one line on stderr, and the exit code 2."""
        self.exit(2, f"{self.prog}: error: {message} ({self.prog} -h lists the flags)\n")

    def _refuse_unknown(self, given: Sequence[str]) -> None:
        known = self._option_string_actions
        for word in itertools.takewhile("--".__ne__, given):
            name = word.partition("=")[0]
            cut = self.allow_abbrev and any(flag.startswith(name) for flag in known)
            if not name.startswith("--") or " " in name or name in known or cut:
                continue  # a flag, or none as argparse sees it
            from difflib import get_close_matches  # noqa: PLC0415 - slow to import

            shown = {flag: action for flag, action in known.items() if action.help is not argparse.SUPPRESS}
            nearest = get_close_matches(name, [flag for flag in shown if flag.startswith("--")], 1)
            self.error(f"{name}: unknown flag" + "".join(f"; did you mean {flag}?" for flag in nearest))


class _Version(argparse.Action):
    """--version, which looks the version up only when it is given."""

    def __call__(self, parser: argparse.ArgumentParser, *rest: Any) -> NoReturn:
        sys.stdout.write(f"{parser.prog.partition(' ')[0]} {version()}\n")
        parser.exit()
