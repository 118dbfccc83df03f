"""How far transfers are, for one who watches a terminal; it knows nothing of what is transferred."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TextIO


class Gauge:
    """How far one transfer is. One thread writes, another looks."""

    def __init__(self, title: str, size: int | None) -> None:
        self.title = title
        self.size = size
        self.start = 0  # what was there before
        self.done = 0  # with it
        self.running = False
        self.moved = False

    def begin(self, start: int) -> None:
        self.start = self.done = start
        self.running = True

    def reach(self, done: int) -> None:
        self.start = min(self.start, done)  # less than before: the transfer began anew
        self.done = done
        self.moved = True

    def end(self) -> None:
        self.running = False

    def skip(self) -> None:
        """Nothing was to be transferred."""
        self.start = self.done = self.size or 0


class Display(Protocol):
    def show(self, gauges: Sequence[Gauge]) -> None:
        """Bring the picture of all transfers up to date."""

    def hidden(self) -> AbstractContextManager[None]:
        """Inside, the place belongs to others."""

    def close(self) -> None: ...


class Nothing:
    """For a log file: the headings already say which file is on its way."""

    def show(self, gauges: Sequence[Gauge]) -> None:
        pass

    def hidden(self) -> AbstractContextManager[None]:
        return contextlib.nullcontext()

    def close(self) -> None:
        pass


class Bars:
    """A bar for all transfers of known size and one for each that is running; they leave no trace."""

    def __init__(self, stream: TextIO) -> None:
        from tqdm import tqdm  # noqa: PLC0415

        self._new: Callable[..., Any] = tqdm
        self._stream = stream
        self._total: Any = None
        self._bars: dict[Gauge, Any] = {}

    def show(self, gauges: Sequence[Gauge]) -> None:
        for gauge in [gauge for gauge in self._bars if not gauge.running]:
            self._bars.pop(gauge).close()
        running = [gauge for gauge in gauges if gauge.running]
        if running:
            self._show_total([gauge for gauge in gauges if gauge.size is not None])
        for gauge in running:
            if gauge not in self._bars:
                self._bars[gauge] = self._bar(gauge.title, gauge.size, gauge.start)
            _advance(self._bars[gauge], gauge.done)

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

    def _show_total(self, gauges: list[Gauge]) -> None:
        """What was there before counts for nothing, or rate and time left would be wrong."""
        if self._total is None:
            self._total = self._bar("total", 0, 0)
        self._total.total = sum((gauge.size or 0) - gauge.start for gauge in gauges)
        _advance(self._total, sum(gauge.done - gauge.start for gauge in gauges))

    def _bar(self, title: str, size: int | None, start: int) -> Any:
        return self._new(
            total=size, initial=start, desc=title, file=self._stream, leave=False, unit="B", unit_scale=True
        )

    def _all(self) -> list[Any]:
        return [*self._bars.values(), *([] if self._total is None else [self._total])]


def _advance(bar: Any, done: int) -> None:
    bar.update(done - bar.n)


def display_on(stream: TextIO) -> Display:
    return Bars(stream) if stream.isatty() else Nothing()
