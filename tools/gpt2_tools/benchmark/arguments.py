"""gpt2_benchmark's command line: its options, and which exclude each other."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from gpt2_text_prediction.engine import PRECISION_HINTS
from gpt2_tools.benchmark.peers.peers import PEERS, Peer
from gpt2_tools.benchmark.report import LINES
from gpt2_tools.common.sizes import SIZES
from omz_model_tools.common import Parser, given_flags, positive_int, whole_number

ENGINE = {"model", "device", "precision_hint", "num_threads", "num_iter", "num_warmup"}
LENGTHS = ENGINE | {"prompt_tokens", "max_new_tokens", "engine_only"}
FLAGS = {
    "arithmetic": {"model", "num_threads", "num_iter", "num_warmup", "arithmetic"},
    "make_checkpoint": {"make_checkpoint", "size"},
    "download": {"download", "num_iter", "num_warmup"},
    "finetune": {"finetune", "num_iter", "num_warmup", "num_threads", "with_gpt_2_simple"},
    "peers": LENGTHS - {"engine_only"} | {"peers", "checkpoint", "peer_cache", "int8_model"},
    "output": LENGTHS | {"output"},
    "growth": ENGINE - {"num_warmup"} | {"growth", "plot"},
    "plot": ENGINE | {"plot", "prompt_tokens", "engine_only"},
    "profile": LENGTHS | {"profile"},
    "streams": LENGTHS | {"streams", "max_num_seqs"},
    "with_transformers": LENGTHS | {"with_transformers", "checkpoint"},
    "classify": ENGINE | {"classify", "checkpoint", "int8_model"},
    "model": LENGTHS,
}
"""The flags of each mode, which is named by the flag that selects it; all others are refused."""
SHARE_MODEL = ("arithmetic", "classify", "growth", "output", "peers", "plot", "profile", "streams", "with_transformers")
"""The modes that measure -m in another way than alone."""
NUM_ITER, NUM_ITER_OF_GROWTH = 5, 1
NAMES = {mode: f"--{mode}" for mode in FLAGS} | {
    "output": "-o, or several lengths",
    "with_transformers": "--with-transformers",
    "model": "-m alone",
}


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the arguments; several lengths are printed as a table, in Markdown by default."""
    parser = build_argparser()
    args = parser.parse_args(argv)
    several = len(args.prompt_tokens) * len(args.max_new_tokens) > 1
    if several and args.output is None and args.model is not None:
        args.output = "md"
    given = [NAMES[mode] for mode in SHARE_MODEL if getattr(args, mode) not in (None, False)]
    if args.growth is not None and args.plot is not None:
        given.remove(NAMES["plot"])  # its picture
    if len(given) > 1:
        parser.error(f"not allowed together: {'; '.join(given)}")
    if given and args.model is None:
        parser.error(f"{given[0]}: expected -m, the IR to measure")
    _refuse_flags_of_other_modes(parser, args)
    if args.num_iter is None:
        args.num_iter = NUM_ITER if args.growth is None else NUM_ITER_OF_GROWTH
    return args


def _refuse_flags_of_other_modes(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    mode = mode_of(args)
    for dest, flag in given_flags(parser, args).items():
        if dest not in FLAGS[mode]:
            owners = " and ".join(NAMES[owner] for owner, flags in FLAGS.items() if dest in flags)
            parser.error(f"{flag}: is for {owners}, not for {NAMES[mode]}")


def mode_of(args: argparse.Namespace) -> str:
    """Return the mode that the arguments select, one of FLAGS."""
    return next(mode for mode in FLAGS if getattr(args, mode) not in (None, False))


def build_argparser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = Parser(
        prog="gpt2_benchmark",
        description="Measure the converter and the demo on one model, or the downloader: median, minimum, maximum.",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    model = "the IR to measure: a file, the folder of a model, or a name in ./public"
    what.add_argument("-m", "--model", type=Path, metavar="MODEL", help=model)
    what.add_argument(
        "--make_checkpoint", type=Path, metavar="DIR", help="only write a checkpoint with random weights into DIR"
    )
    what.add_argument(
        "--download",
        type=positive_int,
        nargs="?",
        const=512,
        metavar="MB",
        help="measure omz_downloader against curl and sha256sum on a file of MB megabytes (default: %(const)s)",
    )
    tuned = "measure gpt2_finetune against a plain loop of PyTorch, and LoRA against full training [finetune]"
    what.add_argument("--finetune", action="store_true", help=tuned)
    simple = "with --finetune: steps of gpt-2-simple too, in an environment of its own (TensorFlow, 2 GB on the disk)"
    parser.add_argument("--with-gpt-2-simple", "--with_gpt_2_simple", action="store_true", help=simple)
    parser.add_argument(
        "--size", choices=SIZES, default="gpt-2", help="model size of --make_checkpoint (default: %(default)s)"
    )
    _add_workload(parser)
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="DIR",
        help="the checkpoint that other engines load (default: ../gpt2 of the IR's folder)",
    )
    parser.add_argument(
        "--with-transformers",
        "--with_transformers",
        action="store_true",
        help="run transformers at f32 in turns with the engine",
    )
    parser.add_argument("--engine_only", action="store_true", help="skip the measurement of whole processes")
    _add_outputs(parser.add_argument_group("other outputs, which measure the engine only"))
    _add_peers(parser.add_argument_group("other engines beside ours, on 2 threads by default"))
    return parser


def _add_workload(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-d", "--device", default="CPU", help="device (default: %(default)s)")
    parser.add_argument(
        "-p",
        "--prompt_tokens",
        type=_counts,
        default=[128],
        metavar="N[,N...]",
        help="prompt length in tokens (default: 128)",
    )
    parser.add_argument(
        "-M",
        "--max_new_tokens",
        type=_counts,
        default=[128],
        metavar="N[,N...]",
        help="tokens to generate after the prompt (default: 128)",
    )
    parser.add_argument(
        "-n",
        "--num_iter",
        type=positive_int,
        metavar="N",
        help=f"measured runs, after the warm-up (default: {NUM_ITER}; {NUM_ITER_OF_GROWTH} of --growth)",
    )
    parser.add_argument(
        "-N",
        "--num_warmup",
        type=whole_number,
        default=1,
        metavar="N",
        help="warm-up runs (default: %(default)s)",
    )
    threads = "threads (default: the device's)"
    parser.add_argument("-nthreads", "--num_threads", type=positive_int, metavar="N", help=threads)
    hint = "inference precision of our engine: auto is what the demo chooses (default: %(default)s)"
    parser.add_argument("--precision_hint", choices=PRECISION_HINTS, default="auto", help=hint)


def _add_outputs(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "-o",
        "--output",
        choices=LINES,
        help="print a row for each length of -p and -M, with median, mean and standard deviation (default with several "
        "lengths: md)",
    )
    group.add_argument(
        "--arithmetic",
        action="store_true",
        help="measure what --precision_hint auto may choose on this CPU, in turns: the speed of each, relative to f32",
    )
    group.add_argument(
        "--classify",
        type=Path,
        metavar="TEXTS",
        help="measure gpt2_classify on the texts of a file, one a line or a .jsonl with a 'text', beside transformers' "
        "pipeline: texts/s, and how many labels are the same [evaluate]",
    )
    group.add_argument(
        "--growth",
        type=positive_int,
        nargs="?",
        const=1,
        metavar="N",
        help="measure what large work costs, by its size: samples of the demo's -o, beams with stop strings, up to "
        "4000 prompts of a call and 100000 records of -o resumed; with N, all sizes divided by it. --plot draws it",
    )
    group.add_argument(
        "--profile", action="store_true", help="measure the time per layer type, of a prompt and of a token"
    )
    group.add_argument(
        "--plot",
        type=Path,
        metavar="FILE",
        help="plot speed by context length, batch size and threads, or --growth, as .png, .svg or .pdf",
    )
    group.add_argument(
        "--streams",
        type=positive_int,
        metavar="N",
        help="measure N streams that N threads open at once: the last first token beside a bound, tokens/s in all",
    )
    group.add_argument(
        "--max_num_seqs",
        type=positive_int,
        metavar="N",
        help="how many of --streams run at once (default: all), beside the same with 16",
    )


def _add_peers(group: argparse._ArgumentGroup) -> None:
    known = ",".join(PEERS)
    group.add_argument(
        "--peers",
        type=_peers,
        metavar="NAME[,NAME]",
        help=f"measure the speed table of -m, the FP16 IR, beside these engines: {known}; or none",
    )
    group.add_argument(
        "--peer_cache",
        type=Path,
        metavar="DIR",
        help="folder of the engines' Python environments, which pip installs on first use, and of their converted "
        "models (default: the user's cache folder)",
    )
    group.add_argument(
        "--int8_model", type=Path, metavar="FILE", help="our INT8 IR (default: the one in ../FP16-INT8, if any)"
    )


def _peers(text: str) -> list[Peer]:
    names = [] if text == "none" else text.split(",")
    if unknown := [name for name in names if name not in PEERS]:
        raise argparse.ArgumentTypeError(f"expected some of {','.join(PEERS)}, or none, got {unknown[0]!r}")
    return [PEERS[name] for name in dict.fromkeys(names)]


def _counts(text: str) -> list[int]:
    return list(dict.fromkeys(positive_int(part) for part in text.split(",")))
