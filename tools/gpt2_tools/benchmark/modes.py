"""What gpt2_benchmark measures, a function a mode: from its arguments to a printed table and a line of JSON."""

import argparse
import importlib.metadata
from dataclasses import asdict, replace
from importlib.util import find_spec
from itertools import product
from pathlib import Path

from gpt2_recipe import read_config
from gpt2_text_prediction import TextGenerator
from gpt2_text_prediction.engine import DeviceConfig, Engine, check_files, is_short, model_path, user_cache
from gpt2_tools.benchmark.engine.arithmetic import arithmetic_figures
from gpt2_tools.benchmark.engine.engine import EngineBenchmark
from gpt2_tools.benchmark.engine.layer_profile import PERF_COUNT, profile_figures
from gpt2_tools.benchmark.engine.scaling import batch_curve, check_room, length_curve, thread_curve
from gpt2_tools.benchmark.engine.streams import BASE_NUM_SEQS, check_streams, measure_streams, stream_figures
from gpt2_tools.benchmark.engine.workload import Lengths, engine_figures, length_rows
from gpt2_tools.benchmark.figures import CHECKSUM, Repeats
from gpt2_tools.benchmark.peers.benchmark import TableSettings, measure_speed
from gpt2_tools.benchmark.peers.peers import RunSettings, Weights
from gpt2_tools.benchmark.plot import check_plot, draw
from gpt2_tools.benchmark.processes.commands import installed_command, process_figures
from gpt2_tools.benchmark.processes.download import measure_download
from gpt2_tools.benchmark.random_checkpoint import make_checkpoint
from gpt2_tools.benchmark.report import LINES, print_figures, test_conditions
from gpt2_tools.common.problem import Problem
from gpt2_tools.common.runtime import processor, settings_of
from omz_model_tools.common import Report, say

PEER_THREADS = 2
PEER_TIMEOUT = 600.0
"""Timeout in seconds of a peer's loading, and of each of its generations."""


def run(mode: str, args: argparse.Namespace, report: Report) -> int:
    """Measure and print; return the exit code. mode: one of MODES."""
    if args.model is not None:
        args.model = model_path(args.model)
    MODES[mode](args, report)
    return 0


def _make_checkpoint(args: argparse.Namespace, report: Report) -> None:
    make_checkpoint(args.make_checkpoint, args.size)
    say(f"{args.make_checkpoint}: a {args.size} with random weights")


def _benchmark(args: argparse.Namespace, report: Report) -> None:
    lengths, repeats, config = _lengths(args)[0], _repeats(args), _config_of_demo(args)
    checkpoint = _checkpoint(args) if args.with_transformers else None
    bench = _load(args, config)
    found, checksums = engine_figures(bench, args.device, lengths, repeats, checkpoint, say)
    figures = {"load": bench.load} | found
    if not args.engine_only:
        say("whole processes ...")
        figures |= process_figures(args.model, config, repeats, say)
    workload = _workload(args) | _lengths_as_json(lengths) | _settings(bench.engine) | {CHECKSUM: checksums}
    print_figures(report, workload, repeats, figures)


def _benchmark_lengths(args: argparse.Namespace, report: Report) -> None:
    repeats, bench = _repeats(args), _load(args, _config_of_demo(args))
    rows = length_rows(bench, args.device, _lengths(args), repeats, say)
    conditions = test_conditions(_workload(args) | _settings(bench.engine), repeats)
    for line in LINES[args.output](conditions, {"load": bench.load} | bench.memory(), rows):
        report.line(line)


def _profile(args: argparse.Namespace, report: Report) -> None:
    (lengths,), repeats, config = _lengths(args), _repeats(args), _config_of_demo(args)
    bench = _load(args, config)
    lengths.check(bench.engine.n_positions)
    settings = _settings(bench.engine)
    del bench  # one engine at a time
    say("generating ...")
    prompt_tokens, new_tokens = lengths.prompt_tokens, lengths.new_tokens
    figures = profile_figures(
        lambda: _load(args, replace(config, properties=PERF_COUNT)), prompt_tokens, new_tokens, repeats
    )
    workload = _workload(args) | _lengths_as_json(lengths) | settings
    print_figures(report, workload, repeats, figures)


def _measure_arithmetic(args: argparse.Namespace, report: Report) -> None:
    repeats, config = _repeats(args), DeviceConfig(num_threads=args.num_threads)
    figures, settings = arithmetic_figures(args.model, config, repeats, say)
    print_figures(report, {"model": str(args.model)} | settings, repeats, figures)


def _measure_streams(args: argparse.Namespace, report: Report) -> None:
    (lengths,), repeats, count = _lengths(args), _repeats(args), args.streams
    max_num_seqs = args.max_num_seqs or count
    with _load_generator(args, max_num_seqs) as generator:
        check_streams(count, lengths, generator.engine.n_positions)
        workload = _workload(args) | {"streams": count, "max_num_seqs": max_num_seqs} | _lengths_as_json(lengths)
        workload |= _settings(generator.engine)
        with _load_generator(args, BASE_NUM_SEQS) as base:
            say("generating ...")
            rounds = measure_streams(generator, base, count, lengths, repeats)
    print_figures(report, workload, repeats, stream_figures(rounds, lengths.prompt_tokens))


def _plot_scaling(args: argparse.Namespace, report: Report) -> None:
    check_plot(args.plot)
    (prompt_tokens,), repeats, config = args.prompt_tokens, _repeats(args), _config(args)
    bench = _load(args, config)
    check_room(prompt_tokens, bench.engine.n_positions)
    settings = _settings(bench.engine)
    say("lengths ...")
    curves = [length_curve(bench, repeats)]
    say("rows ...")
    curves.append(batch_curve(bench, prompt_tokens, repeats))
    del bench  # one engine at a time
    if args.device.startswith("CPU"):
        say("threads ...")
        curves.append(
            thread_curve(lambda threads: _load(args, replace(config, num_threads=threads)), prompt_tokens, repeats)
        )
    figures = {name: figure for curve in curves for name, figure in curve.figures().items()}
    workload = _workload(args) | {"prompt_tokens": prompt_tokens} | settings | {"plot": str(args.plot)}
    print_figures(report, workload, repeats, figures)
    draw([[curve] for curve in curves], _title(args, settings), args.plot)


def _measure_growth(args: argparse.Namespace, report: Report) -> None:
    from gpt2_tools.benchmark.growth import Sizes, growth_tables  # noqa: PLC0415

    if args.plot is not None:
        check_plot(args.plot)
    repeats, config = Repeats(0, args.num_iter), _config(args)
    settings = _settings(_load(args, config).engine)
    tables = growth_tables(args.model, config, Sizes(args.growth), repeats, say)
    figures = {name: figure for table in tables for name, figure in table.figures().items()}
    workload = _workload(args) | {"growth": args.growth} | settings
    print_figures(report, workload, repeats, figures)
    if args.plot is not None:
        draw([panel for table in tables for panel in table.panels], _title(args, settings), args.plot)


def _title(args: argparse.Namespace, settings: dict[str, object]) -> str:
    precisions = f"inference in {settings['inference_precision']}, cache in {settings['kv_cache_precision']}"
    machine = f"{processor() or args.device}, {settings['threads']} threads"
    openvino = importlib.metadata.version("openvino")
    return f"{args.model.parent.name}/{args.model.name}, {precisions}, OpenVINO {openvino}\n{machine}"


def _benchmark_peers(args: argparse.Namespace, report: Report) -> None:
    for peer in args.peers:
        if peer.exported and find_spec("openvino_tokenizers") is None:  # before minutes of others' runs
            raise Problem(f"--peers {peer.name}: openvino-tokenizers is not installed: pip install 'omz-gpt2[genai]'")
    weights = Weights(irs=_irs(args), checkpoint=_checkpoint(args))
    (lengths,) = _lengths(args)
    lengths.check(read_config(weights.checkpoint / "config.json").n_positions)
    if "INT8" not in weights.irs:
        say(f"INT8 is not measured: {_int8_beside(args.model)} does not exist: omz_quantizer makes it")
    threads = args.num_threads or PEER_THREADS
    engine = replace(_config(args), num_threads=threads)
    settings = TableSettings(weights, engine, lengths.prompt_tokens, lengths.new_tokens, args.num_iter, args.num_warmup)
    cache = _peer_cache(args.peer_cache).absolute()
    table = measure_speed(settings, args.peers, cache, RunSettings(threads, PEER_TIMEOUT, say))
    workload = {
        **_workload(args),
        "precision_hint": args.precision_hint,
        **_lengths_as_json(lengths),
        "threads": threads,
        "peers": table.versions,
        "not_run": table.not_run,
        CHECKSUM: table.tokens_sha256,
    }
    print_figures(report, workload, _repeats(args), table.figures, table.not_run)


def _peer_cache(given: Path | None) -> Path:
    if given is not None:
        return given
    cache = user_cache()
    if cache is None:
        raise Problem("--peer_cache: expected a folder, as this user has no home folder with a cache")
    return cache / "peers"


def _irs(args: argparse.Namespace) -> dict[str, Path]:
    """Return our IRs by precision."""
    if args.model.suffix != ".xml":
        raise Problem(f"{args.model}: expected an .xml of omz_converter with --peers or --classify")
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
    say("downloading ...")
    figures = measure_download(args.download, args.num_warmup, args.num_iter, installed_command("omz_downloader"))
    print_figures(report, {"download_mb": args.download}, _repeats(args), figures)


def _benchmark_classify(args: argparse.Namespace, report: Report) -> None:
    from gpt2_tools.benchmark.classify import classify_figures, read_texts  # noqa: PLC0415

    repeats, texts = _repeats(args), read_texts(args.classify)
    options = {"device": args.device, "precision_hint": args.precision_hint, "num_threads": args.num_threads}
    figures, arithmetic = classify_figures(_irs(args), _checkpoint(args), texts, options, repeats, say)
    workload = _workload(args) | {"texts": len(texts), "arithmetic": arithmetic, "threads": args.num_threads}
    print_figures(report, workload, repeats, figures)


def _benchmark_finetune(args: argparse.Namespace, report: Report) -> None:
    from gpt2_tools.benchmark.finetune import Workload, finetune_figures, provide_simple  # noqa: PLC0415
    from gpt2_tools.finetune.run import cpu_has_bf16, require_libraries  # noqa: PLC0415

    require_libraries()
    repeats, work = _repeats(args), Workload(threads=args.num_threads)
    simple = provide_simple(_peer_cache(None), say) if args.with_gpt_2_simple else None
    figures = finetune_figures(work, repeats, say, simple)
    print_figures(report, {**asdict(work), "precision": "bf16" if cpu_has_bf16() else "f32"}, repeats, figures)


def _load(args: argparse.Namespace, config: DeviceConfig) -> EngineBenchmark:
    say("loading ...")
    return EngineBenchmark(args.model, config)


def _load_generator(args: argparse.Namespace, max_num_seqs: int) -> TextGenerator:
    """Load the generator of many streams, without drafts: each token is a step."""
    say("loading ...")
    return TextGenerator(
        args.model,
        device=args.device,
        precision_hint=args.precision_hint,
        num_threads=args.num_threads,
        prompt_lookup=False,
        max_num_seqs=max_num_seqs,
    )


def _config(args: argparse.Namespace) -> DeviceConfig:
    return DeviceConfig(args.device, args.precision_hint, args.num_threads)


def _config_of_demo(args: argparse.Namespace) -> DeviceConfig:
    """Return the device as the demo has it for one text of these lengths; a long prompt among them decides for all."""
    all_short = all(is_short(lengths.prompt_tokens, lengths.new_tokens) for lengths in _lengths(args))
    return replace(_config(args), single_row=all_short)


def _lengths(args: argparse.Namespace) -> list[Lengths]:
    return [Lengths(prompt, new) for prompt, new in product(args.prompt_tokens, args.max_new_tokens)]


def _lengths_as_json(lengths: Lengths) -> dict[str, object]:
    return {"prompt_tokens": lengths.prompt_tokens, "max_new_tokens": lengths.new_tokens}


def _repeats(args: argparse.Namespace) -> Repeats:
    return Repeats(args.num_warmup, args.num_iter)


def _workload(args: argparse.Namespace) -> dict[str, object]:
    return {"model": str(args.model), "device": args.device}


def _settings(engine: Engine) -> dict[str, object]:
    return {**settings_of(engine.compiled), "back_end": engine.back_end.name}


def _checkpoint(args: argparse.Namespace) -> Path:
    folder: Path = args.checkpoint or args.model.parent.parent / "gpt2"
    if not (folder / "model.safetensors").is_file():
        raise Problem(
            f"{folder}: expected the model.safetensors that the IR was converted from: give its folder as --checkpoint"
        )
    return folder


MODES = {
    "arithmetic": _measure_arithmetic,
    "classify": _benchmark_classify,
    "make_checkpoint": _make_checkpoint,
    "download": _benchmark_download,
    "finetune": _benchmark_finetune,
    "growth": _measure_growth,
    "peers": _benchmark_peers,
    "output": _benchmark_lengths,
    "plot": _plot_scaling,
    "profile": _profile,
    "streams": _measure_streams,
    "with_transformers": _benchmark,
    "model": _benchmark,
}
"""What each mode runs."""
"""By the name of the mode in arguments.FLAGS."""
