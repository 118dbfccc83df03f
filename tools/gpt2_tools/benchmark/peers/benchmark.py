"""The whole speed table: the demo's engine beside its peers, and what it is measured at alone."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from gpt2_recipe import read_config
from gpt2_text_prediction import TextGenerator
from gpt2_text_prediction.engine import default_config
from gpt2_tools.benchmark.engine.features import Script, appended_figures, lookup_figures, python_figures
from gpt2_tools.benchmark.engine.memory_bandwidth import MemoryReader
from gpt2_tools.benchmark.engine.repetitive_texts import LONGEST, TEXTS
from gpt2_tools.benchmark.engine.roofline import decode_bound
from gpt2_tools.benchmark.figures import Figure
from gpt2_tools.benchmark.peers.peers import Peer, Running, Weights, provide_runner, start_ours, start_peer
from gpt2_tools.benchmark.peers.table import (
    Contestant,
    Run,
    Workload,
    checksums,
    first_tokens,
    in_turns,
    ratios,
    same_tokens,
    speed,
    speeds,
)
from gpt2_tools.benchmark.processes.process import memory_of
from gpt2_tools.common.json_process import JsonProcess, PeerFailed
from gpt2_tools.common.problem import Problem

ROWS = 8
PREFILL = 1000


@dataclass(frozen=True)
class Plan:
    """What is measured on, how long and how often."""

    weights: Weights
    device: str
    prompt_tokens: int
    new_tokens: int
    runs: int
    warmup: int


@dataclass
class Table:
    """What has come of it: figures by name, and in one line why others are not there."""

    figures: dict[str, Figure] = field(default_factory=dict)
    not_run: dict[str, str] = field(default_factory=dict)
    versions: dict[str, dict[str, str]] = field(default_factory=dict)
    tokens_sha256: dict[str, str] = field(default_factory=dict)  # of all that was decoded

    def leave_out(self, name: str, reason: Exception, say: Callable[[str], None]) -> None:
        """Note why a peer is not measured."""
        self.not_run[name] = str(reason)
        say(f"{name}: not run: {reason}")


@dataclass(frozen=True)
class Started:
    """A contestant with its process."""

    contestant: Contestant
    process: JsonProcess


def measure_speed(plan: Plan, peers: Sequence[Peer], cache: Path, run: Running) -> Table:
    """Return the table. Raises Problem where our own engine does not run."""
    table = Table()
    with ExitStack() as stack:
        started = [*_ours(plan, run, stack), *_theirs(plan, peers, cache, run, stack, table)]
        _side_by_side(plan, started, run, table)
    _alone(plan, run, table)
    return table


def _ours(plan: Plan, run: Running, stack: ExitStack) -> Iterator[Started]:
    for precision, ir in plan.weights.irs.items():
        run.say(f"ours {precision}: loading ...")
        try:
            process = stack.enter_context(start_ours(ir, plan.device, run))
        except PeerFailed as reason:
            raise Problem(f"{ir}: {reason}") from None
        yield Started(Contestant(ours(precision), process.ask), process)


def _theirs(
    plan: Plan, peers: Sequence[Peer], cache: Path, run: Running, stack: ExitStack, table: Table
) -> Iterator[Started]:
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
                if precision not in plan.weights.irs:
                    raise PeerFailed(f"there is no {precision} IR of ours to compare it with")
                process = stack.enter_context(start_peer(peer, variant, plan.weights, cache, runner, run))
            except PeerFailed as reason:
                table.leave_out(name, reason, run.say)
                continue
            table.versions[peer.name] = process.first.get("versions", {})
            yield Started(Contestant(name, process.ask, ours(precision)), process)


def ours(precision: str) -> str:
    """Return what our engine is called on an IR of a precision."""
    return f"ours {precision}"


def _side_by_side(plan: Plan, started: Sequence[Started], run: Running, table: Table) -> None:
    contestants = [one.contestant for one in started]
    rng = random.Random(0)
    config = read_config(plan.weights.checkpoint / "config.json")
    reader = MemoryReader(run.threads)
    bandwidth: list[float] = []

    def turns(workload: Workload, before: Callable[[], object] = lambda: None) -> dict[str, list[Run]]:
        run.say(f"{workload.name} ...")
        alive = [one for one in contestants if one.name not in table.not_run]
        rounds = _rounds(workload, plan.warmup + plan.runs, config.vocab_size, rng, before)
        runs = in_turns(alive, workload, rounds, plan.warmup, table.not_run)
        table.figures |= speeds(workload, runs) | ratios(workload, contestants, runs)
        return runs

    decode = Workload("decode", 1, plan.prompt_tokens, plan.new_tokens)
    decoded = turns(decode, lambda: bandwidth.append(reader.gigabytes_a_second()))
    reader.close()
    table.figures |= first_tokens(decode, decoded) | same_tokens(contestants, decoded)
    table.tokens_sha256 |= checksums(decoded)
    table.figures |= bound_figures(plan.weights.irs, decode, decoded, bandwidth[plan.warmup :])
    table.figures |= _memory(started, table.not_run)
    prefill = min(PREFILL, config.n_positions - 1)
    turns(Workload(f"prefill of {prefill}", 1, prefill, 1))
    batch = Workload(f"{ROWS} prompts at once", ROWS, plan.prompt_tokens, plan.new_tokens)
    table.figures |= batch_figures(batch, turns(batch), decoded)


def _rounds(
    workload: Workload, count: int, vocab_size: int, rng: random.Random, before: Callable[[], object]
) -> Iterator[list[list[int]]]:
    """Yield prompts that nobody has seen, and whose beginnings no cache holds."""
    for _ in range(count):
        before()
        yield [[rng.randrange(vocab_size) for _ in range(workload.prompt_tokens)] for _ in range(workload.prompts)]


def bound_figures(
    irs: Mapping[str, Path], workload: Workload, runs: Mapping[str, list[Run]], bandwidth: Sequence[float]
) -> dict[str, Figure]:
    """Return how fast memory is read, how fast that lets each of ours decode, and what share of it is reached."""
    figures = {"memory read": Figure("GB/s", tuple(bandwidth))}
    for precision, ir in irs.items():
        kept = runs.get(ours(precision), [])
        if kept:
            speeds = [speed(workload, one) for one in kept]
            figures |= {f"{name}, {ours(precision)}": one for name, one in decode_bound(bandwidth, ir, speeds).items()}
    return figures


def batch_figures(
    batch: Workload, together: Mapping[str, list[Run]], alone: Mapping[str, list[Run]]
) -> dict[str, Figure]:
    """Return how many times the tokens/s of one prompt all together make, in whole generations."""
    figures = {}
    for name, kept in together.items():
        ones = [batch.new_tokens / seconds for seconds, _, _ in alone.get(name, [])]
        if kept and ones:
            pairs = zip(kept, ones, strict=True)
            figures[f"{batch.name} / one, {name}"] = Figure("x", tuple(speed(batch, run) / one for run, one in pairs))
    return figures


def _memory(started: Sequence[Started], not_run: Mapping[str, str]) -> dict[str, Figure]:
    return {
        f"{kind} memory, {one.contestant.name}": Figure("MB", (megabytes,))
        for one in started
        if one.contestant.name not in not_run
        for kind, megabytes in memory_of(one.process.pid).items()
    }


def _alone(plan: Plan, run: Running, table: Table) -> None:
    rng = random.Random(1)
    for precision, ir in plan.weights.irs.items():
        with _generator(plan, ir, run.threads) as generator:
            run.say(f"{ours(precision)}: Python's share, drafts, a longer prompt ...")
            share = python_figures(generator, plan.prompt_tokens, plan.new_tokens, plan.runs, rng)
            length = min(PREFILL, generator.engine.n_positions)
            found = share | appended_figures(generator.engine, length, plan.runs, rng)
            found |= lookup_figures(generator.engine, _scripts(generator), plan.runs)
            table.figures |= {f"{name}, {ours(precision)}": figure for name, figure in found.items()}


def _scripts(generator: TextGenerator) -> dict[str, Script]:
    longest = min(LONGEST, generator.engine.n_positions)
    scripts = {}
    for name, (prompt, text) in TEXTS.items():
        tokens = [generator.tokenizer.encode(part) for part in (prompt, text)]
        if len(tokens[0]) + 2 <= longest:
            scripts[name] = Script([*tokens[0], *tokens[1]][:longest], len(tokens[0]))
    return scripts


@contextmanager
def _generator(plan: Plan, ir: Path, threads: int) -> Iterator[TextGenerator]:
    with TextGenerator(ir, device=plan.device, config=default_config(plan.device, None, threads)) as generator:
        yield generator
