"""Progress bars of the transfers on a terminal, and the progress state that they show."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, TextIO


class TransferProgress:
    """Progress state of one transfer. The worker thread updates it, the main thread reads it."""

    def __init__(self, title: str, size: int | None) -> None:
        self.title = title
        self.size = size
        self.start = 0  # bytes that were on disk before
        self.done = 0  # bytes on disk now, those included
        self.running = False
        self.moved = False

    def begin(self, start: int) -> None:
        self.start = self.done = start
        self.running = True

    def reach(self, done: int) -> None:
        self.start = min(self.start, done)  # fewer than before: the transfer restarted from the first byte
        self.done = done
        self.moved = True

    def end(self) -> None:
        self.running = False

    def skip(self) -> None:
        """Record that the whole file was already there."""
        self.start = self.done = self.size or 0


class Display(Protocol):
    def show(self, transfers: Sequence[TransferProgress]) -> None:
        """Redraw the state of all transfers."""

    def hidden(self) -> AbstractContextManager[None]:
        """Hide the bars inside the context, so that other lines can be printed."""

    def close(self) -> None: ...


class NoDisplay:
    """No bars, for a log file: the headings already name the file that is being downloaded."""

    def show(self, transfers: Sequence[TransferProgress]) -> None:
        pass

    def hidden(self) -> AbstractContextManager[None]:
        return contextlib.nullcontext()

    def close(self) -> None:
        pass


class Bars:
    """A bar in total, for the transfers of known size, and one for each running transfer; all erased at the end.

    They are one block of lines: tqdm, which writes each, loses its place where bars of several lines come and go.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        from tqdm import tqdm  # noqa: PLC0415

        self._meter: Callable[..., str] = tqdm.format_meter
        self._stream, self._clock = stream, clock
        self._began: dict[str | TransferProgress, float] = {}  # seconds of the clock
        self._drawn: list[str] = []  # the lines that the terminal shows

    def show(self, transfers: Sequence[TransferProgress]) -> None:
        columns, rows = _size_of(self._stream)
        running = [transfer for transfer in transfers if transfer.running]
        lines = [self._total(transfers, columns)] if running else []
        lines += [self._line(each, each.title, each.done, each.size, each.start, columns) for each in running]
        self._draw(lines[: rows - 1])  # what scrolls off the screen cannot be erased

    def hidden(self) -> AbstractContextManager[None]:
        return self._hidden()

    def close(self) -> None:
        self._draw([])

    @contextlib.contextmanager
    def _hidden(self) -> Iterator[None]:
        lines = self._drawn
        self._draw([])
        yield
        self._draw(lines)

    def _total(self, transfers: Sequence[TransferProgress], columns: int) -> str:
        """Leave out the bytes that were there before, which would falsify the rate and the time left."""
        known = [transfer for transfer in transfers if transfer.size is not None]
        size = sum((transfer.size or 0) - transfer.start for transfer in known)
        return self._line("total", "total", sum(each.done - each.start for each in known), size, 0, columns)

    def _line(
        self, of: str | TransferProgress, title: str, done: int, size: int | None, start: int, columns: int
    ) -> str:
        now = self._clock()
        seconds = now - self._began.setdefault(of, now)
        written = {"prefix": title, "unit": "B", "unit_scale": True, "ncols": columns - 1}
        return self._meter(done, size, seconds, initial=start, **written)[: columns - 1]

    def _draw(self, lines: list[str]) -> None:
        if lines == self._drawn:
            return
        up = f"\x1b[{len(self._drawn) - 1}A" if len(self._drawn) > 1 else ""
        erase = f"\r{up}\x1b[J" if self._drawn else ""  # to the screen's end
        self._stream.write(erase + "\n".join(lines))
        self._stream.flush()
        self._drawn = lines


def _size_of(stream: TextIO) -> tuple[int, int]:
    """Return a terminal's columns and rows."""
    try:
        size = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        return 80, 24
    return size.columns or 80, size.lines or 24


def display_on(stream: TextIO) -> Display:
    return Bars(stream) if stream.isatty() else NoDisplay()
