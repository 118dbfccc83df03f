"""Progress bars of the transfers on a terminal, and the progress state that they show."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TextIO


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
    """One bar in total, for the transfers of known size, and one for each running transfer; all erased at the end."""

    def __init__(self, stream: TextIO) -> None:
        from tqdm import tqdm  # noqa: PLC0415

        self._new: Callable[..., Any] = tqdm
        self._stream = stream
        self._total: Any = None
        self._bars: dict[TransferProgress, Any] = {}

    def show(self, transfers: Sequence[TransferProgress]) -> None:
        for transfer in [transfer for transfer in self._bars if not transfer.running]:
            self._bars.pop(transfer).close()
        running = [transfer for transfer in transfers if transfer.running]
        if running:
            self._show_total([transfer for transfer in transfers if transfer.size is not None])
        for transfer in running:
            if transfer not in self._bars:
                self._bars[transfer] = self._bar(transfer.title, transfer.size, transfer.start)
            _advance(self._bars[transfer], transfer.done)

    def hidden(self) -> AbstractContextManager[None]:
        return self._hidden()

    def close(self) -> None:
        for bar in self._all():
            bar.close()
        self._bars.clear()
        self._total = None

    @contextlib.contextmanager
    def _hidden(self) -> Iterator[None]:
        for bar in self._all():
            bar.clear()
        yield
        for bar in self._all():
            bar.refresh()

    def _show_total(self, transfers: list[TransferProgress]) -> None:
        """Leave out the bytes that were there before, which would falsify the rate and the time left."""
        if self._total is None:
            self._total = self._bar("total", 0, 0)
        self._total.total = sum((transfer.size or 0) - transfer.start for transfer in transfers)
        _advance(self._total, sum(transfer.done - transfer.start for transfer in transfers))

    def _bar(self, title: str, size: int | None, start: int) -> Any:
        return self._new(
            total=size, initial=start, desc=title, file=self._stream, leave=False, unit="B", unit_scale=True
        )

    def _all(self) -> list[Any]:
        return [*self._bars.values(), *([] if self._total is None else [self._total])]


def _advance(bar: Any, done: int) -> None:
    bar.update(done - bar.n)


def display_on(stream: TextIO) -> Display:
    return Bars(stream) if stream.isatty() else NoDisplay()
