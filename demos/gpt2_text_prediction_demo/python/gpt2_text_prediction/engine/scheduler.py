"""Many callers' tasks on one engine: each is a row as long as it runs, in steps as full as they can be.

It knows no text and draws no token: what a row computes next and what comes of its logits, its task knows. The
engine is used by one thread, which lives as long as there is work; callers in any thread hand tasks over, and are
told of their ends in that thread.
"""

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from threading import RLock, Thread, current_thread
from typing import NamedTuple, Protocol

from gpt2_text_prediction.engine.engine import Engine
from gpt2_text_prediction.engine.sequence import Logits, Row
from gpt2_text_prediction.problem import Problem

MOST_ROWS = 16
MOST_CALLS = 1024
CHUNK = 1024
"""How many tokens of prompts a step computes where no row waits for its next token."""
CHUNK_BESIDE = 64
"""And where one does."""
DRAFTED = 16
"""How many tokens the rows that wait for their next one may have in a step, drafts included, if they are fewer."""


class Busy(Problem):
    """There are too many callers that wait already."""


class Cancelled(Exception):
    """The caller has asked for a task's end."""


class Task(Protocol):
    """A row's work. All but is_ready and positions is called by the scheduler's thread alone.

    positions: how many tokens its row has at most. An exception of `enter`, `next_row` or `take` ends this task alone;
    `end`, which is called once, raises none.
    """

    positions: int

    @property
    def done(self) -> bool:
        """Whether there is nothing left to compute."""

    def is_ready(self) -> bool:
        """Tell whether it can enter; one that waits for another task of its call cannot."""

    def enter(self) -> None:
        """Begin."""

    def needs(self) -> int:
        """Return how many tokens have to be computed before something comes of them."""

    def next_row(self, most: int) -> Row:
        """Return what to compute, `most` tokens at most."""

    def take(self, logits: Logits) -> None:
        """Take what was computed."""

    def end(self, error: Exception | None) -> None:
        """Leave, done or because of an error."""


CLOSED = "the generator is closed: load the model again"


class Call:
    """What one caller has handed over; `stopped` tells its tasks why they end before they are done."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.waiting = deque(tasks)
        self.stopped: Exception | None = None


class _Running(NamedTuple):
    call: Call
    task: Task


class _Direct(NamedTuple):
    rows: Sequence[Row]
    answer: "Future[list[Logits]]"


class Scheduler:
    """An engine and who waits for it."""

    def __init__(self, engine: Engine, most_rows: int = MOST_ROWS, most_calls: int = MOST_CALLS) -> None:
        """Share an engine, which nobody else may use from here on.

        most_rows: how many tasks run at once, fewer where the engine has no memory for them. most_calls: how many
        callers may have tasks that wait.
        """
        self._engine = engine
        self._most_rows, self._most_calls = most_rows, most_calls
        self._lock = RLock()  # of all below; the end of a stream that nobody reads may come within, from the collector
        self._calls: deque[Call] = deque()  # those with tasks that wait, in the order of their turns
        self._direct: deque[_Direct] = deque()
        self._stopped: list[Call] = []  # whose tasks are to be ended
        self._active: set[Call] = set()  # those with tasks that wait or run
        self._thread: Thread | None = None
        self._closed = False
        self._running: list[_Running] = []  # the thread's own

    def submit(self, tasks: Sequence[Task]) -> Call:
        """Hand over tasks, which begin in their order, in turns with those of other callers.

        Raises Busy where too many callers wait, and Problem after `close`.
        """
        call = Call(tasks)
        with self._lock:
            self._require_open()
            if len(self._calls) >= self._most_calls:
                raise Busy(f"{len(self._calls)} callers are waiting already: try again later")
            if tasks:
                self._calls.append(call)
                self._active.add(call)
                self._wake()
        return call

    def step(self, rows: Sequence[Row]) -> list[Logits]:
        """Do as Engine.step, from any thread but the scheduler's: a step of its own between those of the tasks."""
        direct = _Direct(rows, Future())
        with self._lock:
            self._require_open()
            self._direct.append(direct)
            self._wake()
        return direct.answer.result()

    def cancel(self, call: Call) -> None:
        """End a caller's tasks, with Cancelled, before the next step; those that have ended are not told again."""
        self._stop([call], Cancelled())

    def close(self) -> None:
        """End all tasks with a Problem, and wait for the thread's end; twice is as good as once."""
        with self._lock:
            self._closed = True
            active, thread = list(self._active), self._thread
        self._stop(active, Problem(CLOSED))
        if thread is not None and thread is not current_thread():
            with suppress(RuntimeError):  # Ctrl-C came while it was being started: there is nothing to wait for
                thread.join()

    def _require_open(self) -> None:
        if self._closed:
            raise Problem(CLOSED)

    def _wake(self) -> None:
        if self._thread is None or not self._thread.is_alive():  # Ctrl-C may have kept it from starting
            self._thread = Thread(target=self._work, name="gpt2 scheduler")
            self._thread.start()

    def _stop(self, calls: Sequence[Call], reason: Exception) -> None:
        with self._lock:
            for call in calls:
                if call in self._active and call.stopped is None:
                    call.stopped = reason
                    self._stopped.append(call)

    def _work(self) -> None:
        with self._lock:
            if self._thread is not current_thread():  # Ctrl-C kept it from starting, and another was started since
                return
        while True:
            self._end_stopped()
            while (one := self._next()) is not None:
                self._running.append(one)
                self._enter(one)
            with self._lock:
                direct = self._direct.popleft() if self._direct else None
                if not (self._running or self._calls or self._stopped or direct):
                    self._thread = None
                    return
            if direct:
                self._answer(direct)
            if self._running:
                self._step()

    def _end_stopped(self) -> None:
        with self._lock:
            stopped, self._stopped = self._stopped, []
            for call in stopped:
                self._active.discard(call)
                if call.waiting:
                    self._calls.remove(call)
        for call in stopped:
            for one in [one for one in self._running if one.call is call]:
                self._leave(one, call.stopped)
            for task in call.waiting:
                task.end(call.stopped)

    def _next(self) -> _Running | None:
        """Return the task that enters, if one can, and send its caller to the end of the line.

        One that is too large for the memory left keeps those behind it waiting, or it might wait for ever.
        """
        if len(self._running) >= self._most_rows:
            return None
        with self._lock:
            call = next((call for call in self._calls if call.waiting[0].is_ready()), None)
            if call is None:
                return None
            lengths = [one.task.positions for one in self._running]
            if lengths and not self._engine.fits([*lengths, call.waiting[0].positions]):
                return None
            self._calls.remove(call)
            task = call.waiting.popleft()
            if call.waiting:
                self._calls.append(call)
            return _Running(call, task)

    def _enter(self, one: _Running) -> None:
        try:
            one.task.enter()
        except Exception as error:  # the task's own, and its caller is told
            self._leave(one, error)
        else:
            self._leave_if_done(one)

    def _step(self) -> None:
        rows = self._rows()
        try:
            answers = self._engine.step([row for _, row in rows])
        except Exception as error:  # all their callers are told
            for one, _ in rows:
                self._leave(one, error)
            return
        for (one, _), logits in zip(rows, answers, strict=True):
            try:
                one.task.take(logits)
            except Exception as error:
                self._leave(one, error)
            else:
                self._leave_if_done(one)

    def _rows(self) -> list[tuple[_Running, Row]]:
        """Return a row for each task that waits for its next token, and for prompts as far as the chunk goes.

        A prompt that has begun goes on first, so that no row rests that has: a back end may forget it.
        """
        needs = [one.task.needs() for one in self._running]
        waiting = needs.count(1)
        drafted = max(1, DRAFTED // max(1, waiting))
        room = CHUNK_BESIDE if waiting else CHUNK
        rows = []
        for one, needed in zip(list(self._running), needs, strict=True):
            most = drafted if needed == 1 else min(needed, room)
            if not most:
                continue
            try:
                row = one.task.next_row(most)
            except Exception as error:
                self._leave(one, error)
                continue
            rows.append((one, row))
            room -= len(row.tokens) * (needed > 1)
        return rows

    def _leave_if_done(self, one: _Running) -> None:
        if one.task.done:
            self._leave(one, None)

    def _leave(self, one: _Running, error: Exception | None) -> None:
        self._running.remove(one)
        if not one.call.waiting and not any(other.call is one.call for other in self._running):
            with self._lock:
                self._active.discard(one.call)
        one.task.end(error)

    def _answer(self, direct: _Direct) -> None:
        try:
            direct.answer.set_result(self._engine.step(direct.rows))
        except Exception as error:  # its caller's
            direct.answer.set_exception(error)
