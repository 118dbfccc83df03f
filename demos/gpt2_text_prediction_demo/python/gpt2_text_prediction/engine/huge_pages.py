"""Linux memory advice for the process: weights in huge pages, and pages of mapped files dropped.

On another system, a Linux that is too old, or without /proc, nothing happens: what fails here costs speed or memory,
never a text.
"""

import ctypes
import os
import re
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

Span: TypeAlias = tuple[int, int]  # first address, the one after the last

MAPS, USED_MAPS = Path("/proc/self/maps"), Path("/proc/self/smaps")
ENABLED = Path("/sys/kernel/mm/transparent_hugepage/enabled")
MADV_DONTNEED, MADV_COLLAPSE = 4, 25  # linux/mman.h
HUGE = 2 << 20
LEAST = 2 * HUGE
"""Spans of fewer bytes are left alone."""
OF_NO_FILE = rb"^([0-9a-f]+)-([0-9a-f]+) rw-p \S+ \S+ 0 *(?:\[heap\]|\[anon.*\])?$"
USED = rb"(?:\n[A-Z]\w+:.*)*?\nRss: *(\d+) kB"


class HugePages:
    """Moves memory that was allocated after its construction into huge pages.

    Linux then looks up addresses less often, and decoding, which reads all weights for each token, is about a tenth
    faster. It needs Linux 6.1, and an administrator who has not set transparent_hugepage to "never".
    """

    def __init__(self) -> None:
        self._before: list[Span] | None = None
        with suppress(OSError):
            self._before = _memory() if _possible() else None

    def collapse(self) -> int:
        """Move what was allocated since the construction, and is in use, into huge pages; return the bytes moved."""
        if self._before is None:
            return 0
        with suppress(OSError):
            spans = [_inner(new) for used in _used_memory() for new in without(used, self._before)]
            return _advise([(first, end) for first, end in spans if end - first >= LEAST], MADV_COLLAPSE)
        return 0


def drop_mapped_pages(path: Path) -> int:
    """Drop the resident pages of a read-only mapped file (madvise); return the bytes freed.

    Later reads come from the file again.
    """
    if sys.platform != "linux":
        return 0
    with suppress(OSError):
        # Bytes: the names of files need not be text in this locale, or in any.
        name = re.escape(os.fsencode(path.resolve()))
        mapped = rb"^([0-9a-f]+)-([0-9a-f]+) r--[ps] [0-9a-f]+ \S+ \d+ +" + name + rb"$"
        found = re.finditer(mapped, MAPS.read_bytes(), re.MULTILINE)
        return _advise([(int(m[1], 16), int(m[2], 16)) for m in found], MADV_DONTNEED)
    return 0


def without(span: Span, others: Iterable[Span]) -> list[Span]:
    """Return the parts of a span that are in none of the others."""
    left = [span]
    for start, stop in others:
        parts = [((first, min(end, start)), (max(first, stop), end)) for first, end in left]
        left = [(first, end) for pair in parts for first, end in pair if first < end]
    return left


def _possible() -> bool:
    return sys.platform == "linux" and ENABLED.exists() and "[never]" not in ENABLED.read_text()


def _memory() -> list[Span]:
    """Return the process's anonymous memory, which belongs to no file."""
    found = re.finditer(OF_NO_FILE, MAPS.read_bytes(), re.MULTILINE)
    return [(int(m[1], 16), int(m[2], 16)) for m in found]


def _used_memory() -> list[Span]:
    """Return those spans of it of which at least nine tenths are in use."""
    found = re.finditer(OF_NO_FILE + USED, USED_MAPS.read_bytes(), re.MULTILINE)
    spans = [(int(m[1], 16), int(m[2], 16), 1024 * int(m[3])) for m in found]
    return [(first, end) for first, end, used in spans if used >= 0.9 * (end - first)]


def _inner(span: Span) -> Span:
    """Return the part that whole huge pages can hold."""
    return -(-span[0] // HUGE) * HUGE, span[1] // HUGE * HUGE


def _advise(spans: Iterable[Span], advice: int) -> int:
    """Give Linux an advice about memory; return the bytes of the spans for which it was taken."""
    madvise = ctypes.CDLL(None).madvise
    return sum(
        end - first for first, end in spans if not madvise(ctypes.c_void_p(first), ctypes.c_size_t(end - first), advice)
    )
