"""The demo's flags, in Open Model Zoo's and Hugging Face's names.

A flag whose default is set elsewhere is None here unless it is given.
"""

import argparse
import contextlib
import itertools
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from gpt2_text_prediction.engine.configuration import PRECISION_HINTS
from gpt2_text_prediction.settings import BEAMS, GENERATION, LOGITS, ROWS, TEXT, Setting
from gpt2_text_prediction.version import VERSION


class Parser(argparse.ArgumentParser):
    """A parser that takes --max-new-tokens for --max_new_tokens, and whose errors are one line each."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, add_help=False, allow_abbrev=False)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, or tell the shell what may come next, where that is what it asks."""
        if "_ARGCOMPLETE" in os.environ:
            with contextlib.suppress(ImportError):
                import argcomplete  # noqa: PLC0415 - an extra

                argcomplete.autocomplete(self)
        return super().parse_args(args, namespace)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, with the flags spelt as in the help."""
        given = [self._spelt(word) for word in (sys.argv[1:] if args is None else args)]
        self._refuse_unknown(given)
        return super().parse_known_args(given, namespace)

    def error(self, message: str) -> NoReturn:
        """End with one line on stderr, and the exit code 2."""
        self.exit(2, f"{self.prog}: error: {message}\n")

    def _refuse_unknown(self, given: Sequence[str]) -> None:
        """Refuse an unknown flag before a missing one, of which it may be the misspelling."""
        known, before = self._option_string_actions, ""
        for word in itertools.takewhile("--".__ne__, given):
            name = word.partition("=")[0]
            if is_flag(name) and name not in known and name[:2] not in known:
                if (action := known.get(before)) is not None and action.nargs is None:
                    long = next(flag for flag in action.option_strings if flag.startswith("--"))
                    self.error(f"{before}: expected a value, got {name}; one that begins with - is {long}={word}")
                from difflib import get_close_matches  # noqa: PLC0415 - slow to import

                whole = f"--{name.lstrip('-')}"
                nearest = get_close_matches(whole, [flag for flag in known if flag.startswith("--")], 1)
                meant = f"did you mean {nearest[0]}?" if nearest else f"{self.prog} -h lists them"
                self.error(f"{name}: unknown flag; {meant}")
            before = word

    def _spelt(self, word: str) -> str:
        name, equals, value = word.partition("=")
        known = name.replace("-", "_").replace("__", "--", 1)
        is_ours = name.startswith("--") and name not in self._option_string_actions
        return known + equals + value if is_ours and known in self._option_string_actions else word


def is_flag(name: str) -> bool:
    """Return whether argparse takes a word for a flag: not "-", a negative number, or a text with spaces."""
    return name.startswith("-") and not re.fullmatch(r"-|-\d.*|-\.\d.*", name) and " " not in name


def build_argparser() -> argparse.ArgumentParser:
    """Return the parser of the demo's command line."""
    parser = Parser("gpt2_text_prediction_demo")
    _add_options(parser.add_argument_group("Options"))
    _add_model_options(parser.add_argument_group("Common model options"))
    for name in (GENERATION, LOGITS, BEAMS, TEXT):
        group = parser.add_argument_group(f"{name} options")
        for row in ROWS:
            if row.group == name:
                _add_setting(group, row)
    group.add_argument(
        "--no_escape",
        action="store_true",
        help="Optional. Take the texts of --stop and --bad_words as they are. Default: \\n and the other escapes of C "
        "are the characters they mean.",
    )
    _add_inference_options(parser.add_argument_group("Inference options"))
    _add_io_options(parser.add_argument_group("Input/output options"))
    _add_debug_options(parser.add_argument_group("Debug options"))
    return parser


def _add_setting(group: argparse._ArgumentGroup, row: Setting) -> None:
    """Add the flag of a row of the settings' table; its value is None or False where it is not given."""
    name = f"--{row.name}"
    short = [flag for flag in row.flags if not flag.startswith("--")]
    long = [flag for flag in row.flags if flag.startswith("--")]
    shown = str(row.default) if row.shown_default is None else row.shown_default
    options = dict(row.kind.flag)
    if row.metavar is not None:
        options["metavar"] = row.metavar
    if row.choices:
        options["choices"] = row.choices
    default = f" Default: {shown}." if shown else ""
    names = [*short, *(long if name in long else [name, *long])]
    group.add_argument(*names, dest=row.name, help=f"Optional. {row.help}{default}", **options)


def add_help(group: argparse._ArgumentGroup, prog: str) -> None:
    """Add the flags that show something and exit."""
    group.add_argument("-h", "--help", action="help", help="Show this help message and exit.")
    group.add_argument("--version", action="version", version=f"{prog} {VERSION}", help="Show the version and exit.")


def _add_options(group: argparse._ArgumentGroup) -> None:
    add_help(group, "gpt2_text_prediction_demo")
    group.add_argument(
        "-m",
        "--model",
        type=Path,
        metavar="MODEL",
        help="Required. A trained model: the path to an .xml file, the folder of a model, or a name in ./public.",
    )
    group.add_argument(
        "-i",
        "--input",
        action="append",
        metavar="TEXT",
        help="Optional. Input prompt; may be given several times. Default: typed at a terminal, or one per "
        "line from a pipe.",
    )
    group.add_argument(
        "--prompt_file",
        type=Path,
        metavar="FILE",
        help="Optional. File with one prompt per line; in a .jsonl file each line is a JSON object with a 'prompt' "
        "and, named like their flags, settings of its own. Default: none.",
    )


def add_tokenizer_options(group: argparse._ArgumentGroup) -> None:
    """Add the flags of a tokenizer's files."""
    group.add_argument(
        "-v",
        "--vocab",
        type=Path,
        metavar="FILE",
        help="Optional. Path to the vocabulary file with tokens. Default: tokenizer.json beside the model, else "
        "vocab.json there.",
    )
    group.add_argument(
        "--merges",
        type=Path,
        metavar="FILE",
        help="Optional. Path to the merges file. Default: tokenizer.json beside the model, else merges.txt there.",
    )


def _add_model_options(group: argparse._ArgumentGroup) -> None:
    add_tokenizer_options(group)
    group.add_argument(
        "--max_seq_len",
        type=int,
        metavar="N",
        help="Optional. Maximum sequence length for processing, prompt and new tokens together. Default: the model's "
        "number of positions.",
    )
    group.add_argument(
        "--no_generation_config",
        action="store_true",
        help="Optional. Ignore the defaults in the generation_config.json beside the model.",
    )
    group.add_argument(
        "--dynamic_shape",
        action="store_true",
        help="Optional. Accepted for compatibility with Open Model Zoo: the input shape is dynamic unless "
        "--static_shape is given.",
    )
    group.add_argument(
        "--static_shape",
        action="store_true",
        help="Optional. Reshape the input to a static [1, N], N the model's positions, for devices that need it; there "
        "is no KV cache then, and each token computes the whole text again.",
    )


def add_device(group: argparse._ArgumentGroup) -> None:
    """Add the flags of the device and its threads."""
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


def _add_inference_options(group: argparse._ArgumentGroup) -> None:
    add_device(group)
    group.add_argument(
        "-nireq",
        "--num_infer_requests",
        type=int,
        metavar="N",
        help="Optional. Most prompts that run at the same time with -o. Default: as many as there is room for.",
    )
    add_device_options(group)


def add_device_options(group: argparse._ArgumentGroup) -> None:
    """Add the flags of how the device computes."""
    group.add_argument(
        "--precision_hint",
        choices=PRECISION_HINTS,
        default="auto",
        help="Optional. Inference precision; 'auto' chooses for speed, by CPU, weights and number of texts, and stays "
        "close to f32; 'device' leaves it to the device. Default: auto.",
    )
    group.add_argument(
        "--cache_dir",
        type=Path,
        metavar="DIR",
        help="Optional. Folder to cache the compiled model in, so that it loads faster the next time. Default: none.",
    )
    group.add_argument(
        "--config",
        action="append",
        metavar="KEY=VALUE",
        help="Optional. Set a property of the device's plugin; may be given several times. Default: none.",
    )


def _add_io_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="Optional. Write one JSON object per text to FILE instead of stdout; an interrupted run resumes. "
        "Default: stdout.",
    )
    group.add_argument(
        "--logprobs",
        type=int,
        metavar="N",
        help="Optional. With -o, add the log-probability of each new token to the records, and the N likeliest tokens "
        "with theirs. Default: none.",
    )
    group.add_argument(
        "--echo",
        action="store_true",
        default=True,
        help="Optional. Write the prompt before its continuation (the default).",
    )
    group.add_argument("--no_echo", action="store_false", dest="echo", help="Optional. Write the continuation only.")
    group.add_argument(
        "--omz_output",
        action="store_true",
        help="Optional. Write each text when it is finished, to stdout after '[ INFO ] GENERATED SEQUENCE: ', as Open "
        "Model Zoo's demo does.",
    )
    group.add_argument(
        "--loop",
        action="store_true",
        help="Optional. Start again with the first prompt after the last one, until Ctrl-C.",
    )
    group.add_argument(
        "--interactive",
        action="store_true",
        help="Optional. Interactive mode also when stdin is a pipe: /help and the like are commands.",
    )


def add_quiet(group: argparse._ArgumentGroup) -> None:
    """Add the flag that shortens the log."""
    group.add_argument(
        "--quiet",
        action="store_true",
        help="Optional. Log only warnings, errors and what other flags ask for: no hints, nothing about the model.",
    )


def _add_debug_options(group: argparse._ArgumentGroup) -> None:
    add_quiet(group)
    group.add_argument(
        "-r",
        "--raw_output_message",
        action="store_true",
        help="Optional. Log the token ids of the prompt and of the continuation.",
    )
    group.add_argument(
        "--explain",
        type=int,
        nargs="?",
        const=5,
        metavar="N",
        help="Optional. Log a table of each step's N most likely tokens (5 if N is not given) with their "
        "probabilities, the model's own and those after all settings. Default: none.",
    )
