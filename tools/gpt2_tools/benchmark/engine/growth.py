"""How speed changes with the text before a token, with the rows that are continued at once, and with the threads.

Every point is the median of a window of tokens, taken in several rounds. What draws the curves is not known here.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from gpt2_tools.benchmark.engine.engine import GROWTH_WINDOW, EngineBenchmark
from gpt2_tools.benchmark.figures import Figure, Repeats
from gpt2_tools.common.problem import Problem

ROWS = (1, 2, 4, 8, 16)
LENGTHS = 8


@dataclass(frozen=True)
class Curve:
    """Figures of one unit along x; `name` says what a point is, with its x in it."""

    name: str
    x: str
    y: str
    points: dict[int, Figure]

    def figures(self) -> dict[str, Figure]:
        """Return each point by its name."""
        return {self.name.format(x=x): figure for x, figure in self.points.items()}


def check_room(prompt_tokens: int, n_positions: int) -> None:
    """Raise Problem for a model that is too short for the curves, or a prompt that is too long for it."""
    least = LENGTHS * GROWTH_WINDOW
    if n_positions < least:
        raise Problem(f"--plot: expected a model of at least {least} positions, got one of {n_positions}")
    most = n_positions - GROWTH_WINDOW - 1
    if prompt_tokens > most:
        raise Problem(f"-p: expected at most {most} tokens with --plot, got {prompt_tokens}")


def length_curve(bench: EngineBenchmark, repeats: Repeats) -> Curve:
    """Return the time per token at lengths that divide the model's positions, and near their end."""
    last = bench.engine.n_positions - GROWTH_WINDOW
    lengths = [last * part // LENGTHS for part in range(1, LENGTHS + 1)]
    rounds = repeats.of(lambda: [1e3 * float(np.median(bench.steps_at(length))) for length in lengths])
    return Curve("time per token at {x}", "tokens before it", "ms per token", _points(lengths, "ms", rounds))


def batch_curve(bench: EngineBenchmark, prompt_tokens: int, repeats: Repeats) -> Curve:
    """Return the tokens/s of several rows together."""
    rounds = repeats.of(lambda: [_tokens_a_second(bench, prompt_tokens, rows) for rows in ROWS])
    return Curve("throughput, batch {x}", "rows at once", "tokens/s, all rows", _points(ROWS, "tokens/s", rounds))


def thread_curve(load_on: Callable[[int], EngineBenchmark], prompt_tokens: int, repeats: Repeats) -> Curve:
    """Return the tokens/s of one row on 1, 2, 4, ... threads, each on an engine that is loaded for it."""
    counts = thread_counts(_processors())
    columns = []
    for threads in counts:
        bench = load_on(threads)
        columns.append(repeats.of(lambda bench=bench: _tokens_a_second(bench, prompt_tokens, 1)))  # type: ignore[misc]
    rounds = list(zip(*columns, strict=True))
    return Curve("throughput, threads {x}", "threads", "tokens/s, one row", _points(counts, "tokens/s", rounds))


def thread_counts(processors: int) -> list[int]:
    """Return the powers of two below a number of processors, and the number."""
    counts = [1]
    while counts[-1] * 2 < processors:
        counts.append(counts[-1] * 2)
    return list(dict.fromkeys([*counts, processors]))


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _tokens_a_second(bench: EngineBenchmark, prompt_tokens: int, rows: int) -> float:
    times = bench.generate(prompt_tokens, GROWTH_WINDOW + 1, rows).times[1:]
    return rows / float(np.median(times))


def _points(places: Sequence[int], unit: str, rounds: Sequence[Sequence[float]]) -> dict[int, Figure]:
    columns = zip(*rounds, strict=True)
    return {place: Figure(unit, tuple(column)) for place, column in zip(places, columns, strict=True)}
