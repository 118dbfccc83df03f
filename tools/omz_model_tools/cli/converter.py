"""omz_converter: convert downloaded models, or a checkpoint of the user's own, to OpenVINO IR."""

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from omz_model_tools.cli.selection import add_folder, add_selection, each, folder_of, precisions, refuse, selected
from omz_model_tools.common.arguments import positive_int
from omz_model_tools.common.guard import guarded
from omz_model_tools.common.in_order import in_order
from omz_model_tools.common.parser import Parser
from omz_model_tools.common.problem import Problem
from omz_model_tools.common.report import Report
from omz_model_tools.convert.checkpoint import Checkpoint, CheckpointConverter
from omz_model_tools.convert.converter import Converter
from omz_model_tools.convert.onnx.convert_model import ConvertModel
from omz_model_tools.convert.onnx.model_optimizer import find_model_optimizer
from omz_model_tools.convert.onnx.route import IRMaker, OnnxRoute
from omz_model_tools.convert.recipes import Recipe, load_recipe
from omz_model_tools.convert.route import DirectRoute, Route
from omz_model_tools.convert.write_progress import unwatched, watch_on
from omz_model_tools.descriptor.model import PRECISIONS, Model

DEFAULT_RECIPE = "gpt2"
KNOWN_PRECISIONS = (*PRECISIONS, "FP16-INT4", "FP32-INT4")
"""Open Model Zoo's and omz_quantizer's, so that the converter can say which command makes one."""
ONNX_FLAGS = ("input_shape", "output", "python", "mo", "add_mo_arg")


def converter(
    argv: Sequence[str] | None = None,
    roots: Iterable[Path] | None = None,
    load: Callable[[str], Recipe] = load_recipe,
) -> int:
    """Run omz_converter; `roots` as for the downloader, `load` finds a recipe by its name."""
    return guarded(lambda: _convert(argv, roots, load))


def _convert(argv: Sequence[str] | None, roots: Iterable[Path] | None, load: Callable[[str], Recipe]) -> int:
    parser = _parser()
    args = parser.parse_args(argv)
    if args.checkpoint is not None or args.hub is not None or args.peft_adapter is not None:
        return _convert_checkpoint(parser, args, load)
    refuse(parser, args, ["recipe", "model_name"], "without --checkpoint or --hub")
    if args.dry_run:
        refuse(parser, args, ["verify"], "with --dry_run, which reads no file")
    models = selected(parser, args, roots)
    if models is None:
        return 0
    route_of = _route_of(parser, args, load)
    wanted = precisions(args.precisions, KNOWN_PRECISIONS)
    at_once = 1 if args.dry_run else args.jobs or 1
    download_dir = folder_of(args.download_dir)

    def convert(model: Model, report: Report) -> bool:
        work = Converter(
            download_dir=download_dir,
            output_dir=args.output_dir or download_dir,
            precisions=wanted,
            report=report,
            route_of=lambda model: route_of(model, report),
            dry_run=args.dry_run,
            verify=args.verify,
            watch=watch_on(sys.stderr) if at_once == 1 else unwatched,
        )
        return work.convert(model)

    report = Report(sys.stdout, sys.stderr)
    if at_once == 1:
        return each(models, lambda model: convert(model, report), report)
    readable = [model for model in models if isinstance(model, Model)]
    with in_order(convert, readable, at_once, report) as follow_next:
        return each(models, lambda model: follow_next(), report)


def _route_of(
    parser: argparse.ArgumentParser, args: argparse.Namespace, load: Callable[[str], Recipe]
) -> Callable[[Model, Report], Route]:
    """Return the route of a model: that of --route, else the direct one if it has a recipe.

    A flag that only the route through ONNX knows selects that route.
    """
    if args.route == "direct":
        refuse(parser, args, ONNX_FLAGS, "with --route direct")
        return lambda model, report: DirectRoute(load)
    maker: IRMaker = ConvertModel()
    if args.python or args.mo or args.add_mo_arg:
        maker = find_model_optimizer(args.python, args.mo, tuple(args.add_mo_arg))
    always = args.route == "onnx" or any(getattr(args, flag) for flag in ONNX_FLAGS)

    def route(model: Model, report: Report) -> Route:
        if always or model.recipe is None:
            python = args.python or Path(sys.executable)
            return OnnxRoute(report, load, maker, args.input_shape, args.output, python)
        return DirectRoute(load)

    return route


def _convert_checkpoint(
    parser: argparse.ArgumentParser, args: argparse.Namespace, load: Callable[[str], Recipe]
) -> int:
    others = ["name", "list", "all", "print_all", "models_dir", "download_dir", "verify", "jobs", "route", *ONNX_FLAGS]
    flag = next(name for name in ("hub", "checkpoint", "peft_adapter") if getattr(args, name) is not None)
    if args.checkpoint is not None and args.hub is not None:
        parser.error("--checkpoint cannot be used with --hub")
    refuse(parser, args, [*others, *(["dry_run"] if args.hub is not None else [])], f"with --{flag}")
    if args.output_dir is None:
        parser.error(f"--{flag} needs -o/--output_dir")
    report, recipe = Report(sys.stdout, sys.stderr), args.recipe or DEFAULT_RECIPE
    folder, name = args.checkpoint, ""
    if args.hub is not None:
        folder, name = _fetched(args.hub, load(recipe), report)
    if args.peft_adapter is not None or not name:
        name = Path(os.path.abspath(args.peft_adapter or folder)).name  # noqa: PTH100 - a link keeps its name
    checkpoint = Checkpoint(
        folder=folder or args.peft_adapter,  # whose base the recipe finds
        name=args.model_name or name,
        recipe=recipe,
        adapter=args.peft_adapter if folder else None,
    )
    work = CheckpointConverter(
        output_dir=args.output_dir,
        precisions=precisions(args.precisions, KNOWN_PRECISIONS),
        report=report,
        dry_run=args.dry_run,
        watch=watch_on(sys.stderr),
    )
    work.convert(checkpoint, load(checkpoint.recipe))
    return 0


def _fetched(text: str, recipe: Recipe, report: Report) -> tuple[Path, str]:
    """Fetch a repository of the hub; return its folder and the name of its model."""
    from omz_model_tools.convert.hub import Repository, fetch  # noqa: PLC0415 - only --hub needs it

    repository = Repository.parse(text)
    choose = getattr(recipe, "hub_files", None)
    if choose is None:
        raise Problem("--hub: this recipe does not say which files of a repository it reads")
    report.section(f"Fetching {repository} from the hub")
    try:
        fetched = fetch(repository, choose)
    except recipe.Problem as problem:
        raise Problem(f"{repository}: {problem}") from problem
    report.line(f"Commit {fetched.commit}, checksums verified: {', '.join(fetched.names)}")
    report.line()
    return fetched.folder, repository.short_name


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="omz_converter", description="Convert downloaded models to OpenVINO IR.")
    add_selection(parser, "convert")
    add_folder(parser, "-d", "--download_dir", "root of the directory tree with downloaded model files")
    output = "root of the directory tree to place converted files into (default: the download directory)"
    parser.add_argument("-o", "--output_dir", type=Path, metavar="DIR", help=output)
    _add_checkpoint(parser)
    wanted = "convert only to the specified precisions (default: %(default)s)"
    parser.add_argument("--precisions", metavar="PREC[,PREC...]", default="FP16,FP32", help=wanted)
    check = "verify the checksums of the downloaded files first"
    parser.add_argument("--verify", action="store_true", help=check)
    dry_run = "print what would be converted, without reading or writing a model"
    parser.add_argument("--dry_run", action="store_true", help=dry_run)
    parser.add_argument("--dry-run", action="store_true", help=argparse.SUPPRESS)  # OMZ's alias
    jobs = 'convert N models at once, "auto": as many as there are processors (default: 1)'
    parser.add_argument("-j", "--jobs", type=_jobs, metavar="N", help=jobs)
    _add_onnx(parser)
    return parser


def _jobs(text: str) -> int:
    return os.cpu_count() or 1 if text == "auto" else positive_int(text)


def _add_checkpoint(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("your own checkpoint")
    folder = "convert the checkpoint in this folder instead of a model of the zoo, to OUTPUT_DIR/PREC/MODEL_NAME.xml"
    group.add_argument("--checkpoint", type=Path, metavar="DIR", help=folder)
    hub = "fetch this repository of the Hugging Face hub and convert it so; HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE [hub]"
    group.add_argument("--hub", metavar="ORG/NAME[@REVISION]", help=hub)
    adapter = "merge the LoRA or DoRA adapter in this folder, of the peft library, into the checkpoint (default: that "
    adapter += "in --checkpoint, if any); without --checkpoint, into the local folder that it names as its base"
    group.add_argument("--peft_adapter", type=Path, metavar="DIR", help=adapter)
    group.add_argument("--recipe", metavar="RECIPE", help=f"recipe that reads it (default: {DEFAULT_RECIPE})")
    group.add_argument(
        "--model_name",
        metavar="NAME",
        help="name of the IR (default: that of the folder, of the adapter's if there is one)",
    )


def _add_onnx(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the route through ONNX")
    route = "direct: by the model's recipe; onnx: through an ONNX file (default: direct for a model with a recipe)"
    group.add_argument("--route", choices=["direct", "onnx"], help=route)
    shape = "shapes of the inputs, such as [1,1024] or [?,1..1024] (default: the descriptor's)"
    group.add_argument("--input_shape", metavar="SHAPE[,SHAPE...]", help=shape)
    output = "tensors or nodes to make outputs, in the order of the model (default: the descriptor's, else all outputs)"
    group.add_argument("--output", metavar="NAME[,NAME...]", help=output)
    python = "Python of an environment that has openvino-dev, to convert with Model Optimizer"
    group.add_argument("-p", "--python", type=Path, metavar="PYTHON", help=python)
    mo = "Model Optimizer's program, mo or mo.py (default: that beside PYTHON, else the one on the PATH)"
    group.add_argument("--mo", type=Path, metavar="MO.PY", help=mo)
    extra = "extra argument for Model Optimizer, as --add_mo_arg=--ARG; can be given several times"
    group.add_argument("--add_mo_arg", metavar="ARG", action="append", default=[], help=extra)
    group.add_argument("--add-mo-arg", dest="add_mo_arg", action="append", help=argparse.SUPPRESS)  # OMZ's alias
