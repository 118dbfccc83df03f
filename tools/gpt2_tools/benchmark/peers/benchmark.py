"""The whole speed table: the demo's engine beside its peers, then its features alone."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import openvino as ov

from gpt2_recipe import read_config
from gpt2_text_prediction import TextGenerator
from gpt2_text_prediction.engine import DeviceConfig, has_bf16, read_spec
from gpt2_tools.benchmark.engine.features import Script, appended_figures, lookup_figures, python_figures
from gpt2_tools.benchmark.engine.memory_bandwidth import MemoryReader
from gpt2_tools.benchmark.engine.repetitive_texts import LONGEST, TEXTS
from gpt2_tools.benchmark.engine.roofline import decode_bound
from gpt2_tools.benchmark.figures import Figure
from gpt2_tools.benchmark.peers.peers import (
    Peer,
    RunSettings,
    Weights,
    provide_runner,
    start_ours,
    start_peer,
)
from gpt2_tools.benchmark.peers.table import (
    EngineRun,
    TableEngine,
    Workload,
    checksums,
    first_tokens,
    in_turns,
    labelled,
    ratios,
    same_tokens,
    speed,
    speeds,
    token_times,
)
from gpt2_tools.benchmark.processes.process import memory_of
from gpt2_tools.common.json_process import JsonProcess, PeerFailed
from gpt2_tools.common.problem import Problem

ROWS = (8, 32)
PREFILL = 1000


@dataclass(frozen=True)
class TableSettings:
    """The models, our engine, the lengths and the repetitions of the table."""

    weights: Weights
    engine: DeviceConfig
    prompt_tokens: int
    new_tokens: int
    runs: int
    warmup: int


@dataclass
class SpeedTable:
    """Figures by name, and the reason of each engine or workload that did not run.

    ours: the names of our engines, by the precision of their weights.
    """

    ours: dict[str, str] = field(default_factory=dict)
    figures: dict[str, Figure] = field(default_factory=dict)
    not_run: dict[str, str] = field(default_factory=dict)
    versions: dict[str, dict[str, str]] = field(default_factory=dict)
    tokens_sha256: dict[str, str] = field(default_factory=dict)  # of the workload "decode"

    def leave_out(self, name: str, reason: Exception, say: Callable[[str], None]) -> None:
        """Record why a peer is not measured."""
        self.not_run[name] = str(reason)
        say(f"{name}: not run: {reason}")


@dataclass(frozen=True)
class StartedEngine:
    """An engine with its process."""

    engine: TableEngine
    process: JsonProcess


def measure_speed(settings: TableSettings, peers: Sequence[Peer], cache: Path, run: RunSettings) -> SpeedTable:
    """Return the table. Raises Problem if our own engine does not run."""
    table = SpeedTable()
    with ExitStack() as stack:
        started = [*_ours(settings, run, stack, table), *_theirs(settings, peers, cache, run, stack, table)]
        _side_by_side(settings, started, run, table)
    _alone(settings, run, table)
    return table


def _ours(settings: TableSettings, run: RunSettings, stack: ExitStack, table: SpeedTable) -> Iterator[StartedEngine]:
    for precision, ir in settings.weights.irs.items():
        run.say(f"ours {precision}: loading ...")
        try:
            process = stack.enter_context(start_ours(ir, settings.engine, run))
        except PeerFailed as reason:
            raise Problem(f"{ir}: {reason}") from None
        name = table.ours[precision] = labelled(f"ours {precision}", process.first.get("arithmetic"))
        yield StartedEngine(TableEngine(name, process.ask), process)


def _theirs(
    settings: TableSettings, peers: Sequence[Peer], cache: Path, run: RunSettings, stack: ExitStack, table: SpeedTable
) -> Iterator[StartedEngine]:
    for peer in peers:
        name = peer.name
        try:
            runner = provide_runner(peer, cache, run)
        except PeerFailed as reason:
            table.leave_out(name, reason, run.say)
            continue
        for variant, precision in peer.variants.items():
            name = f"{peer.name} {variant}"
            try:
                if precision not in table.ours:
                    raise PeerFailed(f"no {precision} IR of ours to compare it with")
                if variant in peer.emulated and not has_bf16(ov.Core()):
                    raise PeerFailed("this CPU has no instructions for bf16 and would emulate them")
                process = stack.enter_context(start_peer(peer, variant, settings.weights, cache, runner, run))
            except PeerFailed as reason:
                table.leave_out(name, reason, run.say)
                continue
            table.versions[peer.name] = process.first.get("versions", {})
            name = labelled(name, process.first.get("arithmetic"))
            yield StartedEngine(TableEngine(name, process.ask, table.ours[precision]), process)


def _side_by_side(
    settings: TableSettings, started: Sequence[StartedEngine], run: RunSettings, table: SpeedTable
) -> None:
    engines = [entry.engine for entry in started]
    rng = random.Random(0)
    config = read_config(settings.weights.checkpoint / "config.json")
    reader = MemoryReader(run.threads)
    bandwidth: list[float] = []

    def measure(workload: Workload, before: Callable[[], object] = lambda: None) -> dict[str, list[EngineRun]]:
        run.say(f"{workload.name} ...")
        alive = [engine for engine in engines if engine.name not in table.not_run]
        repetitions = _repetitions(workload, settings.warmup + settings.runs, config.vocab_size, rng, before)
        runs = in_turns(alive, workload, repetitions, settings.warmup, table.not_run)
        table.figures |= speeds(workload, runs) | ratios(workload, engines, runs)
        return runs

    decode = Workload("decode", 1, settings.prompt_tokens, settings.new_tokens)
    decoded = measure(decode, lambda: bandwidth.append(reader.gigabytes_a_second()))
    reader.close()
    table.figures |= token_times(decode, decoded) | first_tokens(decode, decoded) | same_tokens(engines, decoded)
    table.tokens_sha256 |= checksums(decoded)
    irs = {table.ours[precision]: ir for precision, ir in settings.weights.irs.items()}
    table.figures |= bound_figures(irs, decode, decoded, bandwidth[settings.warmup :])
    table.figures |= _memory(started, table.not_run)
    prefill = min(PREFILL, config.n_positions - 1)
    measure(Workload(f"prefill of {prefill}", 1, prefill, 1))
    for rows in ROWS:
        batch = Workload(f"{rows} prompts at once", rows, settings.prompt_tokens, settings.new_tokens)
        table.figures |= batch_figures(batch, measure(batch), decoded)


def _repetitions(
    workload: Workload, count: int, vocab_size: int, rng: random.Random, before: Callable[[], object]
) -> Iterator[list[list[int]]]:
    """Yield random prompts, which are in no engine's prefix cache."""
    for _ in range(count):
        before()
        yield [[rng.randrange(vocab_size) for _ in range(workload.prompt_tokens)] for _ in range(workload.prompts)]


def bound_figures(
    irs: Mapping[str, Path], workload: Workload, runs: Mapping[str, list[EngineRun]], bandwidth: Sequence[float]
) -> dict[str, Figure]:
    """Return the memory bandwidth, the decoding speed it allows each of our engines, and the share of that reached.

    irs: by the engine's name.
    """
    figures = {"memory read": Figure("GB/s", tuple(bandwidth))}
    for engine, ir in irs.items():
        kept = runs.get(engine, [])
        if kept:
            speeds = [speed(workload, run) for run in kept]
            bound = decode_bound(bandwidth, ir, speeds)
            figures |= {f"{name}, {engine}": figure for name, figure in bound.items()}
    return figures


def batch_figures(
    batch: Workload, together: Mapping[str, list[EngineRun]], alone: Mapping[str, list[EngineRun]]
) -> dict[str, Figure]:
    """Return the tokens/s of the whole batch divided by those of one prompt, of whole generations."""
    figures = {}
    for name, kept in together.items():
        single = [batch.new_tokens / seconds for seconds, _, _ in alone.get(name, [])]
        if kept and single:
            pairs = zip(kept, single, strict=True)
            figures[f"{batch.name} / one, {name}"] = Figure("x", tuple(speed(batch, run) / one for run, one in pairs))
    return figures


def _memory(started: Sequence[StartedEngine], not_run: Mapping[str, str]) -> dict[str, Figure]:
    return {
        f"{kind} memory, {entry.engine.name}": Figure("MB", (megabytes,))
        for entry in started
        if entry.engine.name not in not_run
        for kind, megabytes in memory_of(entry.process.pid).items()
    }


def _alone(settings: TableSettings, run: RunSettings, table: SpeedTable) -> None:
    rng = random.Random(1)
    for precision, ir in settings.weights.irs.items():
        with _generator(settings.engine, ir) as generator:
            run.say(f"{table.ours[precision]}: Python's share, prompt lookup, a longer prompt ...")
            share = python_figures(generator, settings.prompt_tokens, settings.new_tokens, settings.runs, rng)
            length = min(PREFILL, generator.engine.n_positions)
            found = share | appended_figures(generator.engine, length, settings.runs, rng)
            found |= lookup_figures(generator.engine, _scripts(generator), settings.runs)
            table.figures |= {f"{name}, {table.ours[precision]}": figure for name, figure in found.items()}


def _scripts(generator: TextGenerator) -> dict[str, Script]:
    longest = min(LONGEST, generator.engine.n_positions)
    scripts = {}
    for name, (prompt, text) in TEXTS.items():
        tokens = [generator.tokenizer.encode(part) for part in (prompt, text)]
        if len(tokens[0]) + 2 <= longest:
            scripts[name] = Script([*tokens[0], *tokens[1]][:longest], len(tokens[0]))
    return scripts


@contextmanager
def _generator(engine: DeviceConfig, ir: Path) -> Iterator[TextGenerator]:
    with TextGenerator.of(read_spec(ir, engine)) as generator:
        yield generator
