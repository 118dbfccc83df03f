"""gpt2_evaluate: perplexity, accuracy and comparison of models, one subcommand each.

Each prints a table for people, then one line of JSON for machines, both with the settings behind the numbers.
"""

import argparse
from collections.abc import Sequence

from gpt2_tools.common.problem import guarded
from gpt2_tools.evaluate.commands import accuracy_check, compare, lambada, lm_eval, perplexity
from omz_model_tools.common import Parser

COMMANDS = {
    "perplexity": perplexity,
    "accuracy-check": accuracy_check,
    "lambada": lambada,
    "compare": compare,
    "lm-eval": lm_eval,
}
"""Modules with HELP, add_arguments(parser) and run(args) -> exit code."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    args = build_argparser().parse_args(argv)
    return guarded(lambda: int(COMMANDS[args.command].run(args)))


def build_argparser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = Parser(
        prog="gpt2_evaluate", commands=True, description="Measure the perplexity and the accuracy of models."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, module in COMMANDS.items():
        description = f"{module.HELP[0].upper()}{module.HELP[1:]}."
        module.add_arguments(commands.add_parser(name, help=module.HELP, description=description))
    return parser
