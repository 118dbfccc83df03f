"""gpt2_evaluate: perplexity, accuracy and comparison of models, one subcommand each.

Each prints a table for people, then one line of JSON for machines, both with the settings behind the numbers.
"""

from collections.abc import Sequence
from importlib import import_module

from gpt2_tools.common.problem import guarded
from gpt2_tools.evaluate.arguments import build_argparser
from omz_model_tools.common import ends_at_once


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    args = build_argparser().parse_args(argv)
    with ends_at_once():
        command = import_module(f"gpt2_tools.evaluate.commands.{args.command.replace('-', '_')}")
    return guarded(lambda: int(command.run(args)))
