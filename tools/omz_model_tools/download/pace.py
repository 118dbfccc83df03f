"""Is a transfer still worth waiting for? It counts bytes and looks at a clock; it knows no network."""

import time
from collections.abc import Callable

WINDOW = 60.0  # seconds
LEAST = 1024  # bytes a second


class Stalled(Exception):
    def __init__(self, count: int, seconds: float) -> None:
        super().__init__(f"the transfer stalled: {count} bytes in {seconds:.0f} seconds")


class Pace:
    """Raises Stalled where less than `least` bytes a second arrived over a whole `window` of seconds."""

    def __init__(self, window: float = WINDOW, least: int = LEAST, clock: Callable[[], float] = time.monotonic) -> None:
        self._window = window
        self._least = least
        self._clock = clock
        self._begin()

    def add(self, count: int) -> None:
        self._count += count
        seconds = self._clock() - self._since
        if seconds < self._window:
            return
        if self._count < self._least * seconds:
            raise Stalled(self._count, seconds)
        self._begin()

    def _begin(self) -> None:
        self._since = self._clock()
        self._count = 0
