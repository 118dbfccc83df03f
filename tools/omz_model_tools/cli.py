"""The commands omz_downloader and omz_converter: arguments in, exit code out; the work is done elsewhere.

What imports requests is imported by the downloader alone: the converter has no time for it.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from omz_model_tools.catalogue import load_models, packaged_root, patterns_of, select
from omz_model_tools.convert import Converter
from omz_model_tools.descriptor import PRECISIONS, Model
from omz_model_tools.guard import guarded
from omz_model_tools.problem import Problem, disk_problems
from omz_model_tools.progress import progress_on
from omz_model_tools.recipes import Recipe, load_recipe
from omz_model_tools.report import Report


def downloader(argv: Sequence[str] | None = None, roots: Iterable[Path] | None = None) -> int:
    """omz_downloader; `roots` are trees of descriptors, the packaged one unless told otherwise."""
    return guarded(lambda: _download(argv, roots))


def converter(
    argv: Sequence[str] | None = None,
    roots: Iterable[Path] | None = None,
    load: Callable[[str], Recipe] = load_recipe,
) -> int:
    """omz_converter; `roots` as for the downloader, `load` finds a recipe by its name."""
    return guarded(lambda: _convert(argv, roots, load))


def _download(argv: Sequence[str] | None, roots: Iterable[Path] | None) -> int:
    parser = _downloader_parser()
    args = parser.parse_args(argv)
    models = _selected(parser, args, roots)
    if models is None:
        return 0

    from omz_model_tools.download import Downloader  # noqa: PLC0415
    from omz_model_tools.sources import Sources  # noqa: PLC0415

    report = Report(sys.stdout, sys.stderr)
    progress = progress_on(sys.stderr)
    with Sources() as sources:
        work = Downloader(args.output_dir, args.num_attempts, report, sources.read, progress, time.sleep)
        return _each(models, work.download, report)


def _convert(argv: Sequence[str] | None, roots: Iterable[Path] | None, load: Callable[[str], Recipe]) -> int:
    parser = _converter_parser()
    args = parser.parse_args(argv)
    models = _selected(parser, args, roots)
    if models is None:
        return 0
    report = Report(sys.stdout, sys.stderr)
    work = Converter(
        download_dir=args.download_dir,
        output_dir=args.output_dir or args.download_dir,
        precisions=_precisions(args.precisions),
        report=report,
        load_recipe=load,
        dry_run=args.dry_run,
        verify=args.verify,
    )
    return _each(models, work.convert, report)


def _downloader_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="omz_downloader", description="Download model files and verify them.")
    _add_selection(parser, "download")
    _add_folder(parser, "-o", "--output_dir", "path where to save models")
    attempts = "attempt each download up to N times"
    parser.add_argument("--num_attempts", type=_positive, metavar="N", default=1, help=attempts)
    return parser


def _converter_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="omz_converter", description="Convert downloaded models to OpenVINO IR.")
    _add_selection(parser, "convert")
    _add_folder(parser, "-d", "--download_dir", "root of the directory tree with downloaded model files")
    output = "root of the directory tree to place converted files into (default: the download directory)"
    parser.add_argument("-o", "--output_dir", type=Path, metavar="DIR", help=output)
    precisions = "run only conversions that produce models with the specified precisions (default: %(default)s)"
    parser.add_argument("--precisions", metavar="PREC[,PREC...]", default="FP16,FP32", help=precisions)
    check = "check the checksums of the downloaded files first"
    parser.add_argument("--verify", action="store_true", help=check)
    dry_run = "print what would be converted, without reading or writing a model"
    parser.add_argument("--dry_run", action="store_true", help=dry_run)
    parser.add_argument("--dry-run", action="store_true", help=argparse.SUPPRESS)  # OMZ's alias
    return parser


def _add_selection(parser: argparse.ArgumentParser, verb: str) -> None:
    matching = f"{verb} only models whose names match at least one of the"
    parser.add_argument("--name", metavar="PAT[,PAT...]", help=f"{matching} specified patterns")
    parser.add_argument("--list", type=Path, metavar="FILE.LST", help=f"{matching} patterns in the specified file")
    parser.add_argument("--all", action="store_true", help=f"{verb} all available models")
    parser.add_argument("--print_all", action="store_true", help="print all available models")


def _add_folder(parser: argparse.ArgumentParser, short: str, long: str, what: str) -> None:
    with disk_problems(Path("current directory")):
        default = Path.cwd()
    parser.add_argument(
        short, long, type=Path, metavar="DIR", default=default, help=f"{what} (default: the current directory)"
    )


def _selected(
    parser: argparse.ArgumentParser, args: argparse.Namespace, roots: Iterable[Path] | None
) -> list[Model] | None:
    """The models the arguments ask for; None if they ask only for the names."""
    given = sum([args.print_all, args.all, args.name is not None, args.list is not None])
    if given == 0:
        parser.error('one of "--print_all", "--all", "--name" or "--list" must be specified')
    if given > 1:
        parser.error('at most one of "--print_all", "--all", "--name" or "--list" can be specified')
    models = load_models([packaged_root()] if roots is None else roots)
    if args.print_all:
        for model in models:
            Report(sys.stdout, sys.stderr).line(model.name)
        return None
    if args.all:
        return models
    return select(models, patterns_of(args.list) if args.name is None else args.name.split(","))


def _each(models: Iterable[Model], work: Callable[[Model], bool], report: Report) -> int:
    """Every model has its turn, whatever becomes of the others."""
    failed = [model.name for model in models if not work(model)]
    if failed:
        report.failed(failed)
    return 1 if failed else 0


def _precisions(text: str) -> list[str]:
    precisions = text.split(",")
    unknown = sorted(set(precisions) - set(PRECISIONS))
    if unknown:
        raise Problem(f"Unknown precisions specified: {', '.join(unknown)}.")
    return precisions


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"must be a positive integer (got {text!r})")
    return int(text)
