"""Work on several things at once, in threads; what each of them reports is printed in the order of the things."""

import io
import queue
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TextIO, TypeVar, cast

from omz_model_tools.common.interrupt import ends_at_once
from omz_model_tools.common.report import Report

T = TypeVar("T")
Printed = tuple[TextIO, str] | None  # None: the end


class _Queued(io.TextIOBase):
    """A stream whose text the main thread prints."""

    def __init__(self, target: TextIO, printed: "queue.SimpleQueue[Printed]") -> None:
        self._target = target
        self._printed = printed

    def write(self, text: str) -> int:
        self._printed.put((self._target, text))
        return len(text)


class _Job:
    """The work on one thing, and what it has printed so far."""

    def __init__(self) -> None:
        self.printed: queue.SimpleQueue[Printed] = queue.SimpleQueue()
        self.outcome: Future[bool]

    def run(self, work: Callable[[Report], bool], report: Report) -> bool:
        out, err = (cast(TextIO, _Queued(stream, self.printed)) for stream in (report.out, report.err))
        try:
            return work(Report(out, err))
        finally:
            self.printed.put(None)

    def follow(self) -> bool:
        """Print until the work ends; return what it returns, or raise what it raises."""
        while (item := self.printed.get()) is not None:
            stream, text = item
            print(text, end="", file=stream, flush=True)
        return self.outcome.result()


@contextmanager
def in_order(
    work: Callable[[T, Report], bool], things: Sequence[T], jobs: int, report: Report
) -> Iterator[Callable[[], bool]]:
    """Begin the work on all things, at most `jobs` at once; yield what follows the next one to its end.

    Ctrl-C ends the process at once, as a kill does: what the work leaves on the disk has to be ready for that.
    """
    with ThreadPoolExecutor(jobs) as pool, ends_at_once():
        begun = [_Job() for _ in things]
        for thing, job in zip(things, begun, strict=True):
            job.outcome = pool.submit(job.run, lambda own, thing=thing: work(thing, own), report)  # type: ignore[misc]
        following = iter(begun)
        try:
            yield lambda: next(following).follow()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
