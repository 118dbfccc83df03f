"""The workloads of gpt2_benchmark on the demo's engine: one with all its figures, or a row for each length."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from gpt2_text_prediction.text import GPT2Tokenizer
from gpt2_tools.benchmark.engine.engine import EngineBenchmark, Generated
from gpt2_tools.benchmark.engine.roofline import bandwidth_meter, bound_figures
from gpt2_tools.benchmark.engine.tokenizer import TextTimes, text_figures, text_times, tokenizer_beside
from gpt2_tools.benchmark.engine.with_transformers import times_faster, token_times
from gpt2_tools.benchmark.figures import Figure, Repeats, checksum
from gpt2_tools.common.problem import Problem
from gpt2_tools.common.transformers_process import transformers_process

Figures = dict[str, Figure]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Lengths:
    """The tokens of a prompt and the new tokens after it."""

    prompt_tokens: int
    new_tokens: int

    @property
    def name(self) -> str:
        """The name in the format of llama-bench."""
        return f"pp{self.prompt_tokens}+tg{self.new_tokens}"

    def check(self, n_positions: int) -> None:
        """Raise Problem if it does not fit the positions, or generates too few tokens for a time per token."""
        if self.new_tokens < 2:
            raise Problem(f"-M: expected at least 2 new tokens, got {self.new_tokens}")
        total = self.prompt_tokens + self.new_tokens
        if total > n_positions:
            raise Problem(f"-p and -M: expected at most {n_positions} tokens together, got {total}")


@dataclass(frozen=True)
class Turn:
    """One generation, the time of its tokenizer, and the memory bandwidth just before it in GB/s."""

    generated: Generated
    texts: TextTimes | None
    bandwidth: float | None


@dataclass(frozen=True)
class LengthRow:
    """The figures at one length; tokens_sha256: of each generated text, one if all runs generated the same."""

    lengths: Lengths
    figures: dict[str, Figure]
    tokens_sha256: list[str]


def engine_figures(
    bench: EngineBenchmark, device: str, lengths: Lengths, repeats: Repeats, checkpoint: Path | None, say: Say
) -> tuple[Figures, list[str]]:
    """Return the figures of one workload, with a checkpoint also those of transformers, and its checksums."""
    lengths.check(bench.engine.n_positions)
    tokenizer = tokenizer_beside(bench.engine.path, say)
    threads = bench.settings()["threads"] or "1"
    say("generating ...")
    with ExitStack() as stack:
        peer = stack.enter_context(transformers_process(checkpoint, threads)) if checkpoint else None
        meter = stack.enter_context(bandwidth_meter(device, int(threads), say))
        prompt = bench.prompt(lengths.prompt_tokens)
        rounds = repeats.of(
            lambda: (
                take_turn(bench, lengths, meter, tokenizer),
                token_times(peer, prompt, lengths.new_tokens) if peer else [],
            )
        )
    turns = [ours for ours, _ in rounds]
    figures = bench.generation([turn.generated.times for turn in turns], lengths.prompt_tokens)
    around = turn_figures(bench, turns, figures["throughput"])
    if peer:
        figures |= times_faster(figures, bench.generation([theirs for _, theirs in rounds], lengths.prompt_tokens))
    say("sampling, long contexts ...")
    return {**figures, **around, **_alone(bench, figures["time per token"])}, text_checksums(turns)


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
    tokenizer = tokenizer_beside(bench.engine.path, say)
    say("generating ...")
    with bandwidth_meter(device, int(bench.settings()["threads"] or "1"), say) as meter:
        return measure_lengths(bench, workloads, repeats, meter, tokenizer)


def take_turn(
    bench: EngineBenchmark, lengths: Lengths, meter: Callable[[], float] | None, tokenizer: GPT2Tokenizer | None
) -> Turn:
    """Run a workload once."""
    bandwidth = meter() if meter else None
    generated = bench.generate(lengths.prompt_tokens, lengths.new_tokens)
    (written,) = generated.tokens
    texts = text_times(tokenizer, bench.prompt(lengths.prompt_tokens), written) if tokenizer else None
    return Turn(generated, texts, bandwidth)


def measure_lengths(
    bench: EngineBenchmark,
    workloads: Sequence[Lengths],
    repeats: Repeats,
    meter: Callable[[], float] | None,
    tokenizer: GPT2Tokenizer | None,
) -> list[LengthRow]:
    """Return a row for each workload; they take turns in each repetition, so all see the same machine load."""
    rounds = repeats.of(lambda: [take_turn(bench, lengths, meter, tokenizer) for lengths in workloads])
    columns = zip(workloads, zip(*rounds, strict=True), strict=True)
    return [LengthRow(lengths, _figures(bench, lengths, turns), text_checksums(turns)) for lengths, turns in columns]


def text_checksums(turns: Sequence[Turn]) -> list[str]:
    """Return the checksums of the different texts that were generated."""
    return sorted({checksum(turn.generated.tokens[0]) for turn in turns})


def turn_figures(bench: EngineBenchmark, turns: Sequence[Turn], throughput: Figure) -> dict[str, Figure]:
    """Return the roofline, if memory bandwidth was measured, and the time of the tokenizer."""
    bandwidth = [turn.bandwidth for turn in turns if turn.bandwidth is not None]
    bound = bound_figures(bandwidth, bench.engine.path, throughput.values) if bandwidth else {}
    return bound | text_figures([turn.texts for turn in turns])


def _figures(bench: EngineBenchmark, lengths: Lengths, turns: Sequence[Turn]) -> dict[str, Figure]:
    times = [turn.generated.times for turn in turns]
    first, later, throughput = bench.generation(times, lengths.prompt_tokens).values()
    return {
        "first token": first,
        "prompt": Figure("tokens/s", tuple(lengths.prompt_tokens / steps[0] for steps in times)),
        "time per token": later,
        "throughput": throughput,
        "generation": Figure("ms", tuple(sum(steps) * 1e3 for steps in times)),
        **turn_figures(bench, turns, throughput),
    }
