"""Ctrl-C: where it ends the process at once, and where it raises KeyboardInterrupt."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

INTERRUPTED = 130  # 128 + SIGINT, as a shell reports it


def end_at_once() -> None:
    """Let Ctrl-C end the process at once from here on, except within `raises`.

    While a C extension is initialised the exception gets lost, and while Python shuts down it prints a traceback.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


@contextmanager
def ends_at_once() -> Iterator[None]:
    """Do as end_at_once within a block that has nothing to clean up."""
    with _handled_by(_end, signal.default_int_handler):
        yield


@contextmanager
def raises() -> Iterator[None]:
    """Let Ctrl-C raise KeyboardInterrupt within a block inside one where it ends the process."""
    with _handled_by(signal.default_int_handler, _end):
        yield


def _end(*_: object) -> None:
    os._exit(INTERRUPTED)


@contextmanager
def _handled_by(handler: Callable[..., object], other: Callable[..., object]) -> Iterator[None]:
    """Replace one handler by the other within a block; a foreign handler stays, and other threads change nothing."""
    import threading  # noqa: PLC0415  # not before Ctrl-C is handled

    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not other:
        yield
        return
    signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, other)
