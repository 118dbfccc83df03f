"""One process at a time; a lock that dies with its process, so that none is ever stale."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

if sys.platform == "win32":
    import msvcrt

    def _taken(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _taken(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@contextlib.contextmanager
def exclusive(path: Path, waiting: Callable[[], None], sleep: Callable[[float], object] = time.sleep) -> Iterator[None]:
    """Hold the lock file `path`; `waiting` is called once if another process holds it."""
    told = False
    while (descriptor := _take(path)) is None:
        if not told:
            waiting()
            told = True
        sleep(0.05)
    with _held(descriptor, path):
        yield


@contextlib.contextmanager
def if_free(path: Path) -> Iterator[bool]:
    """Hold the lock file `path`, or give False if another process holds it."""
    descriptor = _take(path)
    if descriptor is None:
        yield False
    else:
        with _held(descriptor, path):
            yield True


@contextlib.contextmanager
def _held(descriptor: int, path: Path) -> Iterator[None]:
    try:
        yield
    finally:
        with contextlib.suppress(PermissionError):  # Windows keeps an open file
            path.unlink(missing_ok=True)
        os.close(descriptor)


def _take(path: Path) -> int | None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        # The holder unlinks the file while it holds the lock: then ours is a lock on nothing.
        if _taken(descriptor) and _is_at(descriptor, path):
            return descriptor
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
