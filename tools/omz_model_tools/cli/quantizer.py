"""omz_quantizer: compress the weights of converted models."""

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from omz_model_tools.cli.selection import add_folder, add_selection, each, folder_of, precisions, refuse, selected
from omz_model_tools.common.guard import guarded
from omz_model_tools.common.parser import Parser
from omz_model_tools.common.report import Report
from omz_model_tools.quantize.nncf import load_compress
from omz_model_tools.quantize.quantizer import QUANTIZED, Quantizer, folder_above, load_calibration, source_precision
from omz_model_tools.quantize.settings import Int4Settings

INT4_FLAGS = ("group_size", "ratio", "all_layers", "calibration_text", "awq", "scale_estimation")


OF_OMZ = {
    ("--dataset_dir", "--dataset-dir"): "weights are compressed without a data set; leave it out "
    "(--calibration_text FILE is a text for INT4)",
    ("--pot",): "the Post-Training Optimization Tool is no part of OpenVINO any more: NNCF compresses the weights, "
    "pip install 'omz-gpt2[quantize]'",
    ("--target_device", "--target-device"): "compressed weights run on every device; leave it out",
    ("-p", "--python"): "nothing is run in another Python; leave it out",
}
"""Flags of Open Model Zoo's quantizer, and what to know of them here."""


def quantizer(argv: Sequence[str] | None = None, roots: Iterable[Path] | None = None) -> int:
    """Run omz_quantizer; `roots` as for the downloader."""
    return guarded(lambda: _quantize(argv, roots))


def _quantize(argv: Sequence[str] | None, roots: Iterable[Path] | None) -> int:
    parser = _parser()
    args = parser.parse_args(argv)
    if args.model is not None:
        refuse(parser, args, ("name", "list", "all", "print_all", "models_dir", "model_dir"), "with --model")
        _quantizer_of(parser, args, args.output_dir or folder_above(args.model)).quantize_ir(args.model)
        return 0
    models = selected(parser, args, roots)
    if models is None:
        return 0
    work = _quantizer_of(parser, args, args.output_dir or folder_of(args.model_dir))
    return each(models, work.quantize, work.report)


def _quantizer_of(parser: argparse.ArgumentParser, args: argparse.Namespace, output_dir: Path) -> Quantizer:
    report = Report(sys.stdout, sys.stderr)
    source = "FP16" if args.model is None else source_precision(args.model)
    wanted = precisions(args.precisions or f"{source}-INT8,{source}-INT4", QUANTIZED)
    if not any(precision.endswith("INT4") for precision in wanted):
        refuse(parser, args, INT4_FLAGS, "without an INT4 among --precisions")
    return Quantizer(
        model_dir=folder_of(args.model_dir),
        output_dir=output_dir,
        precisions=wanted,
        report=report,
        compress=_no_compress if args.dry_run else load_compress(),
        load_calibration=load_calibration,
        int4=Int4Settings(
            group_size=args.group_size,
            ratio=args.ratio,
            all_layers=args.all_layers,
            calibration_text=args.calibration_text,
            awq=args.awq,
            scale_estimation=args.scale_estimation,
        ),
        dry_run=args.dry_run,
    )


def _no_compress(*_: object) -> object:
    raise AssertionError("a dry run compresses nothing")


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="omz_quantizer", description="Compress the weights of converted models to 8 or 4 bits.")
    add_selection(parser, "quantize")
    add_folder(parser, "--model_dir", "--model-dir", "root of the directory tree with the converted models")
    output = (
        "root of the directory tree to place quantized models into (default: the model directory; with --model the "
        "folder above that of the IR)"
    )
    parser.add_argument("-o", "--output_dir", type=Path, metavar="DIR", help=output)
    own = "quantize this IR instead of models of the zoo, such as what omz_converter --checkpoint has written"
    parser.add_argument("--model", type=Path, metavar="IR.XML", help=own)
    wanted = (
        f"quantize only to the specified precisions, of {', '.join(QUANTIZED)} (default: FP16-INT8,FP16-INT4, or those "
        "of the folder of --model)"
    )
    parser.add_argument("--precisions", metavar="PREC[,PREC...]", help=wanted)
    dry_run = "print what would be quantized, without reading or writing a model"
    parser.add_argument("--dry_run", action="store_true", help=dry_run)
    parser.add_argument("--dry-run", action="store_true", help=argparse.SUPPRESS)  # as of omz_converter
    _add_int4(parser.add_argument_group("INT4"))
    for flags, why in OF_OMZ.items():
        parser.add_argument(*flags, action=_Refused, why=why, help=argparse.SUPPRESS)
    return parser


class _Refused(argparse.Action):
    """A flag of Open Model Zoo's quantizer that has no use here; why: what to do instead."""

    def __init__(self, why: str, **options: Any) -> None:
        super().__init__(**options)
        self._why = why

    def __call__(self, parser: argparse.ArgumentParser, namespace: Any, values: Any, flag: str | None = None) -> None:
        parser.error(f"{flag}: {self._why}")


def _add_int4(group: argparse._ArgumentGroup) -> None:
    size = "number of weights of a channel that share a scale, -1 for all (default: %(default)s)"
    group.add_argument("--group_size", type=int, metavar="N", default=64, help=size)
    ratio = "fraction of the inner layers to compress to INT4, the others to INT8 (default: %(default)s)"
    group.add_argument("--ratio", type=float, metavar="R", default=1.0, help=ratio)
    everything = "compress embeddings and head to INT4 too, instead of INT8"
    group.add_argument("--all_layers", action="store_true", help=everything)
    text = "calibration text for --awq, --scale_estimation and --ratio"
    group.add_argument("--calibration_text", type=Path, metavar="FILE", help=text)
    group.add_argument("--awq", action="store_true", help="activation-aware weight quantization")
    estimate = "choose the scales that change the outputs of the layers least"
    group.add_argument("--scale_estimation", action="store_true", help=estimate)
