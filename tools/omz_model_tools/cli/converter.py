"""omz_converter: downloaded models, converted to OpenVINO IR."""

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from omz_model_tools.cli.selection import add_folder, add_selection, each, precisions, selected
from omz_model_tools.convert import Converter
from omz_model_tools.guard import guarded
from omz_model_tools.recipes import Recipe, load_recipe
from omz_model_tools.report import Report


def converter(
    argv: Sequence[str] | None = None,
    roots: Iterable[Path] | None = None,
    load: Callable[[str], Recipe] = load_recipe,
) -> int:
    """omz_converter; `roots` as for the downloader, `load` finds a recipe by its name."""
    return guarded(lambda: _convert(argv, roots, load))


def _convert(argv: Sequence[str] | None, roots: Iterable[Path] | None, load: Callable[[str], Recipe]) -> int:
    parser = _parser()
    args = parser.parse_args(argv)
    models = selected(parser, args, roots)
    if models is None:
        return 0
    report = Report(sys.stdout, sys.stderr)
    work = Converter(
        download_dir=args.download_dir,
        output_dir=args.output_dir or args.download_dir,
        precisions=precisions(args.precisions),
        report=report,
        load_recipe=load,
        dry_run=args.dry_run,
        verify=args.verify,
    )
    return each(models, work.convert, report)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="omz_converter", description="Convert downloaded models to OpenVINO IR.")
    add_selection(parser, "convert")
    add_folder(parser, "-d", "--download_dir", "root of the directory tree with downloaded model files")
    output = "root of the directory tree to place converted files into (default: the download directory)"
    parser.add_argument("-o", "--output_dir", type=Path, metavar="DIR", help=output)
    wanted = "run only conversions that produce models with the specified precisions (default: %(default)s)"
    parser.add_argument("--precisions", metavar="PREC[,PREC...]", default="FP16,FP32", help=wanted)
    check = "check the checksums of the downloaded files first"
    parser.add_argument("--verify", action="store_true", help=check)
    dry_run = "print what would be converted, without reading or writing a model"
    parser.add_argument("--dry_run", action="store_true", help=dry_run)
    parser.add_argument("--dry-run", action="store_true", help=argparse.SUPPRESS)  # OMZ's alias
    return parser
