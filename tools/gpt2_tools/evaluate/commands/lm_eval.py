"""gpt2_evaluate lm-eval: the command line of lm-evaluation-harness, with our model class gpt2_openvino."""

import argparse

HELP = "run lm-evaluation-harness, with --model gpt2_openvino --model_args pretrained=FILE.xml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Pass every argument on to the harness, options too."""
    parser.prefix_chars = ""
    parser.add_argument("arguments", nargs="*", help="arguments of lm-eval; --help lists them")


def run(args: argparse.Namespace) -> int:
    """Run the harness; return the exit code."""
    from gpt2_tools.evaluate.lm_eval_model import run_harness  # noqa: PLC0415 (OpenVINO)

    return run_harness(args.arguments)
