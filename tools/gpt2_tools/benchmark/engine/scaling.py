"""Scaling curves of the engine: speed by context length, by batch size and by threads.

Every point is the median of a window of tokens, taken in several repetitions.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from gpt2_tools.benchmark.engine.engine import WINDOW_TOKENS, EngineBenchmark
from gpt2_tools.benchmark.figures import Figure, Repeats
from gpt2_tools.common.problem import Problem

BATCH_SIZES = (1, 2, 4, 8, 16)
POINTS = 8


@dataclass(frozen=True)
class Curve:
    """Figures of one unit along x; name is a point's name, with {x} in it. label: among others of one panel."""

    name: str
    x: str
    y: str
    points: dict[int, Figure]
    label: str = ""

    def figures(self) -> dict[str, Figure]:
        """Return the points by name."""
        return {self.name.format(x=x): figure for x, figure in self.points.items()}


def check_room(prompt_tokens: int, n_positions: int) -> None:
    """Raise Problem if the model has too few positions for the curves, or the prompt does not fit."""
    least = POINTS * WINDOW_TOKENS
    if n_positions < least:
        raise Problem(f"--plot: expected a model of at least {least} positions, got one of {n_positions}")
    most = n_positions - WINDOW_TOKENS - 1
    if prompt_tokens > most:
        raise Problem(f"-p: expected at most {most} tokens with --plot, got {prompt_tokens}")


def length_curve(bench: EngineBenchmark, repeats: Repeats) -> Curve:
    """Return the time per token at evenly spaced context lengths, up to the model's positions."""
    last = bench.engine.n_positions - WINDOW_TOKENS
    lengths = [last * part // POINTS for part in range(1, POINTS + 1)]
    repetitions = repeats.of(lambda: [1e3 * float(np.median(bench.steps_at(length))) for length in lengths])
    return Curve("time per token at {x}", "tokens before it", "ms per token", _points(lengths, "ms", repetitions))


def batch_curve(bench: EngineBenchmark, prompt_tokens: int, repeats: Repeats) -> Curve:
    """Return the tokens/s of all rows by batch size."""
    repetitions = repeats.of(lambda: [_tokens_a_second(bench, prompt_tokens, rows) for rows in BATCH_SIZES])
    return Curve(
        "throughput, batch {x}", "rows at once", "tokens/s, all rows", _points(BATCH_SIZES, "tokens/s", repetitions)
    )


def thread_curve(load_on: Callable[[int], EngineBenchmark], prompt_tokens: int, repeats: Repeats) -> Curve:
    """Return the tokens/s of one row on 1, 2, 4, ... threads; load_on loads an engine for a number of threads."""
    counts = thread_counts(_processors())
    columns = []
    for threads in counts:
        bench = load_on(threads)
        columns.append(repeats.of(lambda bench=bench: _tokens_a_second(bench, prompt_tokens, 1)))  # type: ignore[misc]
    repetitions = list(zip(*columns, strict=True))
    return Curve("throughput, threads {x}", "threads", "tokens/s, one row", _points(counts, "tokens/s", repetitions))


def thread_counts(processors: int) -> list[int]:
    """Return the powers of two below a number of processors, and the number itself."""
    counts = [1]
    while counts[-1] * 2 < processors:
        counts.append(counts[-1] * 2)
    return list(dict.fromkeys([*counts, processors]))


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _tokens_a_second(bench: EngineBenchmark, prompt_tokens: int, rows: int) -> float:
    times = bench.generate(prompt_tokens, WINDOW_TOKENS + 1, rows).times[1:]
    return rows / float(np.median(times))


def _points(xs: Sequence[int], unit: str, repetitions: Sequence[Sequence[float]]) -> dict[int, Figure]:
    columns = zip(*repetitions, strict=True)
    return {x: Figure(unit, tuple(column)) for x, column in zip(xs, columns, strict=True)}
