"""The demo's flags, in Open Model Zoo's names and help style; what they do is not known here."""

import argparse
from pathlib import Path


def build_argparser() -> argparse.ArgumentParser:
    """Return the parser of the demo's command line."""
    parser = argparse.ArgumentParser(prog="gpt2_text_prediction_demo", add_help=False, allow_abbrev=False)
    _add_model_options(parser.add_argument_group("Options"))
    _add_generation_options(parser.add_argument_group("Generation options"))
    _add_inference_options(parser.add_argument_group("Inference options"))
    return parser


def _add_model_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("-h", "--help", action="help", help="Show this help message and exit.")
    group.add_argument(
        "-m", "--model", type=Path, metavar="FILE", help="Required. Path to an .xml file with a trained model."
    )
    group.add_argument(
        "-v",
        "--vocab",
        type=Path,
        metavar="FILE",
        help="Optional. Path to the vocabulary file with tokens. Default: vocab.json beside the model.",
    )
    group.add_argument(
        "--merges",
        type=Path,
        metavar="FILE",
        help="Optional. Path to the merges file. Default: merges.txt beside the model.",
    )
    group.add_argument(
        "-i",
        "--input",
        action="append",
        metavar="TEXT",
        help="Optional. Input prompt; may be given several times. Default: prompts are asked for, or read from a "
        "pipe, one a line.",
    )


def _add_generation_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--max_sample_token_num",
        type=int,
        default=40,
        metavar="N",
        help="Optional. Maximum number of tokens in generated sample. Default: 40.",
    )
    group.add_argument(
        "--temperature",
        type=float,
        default=1.0,
        metavar="T",
        help="Optional. What the logits are divided by: below 1 likely tokens become likelier still, 0 always takes "
        "the likeliest. Default: 1.0.",
    )
    group.add_argument(
        "--top_k",
        type=int,
        default=0,
        metavar="K",
        help="Optional. Number of tokens with the highest probability which will be kept for generation, 0 for all. "
        "Default: 0.",
    )
    group.add_argument(
        "--top_p",
        type=float,
        default=0.9,
        metavar="P",
        help="Optional. The most likely tokens are kept for generation until their probabilities together reach this; "
        "1 keeps all. Default: 0.9.",
    )
    group.add_argument(
        "--seed",
        type=int,
        metavar="N",
        help="Optional. Seed of the random draws: the same seed gives the same text. Default: a new one, printed.",
    )
    group.add_argument(
        "--max_seq_len",
        type=int,
        metavar="N",
        help="Optional. Maximum sequence length for processing, prompt and new tokens together. Default: the model's "
        "number of positions.",
    )
    group.add_argument(
        "--dynamic_shape",
        action="store_true",
        help="Optional. Accepted for Open Model Zoo's sake: the input sequence is always dynamic.",
    )


def _add_inference_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "-d", "--device", default="CPU", help="Optional. Target device to perform inference on. Default: CPU."
    )
    group.add_argument(
        "-nthreads",
        "--num_threads",
        type=int,
        metavar="N",
        help="Optional. Number of threads for inference on CPU. Default: the device's choice.",
    )
    group.add_argument(
        "--precision_hint",
        choices=("f32", "bf16", "f16", "device"),
        help="Optional. Arithmetic of the inference; 'device' leaves it to the device. Default: f32 on CPU, else "
        "device.",
    )
