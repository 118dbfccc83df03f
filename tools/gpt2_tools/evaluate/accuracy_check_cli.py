"""accuracy_check: Open Model Zoo's command line, flags and CSV file over `gpt2_evaluate accuracy-check`."""

import argparse
import math
from collections.abc import Callable, Sequence
from pathlib import Path

from gpt2_tools.common.problem import guarded
from gpt2_tools.evaluate.accuracy_check_yml import LAUNCHERS
from gpt2_tools.evaluate.arguments import CHECK
from gpt2_tools.evaluate.windows import Window
from omz_model_tools.common import Parser, ends_at_once

OPENVINO = "openvino"
SUBSET_SEED = 666
"""Of the windows that Open Model Zoo draws for a subset."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    args = build_argparser().parse_args(argv)
    with ends_at_once():
        from gpt2_tools.evaluate.commands.omz_accuracy_check import run  # noqa: PLC0415  # OpenVINO
    return guarded(lambda: run(args))


def build_argparser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    description = f"{CHECK[0].upper()}{CHECK[1:]}. The flags are those of Open Model Zoo's accuracy_check."
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


def subset_size(text: str) -> Callable[[Sequence[Window]], Sequence[Window]]:
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

    def drawn(windows: Sequence[Window]) -> Sequence[Window]:
        count = int(size * len(windows) / 100) or 1 if is_share else int(size)
        if count > len(windows):
            return windows
        import numpy as np  # noqa: PLC0415  # which --help need not wait for

        order = np.random.RandomState(SUBSET_SEED).permutation(len(windows))
        return [windows[i] for i in sorted(order[:count].tolist())]

    return drawn
