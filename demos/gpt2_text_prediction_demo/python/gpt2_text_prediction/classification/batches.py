"""Puts texts together that run together: windows of a stream of texts, and in a window batches of like lengths.

The batches depend on the texts of a window alone, so that a run that is resumed computes the same ones.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

WINDOW = 256
"""Texts that are sorted by length together: more need no less padding, and cost memory."""
WINDOW_CHARS = 8 << 20
"""Characters of a window that no more texts are added to."""
BATCH_TOKENS = 2048
"""Tokens of a batch, padding included: enough for the matrix products, little enough for the caches of a CPU."""
MOST_PADDING = 8
"""A text is padded by at most this part of the longest of its batch, or by STEP."""
STEP = 16
"""Lengths are padded to multiples of this: a CPU prepares itself anew for each shape."""

T = TypeVar("T")


def windows(things: Iterable[T], size: Callable[[T], int]) -> Iterator[list[T]]:
    """Yield things in lists of WINDOW, or of fewer where they are large. size: of one, in characters."""
    window: list[T] = []
    held = 0
    for thing in things:
        window.append(thing)
        held += size(thing)
        if len(window) == WINDOW or held >= WINDOW_CHARS:
            yield window
            window, held = [], 0
    if window:
        yield window


def batches(lengths: Sequence[int], padded: bool) -> list[list[int]]:
    """Return the indices of texts by batch, the longest first. padded: whether lengths may differ in a batch."""
    found: list[list[int]] = []
    longest = 0
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        most_padding = max(STEP, longest // MOST_PADDING) if padded else 0
        if found and longest - lengths[i] <= most_padding and (len(found[-1]) + 1) * longest <= BATCH_TOKENS:
            found[-1].append(i)
        else:
            found.append([i])
            longest = lengths[i]
    return found


def batch_ids(rows: Sequence[Sequence[int]], pad: int | None, most: int) -> npt.NDArray[np.int64]:  # -> [B, L]
    """Return rows of tokens, the longest first, as a model's input; without a pad token all have the same length."""
    length = len(rows[0]) if pad is None else min(-(-len(rows[0]) // STEP) * STEP, most)
    ids = np.full((len(rows), length), 0 if pad is None else pad, np.int64)
    for i, tokens in enumerate(rows):
        ids[i, : len(tokens)] = tokens
    return ids
