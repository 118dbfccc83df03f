"""Work on several things at once, in threads; what each of them reports is printed in the order of the things."""

import queue
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from omz_model_tools.common.interrupt import ends_at_once
from omz_model_tools.common.report import Report

T = TypeVar("T")
Printed = tuple[Callable[[str], None], str] | None  # None: the end


@dataclass(frozen=True)
class _Queued(Report):
    """Output that the main thread prints."""

    printed: "queue.SimpleQueue[Printed]"

    def _say(self, text: str) -> None:
        self.printed.put((super()._say, text))

    def _print(self, text: str) -> None:
        self.printed.put((super()._print, text))


class _Job:
    """The work on one thing, and what it has printed so far."""

    def __init__(self) -> None:
        self.printed: queue.SimpleQueue[Printed] = queue.SimpleQueue()
        self.outcome: Future[bool]

    def run(self, work: Callable[[Report], bool], report: Report) -> bool:
        try:
            return work(_Queued(report.out, report.err, self.printed))
        finally:
            self.printed.put(None)

    def follow(self) -> bool:
        """Print until the work ends; return what it returns, or raise what it raises."""
        while (item := self.printed.get()) is not None:
            show, text = item
            show(text)
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
