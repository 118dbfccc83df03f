"""gpt2_evaluate: what a model is worth. It knows the names of its measurements and hands over to one.

Each prints a table for people, then one line of JSON for machines, both with the way the numbers were made.
"""

import argparse
from collections.abc import Sequence

from gpt2_tools.common.problem import guarded
from gpt2_tools.evaluate.commands import accuracy_check as evaluate_accuracy_check
from gpt2_tools.evaluate.commands import compare as evaluate_compare
from gpt2_tools.evaluate.commands import lambada as evaluate_lambada
from gpt2_tools.evaluate.commands import lm_eval as evaluate_lm_eval
from gpt2_tools.evaluate.commands import perplexity as evaluate_perplexity

COMMANDS = {
    "perplexity": evaluate_perplexity,
    "accuracy-check": evaluate_accuracy_check,
    "lambada": evaluate_lambada,
    "compare": evaluate_compare,
    "lm-eval": evaluate_lm_eval,
}
"""Modules with HELP, add_arguments(parser) and run(args) -> exit code."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    args = build_argparser().parse_args(argv)
    return guarded(lambda: int(COMMANDS[args.command].run(args)))


def build_argparser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="gpt2_evaluate", description="Measure what a model is worth.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, module in COMMANDS.items():
        told = f"{module.HELP[0].upper()}{module.HELP[1:]}."
        module.add_arguments(commands.add_parser(name, help=module.HELP, description=told))
    return parser
