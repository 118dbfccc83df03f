"""Tasks in worker threads, their output reported in order.

Workers queue their messages; only the thread that started them prints, one task after the other, so that the output
of parallel downloads reads as if they had run in sequence.
"""

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future

from omz_model_tools.common.report import Report
from omz_model_tools.download.progress import TransferProgress

GRACE = 1.0  # seconds that cancelled threads have to clean up

Message = Callable[[Report], None]


class MessageQueue:
    """The messages of one task, in order, until the main thread prints them."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Message | None] = queue.SimpleQueue()

    def line(self, text: str = "") -> None:
        self._queue.put(lambda report: report.line(text))

    def section(self, text: str) -> None:
        self._queue.put(lambda report: report.section(text))

    def error(self, text: str, *details: str) -> None:
        self._queue.put(lambda report: report.error(text, *details))

    def warning(self, text: str) -> None:
        self._queue.put(lambda report: report.warning(text))

    def end(self) -> None:
        self._queue.put(None)

    def read(self, timeout: float) -> Iterator[Message | None]:
        """Yield each message until the queue is ended; None whenever `timeout` seconds passed without one."""
        while True:
            try:
                message = self._queue.get(timeout=timeout)
            except queue.Empty:
                yield None
                continue
            if message is None:
                return
            yield message


class Cancelled(Exception):
    """Raised in the thread whose work is cancelled."""


class CancellationToken:
    """Ends another thread's work, even while it sleeps or waits for a server."""

    def __init__(self) -> None:
        self._cancelled = threading.Event()
        self._lock = threading.Lock()
        self._wake: Callable[[], None] | None = None

    def cancel(self) -> None:
        with self._lock:
            self._cancelled.set()
            if self._wake is not None:
                self._wake()

    def check(self) -> None:
        if self._cancelled.is_set():
            raise Cancelled

    def sleep(self, seconds: float) -> None:
        if self._cancelled.wait(seconds):
            raise Cancelled

    @contextlib.contextmanager
    def on_cancel(self, wake: Callable[[], None]) -> Iterator[None]:
        """Inside the context, `cancel` also calls `wake`, to end a wait that an event cannot end: a socket's."""
        self._set(wake)
        try:
            self.check()
            yield
        finally:
            self._set(None)

    def _set(self, wake: Callable[[], None] | None) -> None:
        with self._lock:
            self._wake = wake


class Task:
    """An action that a worker thread runs, with its messages, its progress and a token to cancel it."""

    def __init__(self, action: Callable[["Task"], bool], transfer: TransferProgress) -> None:
        self._action = action
        self._outcome: Future[bool] = Future()
        self.progress = transfer
        self.messages = MessageQueue()
        self.cancellation = CancellationToken()

    def run(self) -> None:
        try:
            self.cancellation.check()
            self._outcome.set_result(self._action(self))
        except BaseException as error:  # raised again by outcome()
            self._outcome.set_exception(error)
        finally:
            self.messages.end()

    def outcome(self) -> bool:
        """Wait for the action; return what it returned, or raise what it raised."""
        return self._outcome.result()


@contextlib.contextmanager
def running(tasks: Sequence[Task], jobs: int) -> Iterator[None]:
    """Run the tasks in order, at most `jobs` at once; at the end of the context the unfinished ones are cancelled."""
    waiting: queue.SimpleQueue[Task] = queue.SimpleQueue()
    for task in tasks:
        waiting.put(task)
    # Daemons: at exit, no one waits for a thread that is waiting for a server.
    threads = [threading.Thread(target=_work, args=(waiting,), daemon=True) for _ in range(min(jobs, len(tasks)))]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for task in tasks:
            task.cancellation.cancel()
        for thread in threads:
            thread.join(GRACE / len(threads))


def _work(waiting: "queue.SimpleQueue[Task]") -> None:
    with contextlib.suppress(queue.Empty):
        while True:
            waiting.get_nowait().run()
