"""Ctrl-C while C extensions are imported."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

INTERRUPTED = 130  # 128 + SIGINT, as a shell reports it


@contextmanager
def ends_at_once() -> Iterator[None]:
    """Inside the context, Ctrl-C ends the process at once: KeyboardInterrupt gets lost while a C extension initialises.

    Only for code that has nothing to clean up.
    """
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return

    def end(*_: object) -> None:
        os.write(2, b"Interrupted\n")
        os._exit(INTERRUPTED)

    signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
