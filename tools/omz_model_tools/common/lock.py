"""One process at a time; a lock that dies with its process, so that none is ever stale."""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

_here: set[Path] = set()  # the locks that a thread of this process holds or is about to take
_here_guard = threading.Lock()

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
    with _alone_here(path, sleep):
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
def _alone_here(path: Path, sleep: Callable[[float], object]) -> Iterator[None]:
    """Wait for the other threads of this process first: of those there is nothing to tell."""
    while not _claim(path):
        sleep(0.05)
    try:
        yield
    finally:
        _here.discard(path)


def _claim(path: Path) -> bool:
    with _here_guard:
        is_free = path not in _here
        _here.add(path)
        return is_free


@contextlib.contextmanager
def _held(descriptor: int, path: Path) -> Iterator[None]:
    try:
        yield
    finally:
        with contextlib.suppress(PermissionError):  # Windows keeps an open file
            path.unlink(missing_ok=True)
        os.close(descriptor)


def _take(path: Path) -> int | None:
    descriptor = _open(path)
    try:
        # The holder unlinks the file while it holds the lock: then ours is a lock on nothing.
        if _taken(descriptor) and _is_at(descriptor, path):
            return descriptor
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _open(path: Path) -> int:
    """The lock file, made where it is missing, with its folder: a process that failed removes it where it is empty."""
    while True:
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:
            if path.is_symlink():  # to nowhere
                raise
            path.parent.mkdir(parents=True, exist_ok=True)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
