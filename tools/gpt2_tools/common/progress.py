"""The progress of a measurement and the time it still takes, on stderr."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TextIO, TypeVar

from omz_model_tools.common import say

T = TypeVar("T")

STEPS = 10
"""Progress lines at most, if stderr is not a terminal."""


def counted(
    items: Iterable[T],
    total: int,
    unit: str,
    stream: TextIO | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[T]:
    """Yield the items and show their number out of the total: a bar on a terminal, else a line per tenth.

    stream: stderr by default.
    """
    out = sys.stderr if stream is None else stream
    if out.isatty():
        from tqdm import tqdm  # noqa: PLC0415

        yield from tqdm(items, total=total, unit=unit, file=out, leave=False)
        return
    start = clock()
    for done, item in enumerate(items, 1):
        yield item
        if done < total and done * STEPS // total > (done - 1) * STEPS // total:
            left = (clock() - start) / done * (total - done)
            say(f"{done} of {total} {unit}s, {duration(left)} left", out)


def duration(seconds: float) -> str:
    """Return 0:05, 12:34 or 1:00:00."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
