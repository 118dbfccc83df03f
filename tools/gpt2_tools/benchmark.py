"""gpt2_benchmark: what the tools and the demo cost, as whole processes and inside. It asserts no time.

Prints a table for people, then one line of JSON for machines.
"""

import argparse
import importlib.metadata
import json
import platform
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from gpt2_recipe.config import read_config
from gpt2_text_prediction import Problem as DemoProblem
from gpt2_text_prediction.generator import configuration
from gpt2_text_prediction.ir import check_files
from gpt2_tools.download_benchmark import measure_download
from gpt2_tools.engine_benchmark import EngineBenchmark
from gpt2_tools.measure import Figure, run_process
from gpt2_tools.peer_environments import default_cache
from gpt2_tools.peer_models import PEERS, Peer, Running, Weights
from gpt2_tools.problem import Problem
from gpt2_tools.random_checkpoint import SIZES, make_checkpoint
from gpt2_tools.speed_benchmark import Plan, measure_speed
from omz_model_tools.guard import guarded
from omz_model_tools.report import Report

Figures = dict[str, Figure]

DEMO_TOKENS = 40
PEER_THREADS = 2
PATIENCE = 600.0
"""Seconds that a peer may take to load, or for one generation."""


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    args = build_argparser().parse_args(argv)
    return guarded(lambda: _run(args), (Problem, DemoProblem))


def _run(args: argparse.Namespace) -> int:
    report = Report(sys.stdout, sys.stderr)
    if args.make_checkpoint is not None:
        make_checkpoint(args.make_checkpoint, args.size)
        _say(f"{args.make_checkpoint}: a {args.size} with random weights")
    elif args.download is not None:
        _benchmark_download(args, report)
    elif args.peers is not None:
        _benchmark_peers(args, report)
    else:
        _benchmark(args, report)
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def build_argparser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="gpt2_benchmark",
        description="Measure the converter and the demo on one model, or the downloader: medians, with the least and "
        "the most.",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("-m", "--model", type=Path, metavar="FILE", help="measure this IR")
    what.add_argument(
        "--make_checkpoint", type=Path, metavar="DIR", help="only write a checkpoint with random weights into DIR"
    )
    what.add_argument(
        "--download",
        type=_count,
        nargs="?",
        const=512,
        metavar="MB",
        help="measure omz_downloader against curl and sha256sum on a file of MB megabytes (default: %(const)s)",
    )
    parser.add_argument("--size", choices=SIZES, default="gpt-2", help="of --make_checkpoint (default: %(default)s)")
    parser.add_argument("-d", "--device", default="CPU", help="device (default: %(default)s)")
    parser.add_argument(
        "-p", "--prompt_tokens", type=_count, default=128, metavar="N", help="length (default: %(default)s)"
    )
    parser.add_argument(
        "-M", "--max_new_tokens", type=_count, default=128, metavar="N", help="behind (default: %(default)s)"
    )
    parser.add_argument(
        "-n", "--num_iter", type=_count, default=5, metavar="N", help="runs that count (default: %(default)s)"
    )
    parser.add_argument(
        "-N",
        "--num_warmup",
        type=_not_negative,
        default=1,
        metavar="N",
        help="runs that do not count (default: %(default)s)",
    )
    parser.add_argument("-nthreads", "--num_threads", type=_count, metavar="N", help="threads (default: the device's)")
    parser.add_argument(
        "--precision_hint", choices=("f32", "bf16", "f16", "device"), help="arithmetic (default: the demo's)"
    )
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="DIR",
        help="for the peers: what the IR was made of (default: ../gpt2)",
    )
    parser.add_argument(
        "--with-transformers", "--with_transformers", action="store_true", help="run transformers beside it"
    )
    parser.add_argument("--engine_only", action="store_true", help="measure no whole processes")
    _add_peers(parser.add_argument_group("beside other engines, on 2 threads unless -nthreads says otherwise"))
    return parser


def _add_peers(group: argparse._ArgumentGroup) -> None:
    known = ",".join(PEERS)
    group.add_argument(
        "--peers",
        type=_peers,
        metavar="NAME[,NAME]",
        help=f"measure the table of speeds on -m, the FP16 IR, beside these: {known}; or none",
    )
    group.add_argument(
        "--peer_cache",
        type=Path,
        metavar="DIR",
        default=default_cache(),
        help="where each has an environment of its own, made by pip when it is first needed, and its form of the "
        "weights (default: the user's cache folder)",
    )
    group.add_argument(
        "--int8_model", type=Path, metavar="FILE", help="our INT8 IR (default: that in ../FP16-INT8, if there is one)"
    )


def _peers(text: str) -> list[Peer]:
    names = [] if text == "none" else text.split(",")
    if unknown := [name for name in names if name not in PEERS]:
        raise argparse.ArgumentTypeError(f"expected some of {','.join(PEERS)}, or none, got {unknown[0]!r}")
    return [PEERS[name] for name in dict.fromkeys(names)]


def _not_negative(text: str) -> int:
    if not text.isdecimal() or len(text) > 9:
        raise argparse.ArgumentTypeError(f"expected a whole number, got {text!r}")
    return int(text)


def _count(text: str) -> int:
    if (number := _not_negative(text)) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text!r}")
    return number


def _benchmark(args: argparse.Namespace, report: Report) -> None:
    _say("loading ...")
    config = configuration(args.device, args.precision_hint, args.num_threads)
    bench = EngineBenchmark(args.model, args.device, config)
    figures = {"load": bench.load} | _engine_figures(args, bench)
    if not args.engine_only:
        _say("whole processes ...")
        figures |= _process_figures(args)
    workload = ("device", "prompt_tokens", "max_new_tokens")
    settings = {name: getattr(args, name) for name in workload} | bench.settings()
    _print(args, report, {"model": str(args.model), **settings, "back_end": bench.engine.back_end.name}, figures)


def _benchmark_peers(args: argparse.Namespace, report: Report) -> None:
    weights = Weights(irs=_irs(args), checkpoint=_checkpoint(args))
    _check_lengths(args, read_config(weights.checkpoint / "config.json").n_positions)
    if "INT8" not in weights.irs:
        _say(f"INT8 is not measured: {_int8_beside(args.model)} is not there: omz_quantizer makes it")
    plan = Plan(weights, args.device, args.prompt_tokens, args.max_new_tokens, args.num_iter, args.num_warmup)
    threads = args.num_threads or PEER_THREADS
    table = measure_speed(plan, args.peers, args.peer_cache.absolute(), Running(threads, PATIENCE, _say))
    workload = {
        "model": str(args.model),
        "device": args.device,
        "prompt_tokens": args.prompt_tokens,
        "max_new_tokens": args.max_new_tokens,
        "threads": threads,
        "peers": table.versions,
        "not_run": table.not_run,
    }
    _print(args, report, workload, table.figures, table.not_run)


def _irs(args: argparse.Namespace) -> dict[str, Path]:
    """Return our IRs by precision."""
    if args.model.suffix != ".xml":
        raise Problem(f"{args.model}: expected an .xml of omz_converter beside peers")
    check_files(args.model)
    beside = _int8_beside(args.model)
    int8 = args.int8_model or (beside if beside.exists() else None)
    if int8 is None:
        return {"FP16": args.model}
    check_files(int8)
    return {"FP16": args.model, "INT8": int8}


def _int8_beside(model: Path) -> Path:
    return model.parent.parent / "FP16-INT8" / model.name


def _benchmark_download(args: argparse.Namespace, report: Report) -> None:
    _say("downloading ...")
    figures = measure_download(args.download, args.num_warmup, args.num_iter, _command("omz_downloader"))
    _print(args, report, {"download_mb": args.download}, figures)


def _check_lengths(args: argparse.Namespace, n_positions: int) -> None:
    if args.max_new_tokens < 2:
        raise Problem(f"-M: expected at least 2 new tokens, the first and one behind it, got {args.max_new_tokens}")
    total = args.prompt_tokens + args.max_new_tokens
    if total > n_positions:
        raise Problem(f"-p and -M: expected at most {n_positions} tokens together, got {total}")


def _engine_figures(args: argparse.Namespace, bench: EngineBenchmark) -> Figures:
    _check_lengths(args, bench.engine.n_positions)
    _say("generating ...")
    with _peer(args, bench.settings()["threads"] or "1") as peer:
        ours, theirs = _rounds(args, bench.generate, peer)
    figures = bench.generation(ours, args.prompt_tokens)
    if theirs:
        figures |= _against(figures, bench.generation(theirs, args.prompt_tokens))
    _say("sampling, growth ...")
    figures |= bench.sampling()
    draw = max(figures[f"sampling, {kind} logits"].median for kind in ("flat", "peaked"))
    figures["sampling, share of a token"] = Figure("%", (100 * draw / figures["time per token"].median,))
    return figures | bench.growth() | bench.memory()


def _print(
    args: argparse.Namespace,
    report: Report,
    workload: Mapping[str, object],
    figures: Figures,
    not_run: Mapping[str, str] = MappingProxyType({}),
) -> None:
    width = max(map(len, figures))
    for name, figure in figures.items():
        report.line(f"{name:<{width}}  {figure.text()}")
    for name, reason in not_run.items():
        report.line(f"not run: {name}: {reason}")
    said = {
        **workload,
        "num_iter": args.num_iter,
        "num_warmup": args.num_warmup,
        "versions": _versions(),
        "machine": {"system": platform.platform(), "processor": _processor()},
        "figures": {name: figure.as_json() for name, figure in figures.items()},
    }
    report.line(json.dumps(said))


def _rounds(
    args: argparse.Namespace, *runners: Callable[[int, int], list[float]] | None
) -> tuple[list[list[float]], ...]:
    """Run the workload in turns, so that all see the same machine; the rounds of the warm-up are left out."""
    rounds = [
        [runner(args.prompt_tokens, args.max_new_tokens) if runner else [] for runner in runners]
        for _ in range(args.num_warmup + args.num_iter)
    ][args.num_warmup :]
    return tuple([times for times in column if times] for column in zip(*rounds, strict=True))


@contextmanager
def _peer(args: argparse.Namespace, threads: str) -> Iterator[Callable[[int, int], list[float]] | None]:
    """Give a function that has transformers generate in a process of its own, or None where it is not asked for."""
    if not args.with_transformers:
        yield None
        return
    missing = [name for name in ("torch", "transformers") if not _installed(name)]
    if missing:
        raise Problem(f"--with-transformers: {' and '.join(missing)} missing: pip install 'omz-gpt2[evaluate]'")
    command = [sys.executable, "-m", "gpt2_tools.transformers_peer", str(_checkpoint(args)), threads]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, stdout = process.stdin, process.stdout

        def generate(prompt_tokens: int, new_tokens: int) -> list[float]:
            print(prompt_tokens, new_tokens, file=stdin, flush=True)
            answer = stdout.readline()
            if not answer:
                raise Problem(f"transformers could not run {_checkpoint(args)}; its own words stand above")
            times: list[float] = json.loads(answer)
            return times

        try:
            yield generate
        finally:
            process.kill()


def _against(ours: Figures, theirs: Figures) -> Figures:
    """Return transformers' figures and how many times ours is as fast."""
    figures = {f"transformers, {name}": figure for name, figure in theirs.items()}
    ratios = {name: theirs[name].median / ours[name].median for name in theirs if name != "throughput"}
    return figures | {f"{name}, times faster": Figure("x", (ratio,)) for name, ratio in ratios.items()}


def _process_figures(args: argparse.Namespace) -> Figures:
    """Measure the demo, and where the IR lies in Open Model Zoo's folders the converter, as whole processes."""
    demo = [_command("gpt2_text_prediction_demo"), "-m", str(args.model), "-d", args.device, "--seed", "0"]
    demo += ["-i", "The poem was written by", "--max_sample_token_num", str(DEMO_TOKENS)]
    figures = _repeated(f"demo, {DEMO_TOKENS} tokens, whole process", demo, args)
    name, root = args.model.stem, args.model.resolve().parents[3:4]
    if not root or args.model.resolve().parts[-4:-2] != ("public", name):
        _say(f"omz_converter is not measured: {args.model} lies not in public/{name}/FP16")
        return figures
    with tempfile.TemporaryDirectory(dir=root[0]) as out:
        convert = [_command("omz_converter"), "--name", name, "--precisions", "FP16"]
        convert += ["-d", str(root[0]), "-o", out]
        return figures | _repeated("omz_converter FP16, whole process", convert, args)


def _command(name: str) -> str:
    """Return the path of a command of ours, as it is installed with this module."""
    return str(Path(sysconfig.get_path("scripts")) / name)


def _repeated(name: str, command: list[str], args: argparse.Namespace) -> Figures:
    runs = [run_process(command) for _ in range(args.num_warmup + args.num_iter)][args.num_warmup :]
    figures = {name: Figure("s", tuple(run.seconds for run in runs))}
    peaks = tuple(run.peak_mb for run in runs if run.peak_mb is not None)
    return figures | ({f"{name}, peak memory": Figure("MB", peaks)} if peaks else {})


def _checkpoint(args: argparse.Namespace) -> Path:
    folder: Path = args.checkpoint or args.model.parent.parent / "gpt2"
    if not (folder / "model.safetensors").is_file():
        raise Problem(f"{folder}: expected model.safetensors, what the IR was made of: give the folder as --checkpoint")
    return folder


def _versions() -> dict[str, str]:
    names = ("omz-gpt2", "openvino", "tokenizers", "numpy", "transformers", "torch")
    versions = {name: importlib.metadata.version(name) for name in names if _installed(name)}
    return versions | {"python": platform.python_version()}


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return platform.processor()
    lines = cpuinfo.read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
