"""Several things under way at once, each told of in its turn; it knows nothing of files.

The threads work and write down what they would say; only the thread that started them speaks.
"""

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future

from omz_model_tools.common.report import Report
from omz_model_tools.download.progress import Gauge

GRACE = 1.0  # seconds that stopped threads have to put their affairs in order

Saying = Callable[[Report], None]


class Talk:
    """What a task says, kept until the reader has time for it."""

    def __init__(self) -> None:
        self._said: queue.SimpleQueue[Saying | None] = queue.SimpleQueue()

    def line(self, text: str = "") -> None:
        self._said.put(lambda report: report.line(text))

    def section(self, text: str) -> None:
        self._said.put(lambda report: report.section(text))

    def error(self, text: str, *details: str) -> None:
        self._said.put(lambda report: report.error(text, *details))

    def warning(self, text: str) -> None:
        self._said.put(lambda report: report.warning(text))

    def end(self) -> None:
        self._said.put(None)

    def listen(self, timeout: float) -> Iterator[Saying | None]:
        """What was and is said, to the end; None whenever nothing was said for `timeout` seconds."""
        while True:
            try:
                saying = self._said.get(timeout=timeout)
            except queue.Empty:
                yield None
                continue
            if saying is None:
                return
            yield saying


class Stopped(Exception):
    """Raised in the thread that was asked to stop."""


class Stop:
    def __init__(self) -> None:
        self._wanted = threading.Event()
        self._lock = threading.Lock()
        self._wake: Callable[[], None] | None = None

    def want(self) -> None:
        with self._lock:
            self._wanted.set()
            if self._wake is not None:
                self._wake()

    def check(self) -> None:
        if self._wanted.is_set():
            raise Stopped

    def sleep(self, seconds: float) -> None:
        if self._wanted.wait(seconds):
            raise Stopped

    @contextlib.contextmanager
    def waking(self, wake: Callable[[], None]) -> Iterator[None]:
        """Inside, `wake` is called, from the other thread, to end a wait that only it can end."""
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
    """One thing to do in a thread of its own, and what can be seen of it from outside."""

    def __init__(self, action: Callable[["Task"], bool], gauge: Gauge) -> None:
        self._action = action
        self._outcome: Future[bool] = Future()
        self.gauge = gauge
        self.talk = Talk()
        self.stop = Stop()

    def run(self) -> None:
        try:
            self.stop.check()
            self._outcome.set_result(self._action(self))
        except BaseException as error:  # raised again where the outcome is asked for
            self._outcome.set_exception(error)
        finally:
            self.talk.end()

    def outcome(self) -> bool:
        """What the action returned, or raised."""
        return self._outcome.result()


@contextlib.contextmanager
def under_way(tasks: Sequence[Task], jobs: int) -> Iterator[None]:
    """Inside, the tasks are carried out in their order, so many at once; what is not done at the end is stopped."""
    waiting: queue.SimpleQueue[Task] = queue.SimpleQueue()
    for task in tasks:
        waiting.put(task)
    # Daemons: nobody waits for a thread that waits for a server.
    threads = [threading.Thread(target=_work, args=(waiting,), daemon=True) for _ in range(min(jobs, len(tasks)))]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for task in tasks:
            task.stop.want()
        for thread in threads:
            thread.join(GRACE / len(threads))


def _work(waiting: "queue.SimpleQueue[Task]") -> None:
    with contextlib.suppress(queue.Empty):
        while True:
            waiting.get_nowait().run()
