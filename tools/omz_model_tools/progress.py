"""How far a transfer is, for one who watches a terminal; it knows nothing of what is transferred."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TextIO

Advance = Callable[[int], object]
Progress = Callable[[str, int | None], AbstractContextManager[Advance]]  # (title, size) -> advance(bytes)


@contextmanager
def silent(title: str, size: int | None) -> Iterator[Advance]:
    """For a log file: the headings already say which file is on its way."""
    yield lambda count: None


def bar_on(stream: TextIO) -> Progress:
    """A bar on `stream` that leaves no trace when the transfer is over."""
    from tqdm import tqdm  # noqa: PLC0415

    @contextmanager
    def bar(title: str, size: int | None) -> Iterator[Advance]:
        with tqdm(total=size, desc=title, file=stream, leave=False, unit="B", unit_scale=True) as line:
            yield line.update

    return bar


def progress_on(stream: TextIO) -> Progress:
    return bar_on(stream) if stream.isatty() else silent
