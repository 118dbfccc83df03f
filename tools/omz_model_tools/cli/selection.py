"""What every command has in common: which models are meant, where descriptors lie, and numbers that make sense."""

import argparse
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from omz_model_tools.catalogue import load_models, packaged_root, patterns_of, select
from omz_model_tools.descriptor import PRECISIONS, Model
from omz_model_tools.problem import Problem, disk_problems
from omz_model_tools.report import Report


def add_selection(parser: argparse.ArgumentParser, verb: str) -> None:
    matching = f"{verb} only models whose names match at least one of the"
    parser.add_argument("--name", metavar="PAT[,PAT...]", help=f"{matching} specified patterns")
    parser.add_argument("--list", type=Path, metavar="FILE.LST", help=f"{matching} patterns in the specified file")
    parser.add_argument("--all", action="store_true", help=f"{verb} all available models")
    parser.add_argument("--print_all", action="store_true", help="print all available models")
    trees = (
        "a tree of descriptors (DIR/public/NAME/model.yml) beside the packaged one; can be given several times, "
        f"also as OMZ_MODELS_DIR, separated by {os.pathsep!r}"
    )
    parser.add_argument("--models_dir", type=Path, metavar="DIR", action="append", default=[], help=trees)


def add_folder(parser: argparse.ArgumentParser, short: str, long: str, what: str) -> None:
    with disk_problems(Path("current directory")):
        default = Path.cwd()
    parser.add_argument(
        short, long, type=Path, metavar="DIR", default=default, help=f"{what} (default: the current directory)"
    )


def selected(
    parser: argparse.ArgumentParser, args: argparse.Namespace, roots: Iterable[Path] | None
) -> list[Model] | None:
    """The models the arguments ask for; None if they ask only for the names, which are printed."""
    given = sum([args.print_all, args.all, args.name is not None, args.list is not None])
    if given == 0:
        parser.error('one of "--print_all", "--all", "--name" or "--list" must be specified')
    if given > 1:
        parser.error('at most one of "--print_all", "--all", "--name" or "--list" can be specified')
    models = load_models(_roots(args) if roots is None else roots)
    if args.print_all:
        for model in models:
            Report(sys.stdout, sys.stderr).line(model.name)
        return None
    if args.all:
        return models
    return select(models, patterns_of(args.list) if args.name is None else args.name.split(","))


def _roots(args: argparse.Namespace) -> list[Path]:
    named = os.environ.get("OMZ_MODELS_DIR", "").split(os.pathsep)
    return [packaged_root(), *(Path(folder) for folder in named if folder), *args.models_dir]


def each(models: Iterable[Model], work: Callable[[Model], bool], report: Report) -> int:
    """Every model has its turn, whatever becomes of the others."""
    failed = [model.name for model in models if not work(model)]
    if failed:
        report.failed(failed)
    return 1 if failed else 0


def precisions(text: str) -> list[str]:
    found = text.split(",")
    unknown = sorted(set(found) - set(PRECISIONS))
    if unknown:
        raise Problem(f"Unknown precisions specified: {', '.join(unknown)}.")
    return found


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"must be a positive integer (got {text!r})")
    return int(text)
