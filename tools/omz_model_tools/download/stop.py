"""A wish that what another thread does may end: at once, also while it sleeps or waits for a server."""

import contextlib
import threading
from collections.abc import Callable, Iterator


class Stopped(Exception):
    """Raised in the thread that was asked to stop."""


class Stop:
    def __init__(self) -> None:
        self._wanted = threading.Event()
        self._lock = threading.Lock()
        self._wake: Callable[[], None] | None = None

    def want(self) -> None:
        with self._lock:
            self._wanted.set()
            if self._wake is not None:
                self._wake()

    def check(self) -> None:
        if self._wanted.is_set():
            raise Stopped

    def sleep(self, seconds: float) -> None:
        if self._wanted.wait(seconds):
            raise Stopped

    @contextlib.contextmanager
    def waking(self, wake: Callable[[], None]) -> Iterator[None]:
        """Inside, `wake` is called, from the other thread, to end a wait that only it can end."""
        self._set(wake)
        try:
            self.check()
            yield
        finally:
            self._set(None)

    def _set(self, wake: Callable[[], None] | None) -> None:
        with self._lock:
            self._wake = wake
