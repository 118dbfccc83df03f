"""The flags of gpt2_evaluate and its commands. OpenVINO is not imported, so that --help need not wait for it."""

import argparse
from pathlib import Path

from gpt2_text_prediction.engine import PRECISION_HINTS
from gpt2_tools.evaluate.accuracy_check_yml import LAUNCHERS
from gpt2_tools.evaluate.model_spec import model_spec
from gpt2_tools.evaluate.texts import WIKITEXT_2
from omz_model_tools.common import Parser, positive_int

METHODS = ("omz", "strided")
CHECK = "measure the metrics of an accuracy-check.yml of Open Model Zoo and compare them with its references"
"""What accuracy-check does, also as a command of its own."""


def build_argparser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = Parser(
        prog="gpt2_evaluate", commands=True, description="Measure the perplexity and the accuracy of models."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, about, add_arguments in (
        ("perplexity", "measure perplexity on a text", _perplexity),
        ("accuracy-check", CHECK, _accuracy_check),
        ("lambada", "measure accuracy and perplexity of a passage's last word", _lambada),
        ("compare", "measure the cost of quantization or of another inference precision against a reference", _compare),
        ("lm-eval", "run lm-evaluation-harness, with --model gpt2_openvino --model_args pretrained=FILE.xml", _lm_eval),
    ):
        add_arguments(commands.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}."))
    return parser


def _perplexity(parser: argparse.ArgumentParser) -> None:
    add_model_argument(parser)
    text = parser.add_mutually_exclusive_group(required=True)
    text.add_argument("--text", type=Path, metavar="FILE", help="a text in UTF-8")
    text.add_argument("--dataset", choices=[WIKITEXT_2], help="a data set that omz_data_downloader has downloaded")
    folder = "for --dataset: the -o of omz_data_downloader (default: the current folder)"
    parser.add_argument("--data_dir", type=Path, metavar="DIR", help=folder)
    method = (
        "omz: Open Model Zoo's, disjoint windows without the incomplete last one, newlines of any kind; strided: "
        "Hugging Face's, overlapping windows that score their last tokens only, newlines as they are (default: "
        "%(default)s)"
    )
    parser.add_argument("--method", choices=METHODS, default="omz", help=method)
    context = "tokens of a window (default: the model's positions)"
    parser.add_argument("--context", type=positive_int, metavar="N", help=context)
    stride = "tokens from one window to the next, with --method strided (default: half of the context)"
    parser.add_argument("--stride", type=positive_int, metavar="N", help=stride)
    start = "score the text's first token too, given the token that starts a text"
    parser.add_argument("--add_start_token", action="store_true", help=start)
    parser.add_argument("--limit", type=positive_int, metavar="N", help="only the first N windows")
    batch = "windows per infer call (default: %(default)s)"
    parser.add_argument("--batch", type=positive_int, default=1, metavar="N", help=batch)
    add_device_arguments(parser)
    add_precision_argument(parser)
    add_tokenizer_arguments(parser)
    parser.add_argument(
        "--with-transformers",
        "--with_transformers",
        action="store_true",
        help="time transformers at f32 on the same windows, in turns",
    )
    checkpoint = "the checkpoint that transformers loads (default: ../gpt2 of the IR's folder)"
    parser.add_argument("--checkpoint", type=Path, metavar="DIR", help=checkpoint)


def _accuracy_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-c", "--config", type=Path, required=True, metavar="FILE", help="the accuracy-check.yml")
    models = "the IR, its folder, or the -o of omz_converter, with public/NAME/PRECISION in it"
    parser.add_argument("-m", "--models", type=Path, required=True, metavar="DIR", help=models)
    source = "folder of the data set's files, such as datasets/wikitext-2"
    parser.add_argument("-s", "--source", type=Path, required=True, metavar="DIR", help=source)
    framework = f"run only launchers of this framework: {' or '.join(LAUNCHERS)} (default: all in the config)"
    parser.add_argument("-tf", "--target_framework", choices=LAUNCHERS, metavar="NAME", help=framework)
    parser.add_argument("--csv_result", type=Path, metavar="FILE", help="also write the results as CSV")
    limit = "only the first N windows; the result is then not judged"
    parser.add_argument("--limit", type=positive_int, metavar="N", help=limit)
    parser.add_argument(
        "--batch", type=positive_int, default=1, metavar="N", help="windows per infer call (default: %(default)s)"
    )
    add_device_arguments(parser)
    add_precision_argument(parser)


def _lambada(parser: argparse.ArgumentParser) -> None:
    add_model_argument(parser)
    data = 'JSONL of passages, {"text": ...} (default: the data set lambada of omz_data_downloader)'
    parser.add_argument("--data", type=Path, metavar="FILE", help=data)
    folder = "without --data: the -o of omz_data_downloader (default: the current folder)"
    parser.add_argument("--data_dir", type=Path, metavar="DIR", help=folder)
    parser.add_argument("--limit", type=positive_int, metavar="N", help="only the first N passages")
    batch = "passages per infer call (default: %(default)s)"
    parser.add_argument("--batch", type=positive_int, default=8, metavar="N", help=batch)
    add_device_arguments(parser)
    add_precision_argument(parser)
    add_tokenizer_arguments(parser)


def _compare(parser: argparse.ArgumentParser) -> None:
    hints = ", ".join(PRECISION_HINTS)
    reference = "the IR that the others are compared with: a file, the folder of a model, or a name in ./public"
    parser.add_argument("reference", type=model_spec, metavar="REF", help=reference)
    others = f"an IR; FILE@HINT runs it in another inference precision than f32: {hints} (auto: what the demo chooses "
    others += "for several texts, device: what the device chooses); FILE@HINT,KEY=VALUE with a property of OpenVINO too"
    parser.add_argument("candidates", type=model_spec, nargs="+", metavar="IR", help=others)
    parser.add_argument("--text", type=Path, required=True, metavar="FILE", help="a text in UTF-8")
    context = "tokens of a window; the text is split into whole windows (default: the models' positions)"
    parser.add_argument("--context", type=positive_int, metavar="N", help=context)
    parser.add_argument("--limit", type=positive_int, metavar="N", help="only the first N windows")
    add_device_arguments(parser)
    add_tokenizer_arguments(parser)


def _lm_eval(parser: argparse.ArgumentParser) -> None:
    """Pass every argument on to the harness, options too."""
    parser.prefix_chars = ""
    parser.add_argument("arguments", nargs="*", help="arguments of lm-eval; --help lists them")


def add_model_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option of the model."""
    model = "the IR, or an .onnx: a file, the folder of a model, or a name in ./public"
    parser.add_argument("-m", "--model", type=Path, required=True, metavar="MODEL", help=model)


def add_device_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the device and its threads."""
    parser.add_argument("-d", "--device", default="CPU", help="device (default: %(default)s)")
    threads = "threads (default: the device's)"
    parser.add_argument("-nthreads", "--num_threads", type=positive_int, metavar="N", help=threads)


def add_precision_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option of the inference precision."""
    hint = "inference precision: f32 is the most exact, auto what the demo chooses for several texts, device leaves "
    hint += "it to the device (default: %(default)s)"
    parser.add_argument("--precision_hint", choices=PRECISION_HINTS, default="f32", help=hint)


def add_tokenizer_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the tokenizer's files, named as in the demo."""
    for name in ("vocab", "merges"):
        file = f"{name}.{'json' if name == 'vocab' else 'txt'}"
        parser.add_argument(f"--{name}", type=Path, metavar="FILE", help=f"{file} (default: the one beside the model)")
