"""File locks: one process at a time. The system releases them when a process dies, so none is ever stale."""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from omz_model_tools.common.own_names import open_own

_here: set[Path] = set()  # the locks that threads of this process hold or wait for; flock does not exclude threads
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
        has_reported = False
        while (descriptor := _take(path)) is None:
            if not has_reported:
                waiting()
                has_reported = True
            sleep(0.05)
        with _held(descriptor, path):
            yield


@contextlib.contextmanager
def if_free(path: Path) -> Iterator[bool]:
    """Hold the lock file `path`; yield False, without waiting, if another process holds it."""
    descriptor = _take(path)
    if descriptor is None:
        yield False
    else:
        with _held(descriptor, path):
            yield True


@contextlib.contextmanager
def _alone_here(path: Path, sleep: Callable[[float], object]) -> Iterator[None]:
    """Wait first for other threads of this process, without a report."""
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
        with contextlib.suppress(PermissionError):  # Windows does not delete an open file
            path.unlink(missing_ok=True)
        os.close(descriptor)


def _take(path: Path) -> int | None:
    descriptor = _open(path)
    try:
        # The holder unlinks the file before it releases the lock: ours may then be a lock on an unlinked file.
        if _taken(descriptor) and _is_at(descriptor, path):
            return descriptor
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _open(path: Path) -> int:
    """Open the lock file; create it, and its folder, which a failed process may just have removed as empty."""
    while True:
        try:
            return open_own(path, os.O_RDWR)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False
