"""Waits for the real end of threads that ran inference, so that a model can be released safely.

OpenVINO has thread-local data, which it destroys as an operating system's thread ends: some time after Python's thread
has ended, and even after `join` before Python 3.13. A compiled model that is released meanwhile corrupts the heap
(openvino 2025.0 to 2026.4; its pull requests 18868, 19832, 24562 and 33670 are of this kind).
"""

import sys
import time
from collections.abc import Iterable
from pathlib import Path
from threading import Thread, current_thread

LONGEST = 1.0
"""Seconds to wait at most; a number of a thread that has ended may belong to a new one."""
ELSEWHERE = 0.05
"""Seconds to wait where the system does not show its threads."""
TASKS = Path("/proc/self/task")


def wait_for_end(threads: Iterable[Thread]) -> None:
    """Return when the operating system has ended those of the threads that Python has ended."""
    ended = [thread for thread in threads if thread is not current_thread() and not thread.is_alive()]
    if not ended or sys.version_info >= (3, 13):
        return
    if not TASKS.exists():
        time.sleep(ELSEWHERE)
        return
    until = time.monotonic() + LONGEST
    while any((TASKS / str(thread.native_id)).exists() for thread in ended) and time.monotonic() < until:
        time.sleep(0.0005)
