"""One model on the demo's engine: a single workload with all that surrounds it, or a row for each of several lengths.

What is printed and in which form is not known here.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from gpt2_text_prediction.generator import configuration
from gpt2_tools.benchmark.engine.engine import EngineBenchmark
from gpt2_tools.benchmark.engine.roofline import bandwidth_meter
from gpt2_tools.benchmark.engine.tokenizer import load_tokenizer
from gpt2_tools.benchmark.engine.with_transformers import times_faster, transformers_process
from gpt2_tools.benchmark.engine.workload import LengthRow, Lengths, measure_lengths, take_turn, turn_figures, written
from gpt2_tools.benchmark.figures import Figure, Repeats

Figures = dict[str, Figure]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Setup:
    """The model that is measured, and how it is run."""

    model: Path
    device: str
    precision_hint: str | None
    num_threads: int | None

    def load(self, properties: Mapping[str, str] = MappingProxyType({})) -> EngineBenchmark:
        """Load it, with further properties of the device."""
        config = configuration(self.device, self.precision_hint, self.num_threads)
        return EngineBenchmark(self.model, self.device, config | dict(properties))

    def load_on(self, threads: int) -> EngineBenchmark:
        """Load it for so many threads."""
        return replace(self, num_threads=threads).load()


def engine_figures(
    bench: EngineBenchmark, device: str, lengths: Lengths, repeats: Repeats, checkpoint: Path | None, say: Say
) -> tuple[Figures, list[str]]:
    """Return the figures of one workload, beside transformers where there is its checkpoint, and its checksums."""
    lengths.check(bench.engine.n_positions)
    tokenizer = load_tokenizer(bench.engine.path, say)
    threads = bench.settings()["threads"] or "1"
    say("generating ...")
    with ExitStack() as stack:
        peer = stack.enter_context(transformers_process(checkpoint, threads)) if checkpoint else None
        meter = stack.enter_context(bandwidth_meter(device, int(threads), say))
        rounds = repeats.of(
            lambda: (
                take_turn(bench, lengths, meter, tokenizer),
                peer(lengths.prompt_tokens, lengths.new_tokens) if peer else [],
            )
        )
    turns = [ours for ours, _ in rounds]
    figures = bench.generation([turn.generated.times for turn in turns], lengths.prompt_tokens)
    around = turn_figures(bench, turns, figures["throughput"])
    if peer:
        figures |= times_faster(figures, bench.generation([theirs for _, theirs in rounds], lengths.prompt_tokens))
    say("sampling, growth ...")
    return {**figures, **around, **_alone(bench, figures["time per token"])}, written(turns)


def _alone(bench: EngineBenchmark, per_token: Figure) -> Figures:
    figures = bench.sampling()
    draw = max(figures[f"sampling, {kind} logits"].median for kind in ("flat", "peaked"))
    figures["sampling, share of a token"] = Figure("%", (100 * draw / per_token.median,))
    return figures | bench.growth() | bench.memory()


def length_rows(
    bench: EngineBenchmark, device: str, workloads: Sequence[Lengths], repeats: Repeats, say: Say
) -> list[LengthRow]:
    """Return a row for each of several lengths."""
    for lengths in workloads:
        lengths.check(bench.engine.n_positions)
    tokenizer = load_tokenizer(bench.engine.path, say)
    say("generating ...")
    with bandwidth_meter(device, int(bench.settings()["threads"] or "1"), say) as meter:
        return measure_lengths(bench, workloads, repeats, meter, tokenizer)
