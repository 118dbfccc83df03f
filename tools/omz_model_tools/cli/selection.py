"""What all commands share: the flags that select models, the trees of descriptors, and the loop over the selection."""

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from omz_model_tools.common.arguments import given_flags
from omz_model_tools.common.guard import say
from omz_model_tools.common.problem import Problem, disk_problems
from omz_model_tools.common.report import Report
from omz_model_tools.descriptor.catalogue import (
    MODELS,
    Entry,
    Kind,
    T,
    display_path,
    find,
    packaged_root,
    patterns_of,
    select,
)
from omz_model_tools.descriptor.model import PRECISIONS, Model

LISTING = ("print_all", "models_dir")
"""The flags that list the models there are."""


@dataclass(frozen=True)
class BrokenDescriptor:
    """A selected model whose descriptor cannot be read."""

    name: str
    problem: Problem


def _names(what: str) -> list[str]:
    folder = packaged_root() / ("public" if what == "models" else "datasets")
    return sorted(path.parent.name for path in folder.glob("*/*.yml"))


def add_selection(parser: argparse.ArgumentParser, verb: str, what: str = "models") -> None:
    matching = f"{verb} only {what} whose names match at least one of the"
    name = parser.add_argument("--name", metavar="PAT[,PAT...]", help=f"{matching} specified patterns")
    name.completer = lambda **_: _names(what)  # type: ignore[attr-defined]  # of argcomplete
    parser.add_argument("--list", type=Path, metavar="FILE.LST", help=f"{matching} patterns in the specified file")
    parser.add_argument("--all", action="store_true", help=f"{verb} all available {what}")
    parser.add_argument("--print_all", action="store_true", help=f"print all available {what}")
    trees = (
        "a tree of descriptors (DIR/public/NAME/model.yml, DIR/datasets/NAME/dataset.yml) in addition to the packaged "
        f"one; can be given several times, and as OMZ_MODELS_DIR, separated by {os.pathsep!r}"
    )
    parser.add_argument("--models_dir", type=Path, metavar="DIR", action="append", default=[], help=trees)


def add_folder(parser: argparse.ArgumentParser, short: str, long: str, what: str) -> None:
    text = f"{what} (default: the current directory)"
    parser.add_argument(short, long, type=Path, metavar="DIR", help=text)


def folder_of(given: Path | None) -> Path:
    """Return the folder that is given, else the current one, which is asked for only then: it may have been deleted."""
    with disk_problems(Path("current directory")):
        return Path.cwd() if given is None else given


def selected(
    parser: argparse.ArgumentParser, args: argparse.Namespace, roots: Iterable[Path] | None
) -> list[Model | BrokenDescriptor] | None:
    """Return the selected models; None after --print_all, which only prints the names."""
    return selected_of(MODELS, parser, args, roots)


def selected_of(
    kind: Kind[T], parser: argparse.ArgumentParser, args: argparse.Namespace, roots: Iterable[Path] | None
) -> list[T | BrokenDescriptor] | None:
    """As `selected`, for any kind of descriptor."""
    given = sum([args.print_all, args.all, args.name is not None, args.list is not None])
    if given == 0:
        parser.error('one of "--print_all", "--all", "--name" or "--list" must be specified')
    if given > 1:
        parser.error('at most one of "--print_all", "--all", "--name" or "--list" can be specified')
    entries = find(kind, _roots(args) if roots is None else roots)
    if args.print_all:
        refuse(parser, args, [dest for dest in given_flags(parser, args) if dest not in LISTING], "with --print_all")
        for entry in entries:
            Report(sys.stdout, sys.stderr).line(entry.name)
        return None
    if not args.all:
        entries = select(kind, entries, _patterns(args))
    return [_read(entry) for entry in entries]


def _patterns(args: argparse.Namespace) -> list[str]:
    if args.name is not None:
        return args.name.split(",")  # type: ignore[no-any-return]
    patterns = patterns_of(args.list)
    if not patterns:
        say(f"{args.list}: has no patterns, so nothing is selected")
    return patterns


def _read(entry: Entry[T]) -> T | BrokenDescriptor:
    if entry.replaced:
        say(f"{entry.name}: {display_path(entry.descriptor)} is used instead of the packaged descriptor")
    try:
        return entry.read()
    except Problem as problem:
        return BrokenDescriptor(entry.name, problem)


def refuse(parser: argparse.ArgumentParser, args: argparse.Namespace, flags: Iterable[str], why: str) -> None:
    """Refuse those of the flags that are given, by other values than their defaults; why: "with --x"."""
    given = given_flags(parser, args)
    for flag in flags:
        if flag in given:
            parser.error(f"{given[flag]} cannot be used {why}")


def _roots(args: argparse.Namespace) -> list[Path]:
    named = os.environ.get("OMZ_MODELS_DIR", "").split(os.pathsep)
    return [packaged_root(), *(Path(folder) for folder in named if folder), *args.models_dir]


def each(chosen: Iterable[T | BrokenDescriptor], work: Callable[[T], bool], report: Report) -> int:
    """Do the work for every model, also after failures; report these, and return the exit code."""
    failed = [model.name for model in chosen if not _done(model, work, report)]
    if failed:
        report.failed(failed)
    return 1 if failed else 0


def _done(model: T | BrokenDescriptor, work: Callable[[T], bool], report: Report) -> bool:
    if isinstance(model, BrokenDescriptor):
        report.error(str(model.problem))
        return False
    return work(model)


def precisions(text: str, known: Sequence[str] = PRECISIONS) -> list[str]:
    """Split a comma-separated list of precisions; each once, in the order given."""
    found = [part.strip() for part in text.split(",")]
    unknown = sorted(set(found) - set(known))
    if unknown:
        names = ", ".join(name or "''" for name in unknown)
        raise Problem(f"Unknown precisions specified: {names}. Known: {', '.join(known)}.")
    return list(dict.fromkeys(found))
