"""omz_downloader: download model files and verify them."""

import argparse
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from omz_model_tools.cli.download_flags import add_download_flags, refuse_contradictions, report_of, run_downloads
from omz_model_tools.cli.selection import BrokenDescriptor, add_selection, precisions, selected
from omz_model_tools.common.guard import guarded
from omz_model_tools.common.parser import Parser
from omz_model_tools.common.report import Report
from omz_model_tools.descriptor.model import PRECISIONS, Model


def downloader(argv: Sequence[str] | None = None, roots: Iterable[Path] | None = None) -> int:
    """Run omz_downloader; `roots` are the trees of descriptors, by default the packaged one and those of the flags."""
    return guarded(lambda: _download(argv, roots))


def _download(argv: Sequence[str] | None, roots: Iterable[Path] | None) -> int:
    parser = _parser()
    args = parser.parse_args(argv)
    refuse_contradictions(parser, args)
    models = selected(parser, args, roots)
    if models is None:
        return 0
    if args.precisions is not None:
        models = _of_precisions(models, precisions(args.precisions), report_of(args))
    return run_downloads(models, args)


def _of_precisions(
    models: Iterable[Model | BrokenDescriptor], wanted: Collection[str], report: Report
) -> list[Model | BrokenDescriptor]:
    """Drop the files of other precisions; a model that has only such files is reported and left out."""
    chosen: list[Model | BrokenDescriptor] = []
    for model in models:
        if isinstance(model, BrokenDescriptor):
            chosen.append(model)
            continue
        has = {file.name.parts[0] for file in model.files} & set(PRECISIONS)
        if has and has.isdisjoint(wanted):
            report.section(f"Skipping {model.name} (available in {', '.join(sorted(has))} only)")
            report.line()
        else:
            unwanted = has - set(wanted)
            files = tuple(file for file in model.files if file.name.parts[0] not in unwanted)
            chosen.append(replace(model, files=files))
    return chosen


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="omz_downloader", description="Download model files and verify them.")
    add_selection(parser, "download")
    wanted = "for models with files of several precisions, download only the specified ones (default: all)"
    parser.add_argument("--precisions", metavar="PREC[,PREC...]", help=wanted)
    add_download_flags(parser, "models")
    return parser
