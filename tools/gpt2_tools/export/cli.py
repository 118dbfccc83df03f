"""gpt2_export: an IR as a folder for other programs: OpenVINO GenAI and OpenVINO Model Server, or ONNX runtimes."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from gpt2_text_prediction.engine import model_path
from gpt2_tools.common.problem import Problem, guarded
from omz_model_tools.common import Parser, PublishedFolder, Report, check_onnx_path, disk_problems, locked_folders, say
from omz_model_tools.convert import SMALL_FILES, ir_bytes

if TYPE_CHECKING:
    from gpt2_tools.export.recipe_ir import RecipeIR

MARKS = {"genai": ("openvino_model.xml", b"omz_gpt2"), "onnx": ("model.onnx", b"omz-gpt2")}
"""By format: the file by which an earlier export is recognized, and a mark that only our exports have in it."""
MARKED = 2**24
"""Bytes of that file that are searched for the mark: a whole .xml, the head of an ONNX file."""


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    args = build_argparser().parse_args(argv)
    return guarded(lambda: _run(args))


def build_argparser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = Parser(
        prog="gpt2_export",
        description="Export an IR of omz_converter or omz_quantizer for other programs.",
    )
    model = "the IR: an .xml, the folder of a model, or a name in ./public"
    parser.add_argument("-m", "--model", type=Path, metavar="MODEL", required=True, help=model)
    folder = "output folder: new, empty, or an earlier export, which is replaced"
    parser.add_argument("-o", "--output_dir", type=Path, metavar="DIR", required=True, help=folder)
    formats = (
        "genai: for OpenVINO GenAI and OpenVINO Model Server; onnx: with the interface of the ONNX Model Zoo's gpt2-10 "
        "(default: %(default)s)"
    )
    parser.add_argument("--format", choices=MARKS, default="genai", help=formats)
    onnx = parser.add_argument_group("--format onnx")
    head = "output the logits, as gpt2-lm-head-10 does, instead of the last hidden states"
    onnx.add_argument("--lm_head", action="store_true", help=head)
    past = "add the keys and values of past tokens as inputs"
    onnx.add_argument("--with_past", action="store_true", help=past)
    return parser


def _run(args: argparse.Namespace) -> int:
    if args.format != "onnx" and (args.lm_head or args.with_past):
        raise Problem("--lm_head and --with_past: belong to --format onnx, which was not given")
    args.model = model_path(args.model)
    folder = PublishedFolder(args.output_dir.absolute())
    check_target(folder.target, *MARKS[args.format])
    if args.format == "onnx":
        check_onnx_path(folder.target)
    with disk_problems(folder.target):
        _publish(args, folder)
    Report(sys.stdout, sys.stderr).line(f"{args.output_dir}: {args.model} for {_runtime(args)}")
    return 0


def _publish(args: argparse.Namespace, folder: PublishedFolder) -> None:
    from gpt2_tools.export.recipe_ir import read_recipe_ir  # noqa: PLC0415 (OpenVINO)

    ir = read_recipe_ir(args.model)
    write = _onnx_writer(args) if args.format == "onnx" else _genai_writer(folder.target)
    with locked_folders(folder.target.with_name(f".{folder.target.name}.lock"), [folder], _say_waiting):
        check_target(folder.target, *MARKS[args.format])  # again, for what another process left there
        with folder.replacing(_bytes(args, ir) + SMALL_FILES) as new:
            write(ir, new)


def _bytes(args: argparse.Namespace, ir: "RecipeIR") -> int:
    from gpt2_tools.export.recipe_ir import weight_bytes  # noqa: PLC0415

    return weight_bytes(ir) if args.format == "onnx" else ir_bytes(ir.model, compress_to_fp16=False)


def _say_waiting() -> None:
    say("Waiting for another gpt2_export that writes this folder...")


def _onnx_writer(args: argparse.Namespace) -> "Callable[[RecipeIR, Path], None]":
    from gpt2_tools.export.onnx import load_onnx, write_folder  # noqa: PLC0415

    onnx = load_onnx()  # imported before there is anything to clean up after Ctrl-C
    return lambda ir, folder: write_folder(onnx, ir, folder, lm_head=args.lm_head, with_past=args.with_past)


def _genai_writer(folder: Path) -> "Callable[[RecipeIR, Path], None]":
    from gpt2_tools.export.genai import GRAPH, write_folder  # noqa: PLC0415
    from gpt2_tools.export.openvino_tokenizer import load_parts  # noqa: PLC0415

    parts = load_parts()
    tuned = folder / GRAPH  # the user may have edited it: it is kept
    return lambda ir, folder: write_folder(parts, ir, folder, graph=not tuned.exists())


def check_target(folder: Path, file: str, mark: bytes) -> None:
    """Raise Problem if a folder cannot be replaced, or has content other than an earlier export."""
    with disk_problems(folder):
        PublishedFolder(folder).check()
        if not folder.name or (folder.exists() and any(folder.iterdir()) and not _holds(folder / file, mark)):
            raise Problem(
                f"{folder}: expected a new or an empty folder, or an earlier export with its {file}; "
                "nothing was written"
            )


def _holds(path: Path, mark: bytes) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return mark in stream.read(MARKED)


def _runtime(args: argparse.Namespace) -> str:
    return "openvino-genai and OpenVINO Model Server" if args.format == "genai" else "ONNX runtimes"
