"""The report of latency and speed, in the format of Open Model Zoo's demos."""

from collections.abc import Sequence
from itertools import pairwise

TICK = 1e-9
"""The least seconds of a step, where the clock is too coarse to measure it."""


class Metrics:
    """Collects the times of each answer: seconds at its start and after each of its tokens."""

    def __init__(self) -> None:
        self._first: list[float] = []
        self._later: list[float] = []

    def add(self, times: Sequence[float]) -> None:
        """Add an answer, whole or interrupted."""
        steps = [max(after - before, TICK) for before, after in pairwise(times)]
        self._first += steps[:1]
        self._later += steps[1:]

    def report(self) -> list[str]:
        """Return the lines of the report, none if nothing was generated.

        Latency is the mean time of a token, FPS its inverse: Open Model Zoo's parser looks for the two.
        """
        steps = [*self._first, *self._later]
        if not steps:
            return []
        latency = sum(steps) / len(steps)
        lines = ["Metrics report:", f"\tLatency: {latency * 1e3:.1f} ms", f"\tFPS: {1 / latency:.1f}"]
        lines.append(f"\tTime to first token: {sum(self._first) / len(self._first) * 1e3:.1f} ms")
        if self._later:
            lines.append(f"\tTokens/s after the first: {len(self._later) / sum(self._later):.1f}")
        return lines
