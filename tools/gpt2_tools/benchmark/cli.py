"""gpt2_benchmark: time and memory of the demo's engine and of whole processes, and other engines beside it.

Prints a table for people, then one line of JSON for machines.
"""

import sys

from gpt2_tools.benchmark.arguments import mode_of, parse
from gpt2_tools.common.problem import guarded
from omz_model_tools.common import Report, ends_at_once


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    args = parse(argv)
    with ends_at_once():  # OpenVINO, which --help need not wait for
        from gpt2_tools.benchmark.modes import run  # noqa: PLC0415
    return guarded(lambda: run(mode_of(args), args, Report(sys.stdout, sys.stderr)))
