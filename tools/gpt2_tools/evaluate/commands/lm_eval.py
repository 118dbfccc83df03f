"""gpt2_evaluate lm-eval: the command line of lm-evaluation-harness, with our model class gpt2_openvino."""

import argparse


def run(args: argparse.Namespace) -> int:
    """Run the harness; return the exit code."""
    from gpt2_tools.evaluate.lm_eval_model import run_harness  # noqa: PLC0415 (OpenVINO)

    return run_harness(args.arguments)
