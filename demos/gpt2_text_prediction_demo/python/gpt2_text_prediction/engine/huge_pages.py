"""The process's own memory, where the system is Linux: huge pages, and pages of a file that are not read again.

It knows no model. Where the system is another one, or too old, nothing happens.
"""

import ctypes
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

Span: TypeAlias = tuple[int, int]  # first address, the one behind the last

MAPS = Path("/proc/self/maps")
ENABLED = Path("/sys/kernel/mm/transparent_hugepage/enabled")
MADV_DONTNEED, MADV_COLLAPSE = 4, 25  # linux/mman.h
HUGE = 2 << 20
LEAST = 2 * HUGE
"""Bytes of memory that is worth it."""
OF_NO_FILE = r"^([0-9a-f]+)-([0-9a-f]+) rw-p \S+ \S+ 0 *(?:\[heap\]|\[anon.*\])?$"
USED = r"(?:\n[A-Z]\w+:.*)*?\nRss: *(\d+) kB"


class HugePages:
    """What memory there is when it is made, so that what came later can be put into huge pages.

    Linux then looks up addresses less often, and decoding, which reads all weights for each token, is about a tenth
    faster. Not before Linux 6.1, nor where the administrator has said "never".
    """

    def __init__(self) -> None:
        self._before = _memory() if _possible() else None

    def collapse(self) -> int:
        """Put what was taken since then, and is in use, into huge pages; return how many bytes that are."""
        if self._before is None:
            return 0
        madvise = ctypes.CDLL(None).madvise
        spans = [_inner(new) for used in _used_memory() for new in without(used, self._before)]
        return sum(
            end - first
            for first, end in spans
            if end - first >= LEAST and not madvise(ctypes.c_void_p(first), ctypes.c_size_t(end - first), MADV_COLLAPSE)
        )


def give_back(path: Path) -> int:
    """Give the system back what lies in memory of a file that is mapped for reading; return how many bytes that are.

    What is read again comes from the file again.
    """
    if sys.platform != "linux":
        return 0
    mapped = rf"^([0-9a-f]+)-([0-9a-f]+) r--[ps] [0-9a-f]+ \S+ \d+ +{re.escape(str(path.resolve()))}$"
    spans = [(int(one[1], 16), int(one[2], 16)) for one in re.finditer(mapped, MAPS.read_text(), re.MULTILINE)]
    return sum(end - first for first, end in spans if _advise((first, end), MADV_DONTNEED))


def without(span: Span, others: Iterable[Span]) -> list[Span]:
    """Return what of a span lies in no other."""
    left = [span]
    for start, stop in others:
        parts = [((first, min(end, start)), (max(first, stop), end)) for first, end in left]
        left = [(first, end) for pair in parts for first, end in pair if first < end]
    return left


def _possible() -> bool:
    return sys.platform == "linux" and ENABLED.exists() and "[never]" not in ENABLED.read_text()


def _memory() -> list[Span]:
    """Return the process's own memory, which belongs to no file."""
    found = re.finditer(OF_NO_FILE, MAPS.read_text(), re.MULTILINE)
    return [(int(one[1], 16), int(one[2], 16)) for one in found]


def _used_memory() -> list[Span]:
    """Return those pieces of it that are in use, but for a tenth."""
    found = re.finditer(OF_NO_FILE + USED, Path("/proc/self/smaps").read_text(), re.MULTILINE)
    spans = [(int(one[1], 16), int(one[2], 16), 1024 * int(one[3])) for one in found]
    return [(first, end) for first, end, used in spans if used >= 0.9 * (end - first)]


def _inner(span: Span) -> Span:
    """Return the part that whole huge pages can hold."""
    return -(-span[0] // HUGE) * HUGE, span[1] // HUGE * HUGE


def _advise(span: Span, advice: int) -> bool:
    """Tell Linux something about memory; return whether it did it."""
    first, end = span
    return bool(ctypes.CDLL(None).madvise(ctypes.c_void_p(first), ctypes.c_size_t(end - first), advice) == 0)
