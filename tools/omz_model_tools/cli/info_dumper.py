"""omz_info_dumper: what the descriptors say, as JSON."""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from omz_model_tools.cli.selection import Unreadable, add_selection, selected
from omz_model_tools.guard import guarded
from omz_model_tools.info import info_of
from omz_model_tools.report import Report


def info_dumper(argv: Sequence[str] | None = None, roots: Iterable[Path] | None = None) -> int:
    """omz_info_dumper; `roots` as for the downloader."""
    return guarded(lambda: _dump(argv, roots))


def _dump(argv: Sequence[str] | None, roots: Iterable[Path] | None) -> int:
    about = "Print what is known of models, as a JSON array."
    parser = argparse.ArgumentParser(prog="omz_info_dumper", description=about)
    add_selection(parser, "dump info for")
    chosen = selected(parser, parser.parse_args(argv), roots)
    if chosen is None:
        return 0
    report = Report(sys.stdout, sys.stderr)
    broken = [one for one in chosen if isinstance(one, Unreadable)]
    for one in broken:
        report.error(str(one.problem))
    report.line(json.dumps([info_of(one) for one in chosen if not isinstance(one, Unreadable)], indent=4))
    return 1 if broken else 0
