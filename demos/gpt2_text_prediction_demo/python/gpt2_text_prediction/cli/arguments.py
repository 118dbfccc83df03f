"""The demo's flags, in Open Model Zoo's and Hugging Face's names; what they do is not known here.

What has a default of its own elsewhere is None here, so that it can be told whether it was given.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PRECISION_HINTS = ("f32", "bf16", "f16", "device")


class Parser(argparse.ArgumentParser):
    """A parser to which --max-new-tokens is --max_new_tokens."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, with the flags as they are spelt in the help."""
        given = _given() if args is None else args
        return super().parse_known_args([self._spelt(word) for word in given], namespace)

    def _spelt(self, word: str) -> str:
        name, equals, value = word.partition("=")
        known = name.replace("-", "_").replace("__", "--", 1)
        is_ours = name.startswith("--") and name not in self._option_string_actions
        return known + equals + value if is_ours and known in self._option_string_actions else word


def _given() -> Sequence[str]:
    import sys  # noqa: PLC0415  # argparse does so itself where it is given none

    return sys.argv[1:]


def build_argparser() -> argparse.ArgumentParser:
    """Return the parser of the demo's command line."""
    parser = Parser(prog="gpt2_text_prediction_demo", add_help=False, allow_abbrev=False)
    _add_options(parser.add_argument_group("Options"))
    _add_model_options(parser.add_argument_group("Common model options"))
    _add_generation_options(parser.add_argument_group("Generation options"))
    _add_processing_options(parser.add_argument_group("Options of what may come"))
    _add_beam_options(parser.add_argument_group("Beam search options"))
    _add_text_options(parser.add_argument_group("Text options"))
    _add_inference_options(parser.add_argument_group("Inference options"))
    _add_io_options(parser.add_argument_group("Input/output options"))
    _add_debug_options(parser.add_argument_group("Debug options"))
    return parser


def _add_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("-h", "--help", action="help", help="Show this help message and exit.")
    group.add_argument(
        "-m", "--model", type=Path, metavar="FILE", help="Required. Path to an .xml file with a trained model."
    )
    group.add_argument(
        "-i",
        "--input",
        action="append",
        metavar="TEXT",
        help="Optional. Input prompt; may be given several times. Default: prompts are asked for, or read from a "
        "pipe, one a line.",
    )
    group.add_argument(
        "--prompt_file",
        type=Path,
        metavar="FILE",
        help="Optional. File with a prompt a line; in one named .jsonl a line is a JSON object with a 'prompt' and, by "
        "the names of their flags, settings of its own. Default: none.",
    )


def _add_model_options(group: argparse._ArgumentGroup) -> None:
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
        "--max_seq_len",
        type=int,
        metavar="N",
        help="Optional. Maximum sequence length for processing, prompt and new tokens together. Default: the model's "
        "number of positions.",
    )
    group.add_argument(
        "--dynamic_shape",
        action="store_true",
        help="Optional. Accepted for Open Model Zoo's sake: the input sequence is dynamic unless --static_shape is "
        "given.",
    )
    group.add_argument(
        "--static_shape",
        action="store_true",
        help="Optional. Compile the model for one row of all its positions, for devices that need it; each token then "
        "computes the whole text again.",
    )


def _add_generation_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "-n",
        "--max_sample_token_num",
        "--max_new_tokens",
        "--length",
        dest="max_new_tokens",
        type=int,
        metavar="N",
        help="Optional. Maximum number of tokens in generated sample. Default: 40.",
    )
    _add_drawing_options(group)
    group.add_argument(
        "-s",
        "--seed",
        type=int,
        metavar="N",
        help="Optional. Seed of the random draws: the same seed gives the same text. Default: a new one, printed.",
    )
    group.add_argument(
        "--num_return_sequences",
        "--nsamples",
        type=int,
        metavar="N",
        help="Optional. Number of texts for each prompt. Default: 1.",
    )


def _add_drawing_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--temperature",
        "--temp",
        type=float,
        metavar="T",
        help="Optional. What the logits are divided by: below 1 likely tokens become likelier still, 0 always takes "
        "the likeliest. Default: 1.0.",
    )
    group.add_argument(
        "--top_k",
        type=int,
        metavar="K",
        help="Optional. Number of tokens with the highest probability which will be kept for generation, 0 for all. "
        "Default: 0.",
    )
    group.add_argument(
        "--top_p",
        type=float,
        metavar="P",
        help="Optional. The most likely tokens are kept for generation until their probabilities together reach this; "
        "1 keeps all, 0 only the likeliest. Default: 0.9.",
    )
    group.add_argument(
        "--min_p",
        type=float,
        metavar="P",
        help="Optional. Tokens are kept that are at least so likely as this share of the likeliest one; 0 keeps all. "
        "Default: 0.0.",
    )
    group.add_argument(
        "--typical_p",
        type=float,
        metavar="P",
        help="Optional. The tokens whose surprise is nearest to the expected one are kept until their probabilities "
        "together reach this; 1 keeps all. Default: 1.0.",
    )


def _add_processing_options(group: argparse._ArgumentGroup) -> None:
    _add_penalties(group)
    group.add_argument(
        "--logit_bias",
        action="append",
        metavar="ID=BIAS",
        help="Optional. What is added to the logit of the token of that id, -inf to ban it; may be given several "
        "times. Default: none.",
    )
    group.add_argument(
        "--bad_words",
        action="append",
        metavar="TEXT",
        help="Optional. A word that never comes, at its token's beginning or behind a space; may be given several "
        "times. Default: none.",
    )
    group.add_argument(
        "--min_new_tokens",
        type=int,
        metavar="N",
        help="Optional. Number of tokens before which the text does not end by itself. Default: 0.",
    )
    group.add_argument(
        "--ignore_eos",
        action="store_true",
        help="Optional. Go on behind the token that ends a text.",
    )


def _add_penalties(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--repetition_penalty",
        "--repeat_penalty",
        type=float,
        metavar="X",
        help="Optional. Above 1 tokens that stand in the prompt or the text become less likely. Default: 1.0.",
    )
    group.add_argument(
        "--presence_penalty",
        type=float,
        metavar="X",
        help="Optional. From -2 to 2; what is subtracted from the logits of the tokens in the new text. Default: 0.0.",
    )
    group.add_argument(
        "--frequency_penalty",
        type=float,
        metavar="X",
        help="Optional. From -2 to 2; the same for each time that the token has come. Default: 0.0.",
    )
    group.add_argument(
        "--no_repeat_ngram_size",
        type=int,
        metavar="N",
        help="Optional. No run of so many tokens comes twice; 0 allows all. Default: 0.",
    )


def _add_beam_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--num_beams",
        type=int,
        metavar="N",
        help="Optional. Number of continuations that are kept at each step, to find the likeliest whole one; 1 draws "
        "instead. Default: 1.",
    )
    group.add_argument(
        "--length_penalty",
        type=float,
        metavar="X",
        help="Optional. The power of its length by which a beam's log-probability is divided: above 0 helps long "
        "ones. Default: 1.0.",
    )
    group.add_argument(
        "--early_stopping",
        nargs="?",
        const="true",
        choices=("true", "false", "never"),
        help="Optional. End at num_beams finished beams ('true', or no value), when a better one is unlikely "
        "('false'), or when there can be none ('never'). Default: false.",
    )


def _add_text_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--stop",
        action="append",
        metavar="TEXT",
        help="Optional. Text before which the continuation ends; may be given several times. Default: none.",
    )
    group.add_argument(
        "--stop_at",
        choices=("line", "sentence"),
        help="Optional. End the continuation at its first line's or sentence's end. Default: neither.",
    )
    group.add_argument(
        "--context_overflow",
        choices=("error", "truncate", "slide"),
        help="Optional. What happens past the model's positions: a prompt too long is refused and a text ends there, "
        "the prompt's beginning is cut, or all goes on with the last half of the text, computed again each time. "
        "Default: error.",
    )
    group.add_argument(
        "--parse_special",
        action="store_true",
        help="Optional. Take <|endoftext|> in a prompt for the token of that name, not for those characters.",
    )


def _add_inference_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "-d",
        "--device",
        default="CPU",
        help="Optional. Target device to perform inference on: CPU, GPU, NPU, AUTO. Default: CPU.",
    )
    group.add_argument(
        "-nthreads",
        "--num_threads",
        type=int,
        metavar="N",
        help="Optional. Number of threads for inference on CPU. Default: the device's choice.",
    )
    group.add_argument(
        "-nireq",
        "--num_infer_requests",
        type=int,
        default=8,
        metavar="N",
        help="Optional. Number of prompts that are answered together with -o. Default: 8.",
    )
    _add_device_options(group)


def _add_device_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--precision_hint",
        choices=PRECISION_HINTS,
        help="Optional. Arithmetic of the inference; 'device' leaves it to the device. Default: f32 on CPU, else "
        "device.",
    )
    group.add_argument(
        "--cache_dir",
        type=Path,
        metavar="DIR",
        help="Optional. Folder for the compiled model, which is then there sooner the next time. Default: none.",
    )
    group.add_argument(
        "--config",
        action="append",
        metavar="KEY=VALUE",
        help="Optional. A property of the device's plugin; may be given several times. Default: none.",
    )


def _add_io_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="Optional. File for a JSON object a text, in place of stdout; a run that was ended goes on where it was. "
        "Default: stdout.",
    )
    group.add_argument(
        "--echo",
        action="store_true",
        default=True,
        help="Optional. Write the prompt before its continuation, which is the default.",
    )
    group.add_argument("--no_echo", action="store_false", dest="echo", help="Optional. Write the continuation alone.")
    group.add_argument(
        "--loop",
        action="store_true",
        help="Optional. Begin again with the first prompt behind the last one, until Ctrl-C.",
    )
    group.add_argument(
        "--interactive",
        action="store_true",
        help="Optional. Take lines of a pipe as those of a terminal, where /help and the like are commands.",
    )


def _add_debug_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "-r",
        "--raw_output_message",
        action="store_true",
        help="Optional. Log the ids of the prompt's tokens and of the new ones.",
    )
    group.add_argument(
        "--explain",
        type=int,
        nargs="?",
        const=5,
        metavar="N",
        help="Optional. Log a table of each step's N likeliest tokens (5 where N is not given) with their "
        "probabilities, the model's and those after all settings. Default: none.",
    )
