"""The flags of gpt2_classify, named as the demo's are."""

import argparse
from pathlib import Path

from gpt2_text_prediction.cli.arguments import (
    Parser,
    add_device,
    add_device_options,
    add_help,
    add_quiet,
    add_tokenizer_options,
)


def build_argparser() -> argparse.ArgumentParser:
    """Return the parser of gpt2_classify's command line."""
    parser = Parser("gpt2_classify")
    _add_options(parser.add_argument_group("Options"))
    group = parser.add_argument_group("Common model options")
    add_tokenizer_options(group)
    group.add_argument(
        "--max_seq_len",
        type=int,
        metavar="N",
        help="Optional. Number of tokens of a text that are read; the rest is cut, which is said. Default: the model's "
        "number of positions.",
    )
    group = parser.add_argument_group("Inference options")
    add_device(group)
    add_device_options(group)
    _add_output_options(parser.add_argument_group("Output options"))
    return parser


def _add_options(group: argparse._ArgumentGroup) -> None:
    add_help(group, "gpt2_classify")
    group.add_argument(
        "-m",
        "--model",
        type=Path,
        metavar="MODEL",
        help="Required. A model of labels: the path to an .xml file, the folder of a model, or a name in ./public.",
    )
    group.add_argument(
        "-i",
        "--input",
        action="append",
        metavar="TEXT",
        help="Optional. Text to classify; may be given several times. Default: one per line from a pipe.",
    )
    group.add_argument(
        "--file",
        type=Path,
        metavar="FILE",
        help="Optional. File of any size with one text per line; in a .jsonl file each line is a JSON object with a "
        "'text', whose other keys are not used. Blank lines are no texts. Default: none.",
    )


def _add_output_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="Optional. Write one JSON object per text to FILE instead of a line with label and probability to stdout; "
        "an interrupted run resumes. Default: stdout.",
    )
    group.add_argument(
        "--top_k",
        type=int,
        metavar="K",
        help="Optional. Number of labels per text, the most probable first. Default: 1 on stdout, all with -o.",
    )
    add_quiet(group)
