"""accuracy_check: Open Model Zoo's command line, flags and CSV file over `gpt2_evaluate accuracy-check`."""

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from gpt2_tools.common.problem import Problem, guarded
from gpt2_tools.evaluate.accuracy_check_yml import DEFINITIONS, LAUNCHERS, Check, read_config, read_definitions
from gpt2_tools.evaluate.commands.accuracy_check import (
    HELP,
    OMZ_COLUMNS,
    Job,
    ResultRow,
    Windows,
    csv_line,
    csv_lines,
    find_model,
    run_jobs,
)
from omz_model_tools.common import Parser, check_file, disk_problems, publishing

OPENVINO = "openvino"
SUBSET_SEED = 666
"""Of the windows that Open Model Zoo draws for a subset."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    args = build_argparser().parse_args(argv)
    return guarded(lambda: run(args))


def build_argparser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    description = f"{HELP[0].upper()}{HELP[1:]}. The flags are those of Open Model Zoo's accuracy_check."
    parser = Parser(prog="accuracy_check", description=description, allow_abbrev=False)
    parser.add_argument("-c", "--config", type=Path, required=True, metavar="FILE", help="the accuracy-check.yml")
    models = "the IR, its folder, or the -o of omz_converter, with public/NAME/PRECISION in it; each of several is run"
    parser.add_argument("-m", "--models", type=Path, required=True, nargs="+", metavar="PATH", help=models)
    source = "folder of the data sets' files (default: the current one)"
    parser.add_argument("-s", "--source", type=Path, default=Path(), metavar="DIR", help=source)
    definitions = "dataset_definitions.yml, for data sets of which the config gives only the name"
    parser.add_argument("-d", "--definitions", type=Path, metavar="FILE", help=definitions)
    framework = "run only launchers of this framework; both are names of OpenVINO (default: all in the config)"
    parser.add_argument("-tf", "--target_framework", choices=LAUNCHERS, metavar="NAME", help=f"{framework}")
    devices = "devices, one after another (default: CPU)"
    parser.add_argument("-td", "--target_devices", nargs="+", default=["CPU"], metavar="DEVICE", help=devices)
    subset = "only N windows, or N%% of them, drawn as Open Model Zoo draws them; the result is then not judged"
    parser.add_argument("-ss", "--subsample_size", type=subset_size, metavar="N", help=subset)
    parser.add_argument("--csv_result", type=Path, metavar="FILE", help="also append the results to a CSV file")
    parser.set_defaults(precision_hint="f32", num_threads=None, batch=1)
    return parser


def run(args: argparse.Namespace) -> int:
    """Measure, print and judge; return the exit code, 1 if a metric is not within its thresholds."""
    definitions = DEFINITIONS if args.definitions is None else read_definitions(args.definitions)
    checks = with_one_name(read_config(args.config, LAUNCHERS if args.target_framework else (), definitions))
    devices = [device.upper() for device in args.target_devices]
    found = [(check, find_model(path, check.model)) for check in checks for path in args.models]
    jobs = [Job(check, model, device) for check, model in found for device in devices]
    if args.csv_result is not None:
        earlier_lines(args.csv_result)  # a file that cannot be used is a problem before anything is measured
    subset = args.subsample_size or (lambda windows: windows)
    return run_jobs(args, jobs, subset, append_csv)


def with_one_name(checks: Sequence[Check]) -> list[Check]:
    """Return checks with dlsdk, OpenVINO's older name, as openvino; a model that has launchers of both keeps these."""
    newer = {check.model for check in checks if check.framework == OPENVINO}
    return [
        replace(check, framework=OPENVINO)
        for check in checks
        if check.framework == OPENVINO or check.model not in newer
    ]


def subset_size(text: str) -> Callable[[Windows], Windows]:
    """Return the function that draws a number or a percentage of windows as Open Model Zoo does it.

    Raises ArgumentTypeError for anything else.
    """
    is_share = text.endswith("%")
    try:
        size = float(text[:-1]) if is_share else int(text)
    except ValueError:
        size = 0
    if not 0 < size < math.inf:
        raise argparse.ArgumentTypeError(
            f"expected a number of windows from 1, or a percentage such as 10%, got {text!r}"
        )

    def drawn(windows: Windows) -> Windows:
        count = int(size * len(windows) / 100) or 1 if is_share else int(size)
        if count > len(windows):
            return windows
        order = np.random.RandomState(SUBSET_SEED).permutation(len(windows))
        return [windows[i] for i in sorted(order[:count].tolist())]

    return drawn


def append_csv(path: Path, rows: Sequence[ResultRow], incomplete: int) -> None:
    """Append rows, but for the last incomplete ones, to a CSV file with Open Model Zoo's columns.

    What a config does not give has Open Model Zoo's words.
    """
    missing = {"ref": "", "abs_threshold": 0, "rel_threshold": 0}
    given = [
        row | {name: word for name, word in missing.items() if row[name] is None}
        for row in rows[: len(rows) - incomplete]
    ]
    text = (earlier_lines(path) or csv_line(OMZ_COLUMNS)) + csv_lines(OMZ_COLUMNS, given)
    with publishing(path) as out:
        out.write(text.encode())


def earlier_lines(path: Path) -> str:
    """Return the content of a CSV file, nothing where there is none. Raises Problem for a file of another kind."""
    check_file(path)
    expected = f"{path}: expected a CSV file with the columns {','.join(OMZ_COLUMNS)}"
    with disk_problems(path):
        if not path.exists():
            return ""
        raw = path.read_bytes()
    header = csv_line(OMZ_COLUMNS)
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = "bytes that are not UTF-8"
    if text and text.splitlines()[0] != header.rstrip():
        raise Problem(f"{expected}, got {text.splitlines()[0][:80]!r}; give another --csv_result")
    return text if text.endswith("\n") or not text else f"{text}\r\n"
