"""omz_model_checker: compare a model's outputs with test data in the ONNX Model Zoo's format."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from omz_model_tools.common.guard import guarded
from omz_model_tools.common.parser import Parser
from omz_model_tools.common.report import Report
from omz_model_tools.inspection.onnx_test_data import Tolerance, compare, data_sets_in


def model_checker(argv: Sequence[str] | None = None) -> int:
    """Run omz_model_checker; exit code 1 if an output is out of tolerance."""
    return guarded(lambda: _check(_parser().parse_args(argv)))


def _check(args: argparse.Namespace) -> int:
    report = Report(sys.stdout, sys.stderr)
    tolerance = Tolerance(args.rtol, args.atol)
    agreed = []
    for comparison in compare(args.model, data_sets_in(args.test_data), tolerance):
        report.line(comparison.text())
        agreed.append(comparison.agrees)
    report.line(f"{sum(agreed)} of {len(agreed)} outputs agree (rtol {args.rtol:g}, atol {args.atol:g}, on CPU in f32)")
    return 0 if all(agreed) else 1


def _parser() -> argparse.ArgumentParser:
    about = "Compare a model's outputs with test data in the ONNX Model Zoo's format, on the CPU in f32."
    parser = Parser(prog="omz_model_checker", description=about)
    model = "IR (.xml) or ONNX file; an FP16 IR has rounded weights, and is not expected to agree"
    parser.add_argument("-m", "--model", required=True, type=Path, metavar="MODEL", help=model)
    data = "folder with folders test_data_set_*, or one of these, with input_0.pb, ..., output_0.pb, ..."
    parser.add_argument("--test_data", required=True, type=Path, metavar="DIR", help=data)
    relative = "allowed difference relative to the expected value (default: %(default)s)"
    parser.add_argument("--rtol", type=float, metavar="R", default=1e-3, help=relative)
    parser.add_argument(
        "--atol",
        type=float,
        metavar="A",
        default=1e-5,
        help="allowed absolute difference in addition (default: %(default)s)",
    )
    return parser
