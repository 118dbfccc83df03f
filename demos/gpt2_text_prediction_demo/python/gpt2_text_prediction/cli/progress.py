"""A progress bar with an estimate of the time left."""

import time
from collections.abc import Callable

CELLS = 30


class Progress:
    """A bar for `total` things, or a count of them where that is not known (None).

    Those that were done before do not count for the time left.
    """

    def __init__(
        self,
        total: int | None,
        things: str,
        write: Callable[[str], object],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._total, self._things = total, things
        self._write, self._clock = write, clock
        self._start = clock()
        self._done = self._made = self._width = 0

    def step(self, made: bool = True, count: int = 1) -> None:
        """Count one more, or `count`, made now or there already, and draw."""
        self._done += count
        self._made += made * count
        self.draw()

    def draw(self) -> None:
        """Draw the bar over the last one."""
        line = self._line()
        self._write(f"\r{line:<{self._width}}")
        self._width = len(line)

    def clear(self) -> None:
        """Remove the bar, at the end or until it is drawn again, so that something else can be written."""
        if self._width:
            self._write(f"\r{'':{self._width}}\r")
        self._width = 0

    def _line(self) -> str:
        if self._total is None:
            return f"{self._done} {self._things}"
        filled = CELLS * self._done // max(1, self._total)
        bar = f"[{'#' * filled}{'.' * (CELLS - filled)}] {self._done}/{self._total} {self._things}"
        if not self._made:
            return bar
        return f"{bar}, {(self._clock() - self._start) / self._made * (self._total - self._done):.0f} s left"
