"""omz_info_dumper: print descriptors, and the cost of converted models, as JSON; or write them as OMZ's own."""

import argparse
import json
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from omz_model_tools.cli.selection import (
    BrokenDescriptor,
    add_folder,
    add_selection,
    each,
    folder_of,
    refuse,
    selected,
)
from omz_model_tools.common.guard import guarded
from omz_model_tools.common.parser import Parser
from omz_model_tools.common.problem import Problem
from omz_model_tools.common.report import Report
from omz_model_tools.convert.onnx.shapes import parse_shapes
from omz_model_tools.descriptor.catalogue import flags_selecting
from omz_model_tools.descriptor.model import PRECISIONS, Model
from omz_model_tools.inspection.info import info_of, info_of_stats
from omz_model_tools.inspection.stats import Shape, stats_of
from omz_model_tools.inspection.upstream import write_upstream


def info_dumper(argv: Sequence[str] | None = None, roots: Iterable[Path] | None = None) -> int:
    """Run omz_info_dumper; `roots` as for the downloader."""
    return guarded(lambda: _dump(argv, roots))


def _dump(argv: Sequence[str] | None, roots: Iterable[Path] | None) -> int:
    parser = _parser()
    args = parser.parse_args(argv)
    if args.upstream is None:
        refuse(parser, args, ("download_dir",), "without --upstream")
    else:
        refuse(parser, args, ("with_stats",), "with --upstream")
    if not args.with_stats:
        refuse(parser, args, ("model_dir", "input_shape"), "without --with_stats")
    chosen = selected(parser, args, roots)
    if chosen is None:
        return 0
    report = Report(sys.stdout, sys.stderr)
    if args.upstream is not None:
        return each(chosen, lambda model: _write_upstream(model, args, report), report)
    infos, failed = [], False
    for model in chosen:
        try:
            if isinstance(model, BrokenDescriptor):
                raise model.problem
            infos.append(info_of(model))
            if args.with_stats:
                infos[-1]["stats"] = None  # stays, if counting fails
                infos[-1]["stats"] = _stats(model, folder_of(args.model_dir), args.input_shape)
        except Problem as problem:
            report.error(str(problem))
            failed = True
    report.line(json.dumps(infos, indent=4))
    return 1 if failed else 0


def _write_upstream(model: Model, args: argparse.Namespace, report: Report) -> bool:
    try:
        report.line(str(write_upstream(model, args.upstream, args.download_dir or Path())))
    except Problem as problem:
        report.error(str(problem))
        return False
    return True


def _parser() -> argparse.ArgumentParser:
    about = "Print information about models as a JSON array."
    parser = Parser(prog="omz_info_dumper", description=about)
    add_selection(parser, "dump info for")
    stats = "add GFlops and MParams, counted in the graph of the converted model"
    parser.add_argument("--with_stats", action="store_true", help=stats)
    parser.add_argument("--with-stats", action="store_true", help=argparse.SUPPRESS)  # as of the other tools
    root = "for --with_stats: root of the directory tree with the converted models"
    add_folder(parser, "--model_dir", "--model-dir", root)
    shape = "for --with_stats: count for inputs of this shape, such as [1,1024] (default: the longest they may have)"
    parser.add_argument("--input_shape", type=_shapes, metavar="SHAPE[,SHAPE...]", help=shape)
    upstream = (
        "print nothing of the models, but write DIR/public/NAME/model.yml in the form that Open Model Zoo's own tools "
        "take, model.py and accuracy-check.yml beside it"
    )
    parser.add_argument("--upstream", type=Path, metavar="DIR", help=upstream)
    downloads = (
        "for --upstream: root of the directory tree with downloaded model files (default: the current directory)"
    )
    parser.add_argument("-d", "--download_dir", type=Path, metavar="DIR", help=downloads)
    return parser


def _shapes(text: str) -> list[Shape]:
    try:
        shapes = parse_shapes(text)
    except ValueError:
        shapes = []
    if not shapes or any(least != most for shape in shapes for least, most in shape):
        raise argparse.ArgumentTypeError(f"expected whole numbers, such as [1,1024], got {text!r}")
    return [[most for _, most in shape] for shape in shapes]


def _stats(model: Model, root: Path, shapes: list[Shape] | None) -> dict[str, Any]:
    xml = _converted(model, root)
    return info_of_stats(stats_of(xml, shapes), xml)


def _converted(model: Model, root: Path) -> Path:
    """Return the IR of any precision: all have the same graph."""
    irs = [root / model.subdirectory / precision / f"{model.name}.xml" for precision in PRECISIONS]
    found = next((xml for xml in irs if xml.is_file()), None)
    if found is None:
        command = shlex.join(["omz_converter", *flags_selecting(model), "-d", str(root)])
        raise Problem(f"{irs[0]}: expected an IR, got none; run: {command}")
    return found
