"""Continuous batching: the requests of many callers on one engine, in steps as full as they can be.

The engine is used by one thread, which lives as long as there is work. Callers in any thread submit requests and are
notified of their ends in that thread; `running`, `raise_error` and `loop_queue` are how a caller waits.
"""

import atexit
import ctypes
import heapq
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count, islice
from threading import RLock, Thread, current_thread
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from weakref import ReferenceType, WeakSet, ref

from gpt2_text_prediction.engine.engine import Engine
from gpt2_text_prediction.engine.sequence import Logits, NoRoom, StepInput
from gpt2_text_prediction.problem import Problem

if TYPE_CHECKING:
    import asyncio

MAX_NUM_SEQS, MAX_NUM_SEQS_PADDED = 64, 16
"""Sequences at once, by default: in a paged cache, and where those of one step are padded to the longest."""
MAX_WAITING_CALLERS = 1024
PREFILL_CHUNK = 1024
"""Most prompt tokens of a step."""
PREFILL_CHUNK_BESIDE_DECODE = 64
"""Of a step in which a sequence decodes, which waits for them, most prompt tokens for each prompt that is not computed:
one such prompt hardly slows the others down, and many do not wait for each other."""
MAX_DECODE_TOKENS = 16
"""Token budget of all decoding sequences of a step, draft tokens included; each gets at least one."""
CLOSED = "the generator is closed: load the model again"
FORKED = "this process was forked from the one that loaded the model, whose threads it has not: load the model again"


class Busy(Problem):
    """Too many callers are waiting already.

    >>> from gpt2_text_prediction import Busy, Problem
    >>> issubclass(Busy, Problem)  # to be caught first, and tried again later
    True
    """


class Cancelled(Exception):
    """The caller has cancelled a request."""


class Request(Protocol):
    """One text's work: a sequence, or several. Its methods are called by the scheduler's thread alone.

    num_seqs: how many sequences it has at most. deadline: when it ends at the latest, in seconds of time.monotonic.
    An exception of `start`, `next_inputs`, `process_logits` or `expire` ends this request alone; the others raise none.
    `end` is called once, also by a child process that has inherited it.
    """

    num_seqs: int
    deadline: float | None

    @property
    def done(self) -> bool:
        """Whether there is nothing left to compute."""

    def is_ready(self) -> bool:
        """Return whether it can start; one that waits for another request of its group cannot."""

    def start(self) -> None:
        """Start, with what the prefix cache has."""

    def lengths(self) -> Sequence[int]:
        """Return how many tokens each of its sequences has now, but those that it shares with one before it."""

    def num_tokens_to_compute(self) -> int:
        """Return how many tokens of each sequence have to be computed before the next logits that it needs."""

    def next_inputs(self, max_tokens: int) -> list[StepInput]:
        """Return what to compute next, at most max_tokens of each sequence. Asked again, where that had no memory."""

    def process_logits(self, logits: list[Logits]) -> None:  # of each sequence [W, V]
        """Take the logits of the last inputs."""

    def expire(self) -> None:
        """Be done with what there is: the deadline has passed."""

    def end(self, error: BaseException | None) -> None:
        """End, done or because of an error."""


class RequestGroup:
    """The requests that one caller has submitted; `stopped`: why they end before they are done."""

    def __init__(self) -> None:
        self.waiting: deque[_Task] = deque()
        self.stopped: BaseException | None = None


@dataclass(eq=False)
class _Task:
    """A request of a caller's. has_started: whether it has run before; has_begun: whether a token was computed."""

    group: RequestGroup
    request: Request
    has_started: bool = False
    has_begun: bool = False

    def is_ready(self) -> bool:
        """Return whether it can run."""
        return self.has_started or self.request.is_ready()


class _Scheduled(NamedTuple):
    task: _Task
    inputs: list[StepInput]


class Scheduler:
    """An engine, and the requests that run on it or wait for it."""

    def __init__(
        self,
        engine: Engine,
        max_num_seqs: int = MAX_NUM_SEQS,
        max_waiting_callers: int = MAX_WAITING_CALLERS,
        prefill_chunk: int = PREFILL_CHUNK,
    ) -> None:
        """Share an engine, which nobody else may use from here on.

        max_num_seqs: how many sequences run at once, fewer where the engine has no memory for them.
        max_waiting_callers: how many callers may have requests that wait, beside those for whom there is a place.
        prefill_chunk: how many tokens of prompts a step computes at most.
        """
        self._engine = engine
        self._max_num_seqs, self._max_waiting_callers = max_num_seqs, max_waiting_callers
        self._prefill_chunk = prefill_chunk
        # Guards all below. Reentrant: the collector may end an abandoned stream, and so call cancel, while it is held.
        self._lock = RLock()
        self._groups: deque[RequestGroup] = deque()  # those with requests that wait, in the order of their turns
        self._stopped: list[RequestGroup] = []  # whose requests are to be ended
        self._active: set[RequestGroup] = set()  # those with requests that wait or run
        self._deadlines: list[tuple[float, int, ReferenceType[_Task]]] = []  # a heap
        self._most_deadlines = MAX_NUM_SEQS
        self._dropped: deque[RequestGroup] = deque()  # to be cancelled; guarded by nothing, see drop
        self._submitted = count()  # tells requests of the same deadline apart
        self._thread: Thread | None = None
        self._closed: str | None = None  # why nothing more can be submitted
        self._running: list[_Task] = []  # changed by the thread alone, so not guarded
        _SCHEDULERS.add(self)

    def submit(self, requests: Sequence[Request], group: RequestGroup | None = None) -> RequestGroup:
        """Submit requests, which start in their order, in turns with those of other callers.

        group: the caller's earlier requests, whose turns these share and which start before them; not one that was
        cancelled.
        Raises Busy where too many callers wait, Problem after `close`, and RuntimeError in a request's own callback,
        which would wait for itself.
        """
        with self._lock:
            self.require_open()
            if group is None:
                # For those who start before the next step.
                places = max(0, self._max_num_seqs - self._num_seqs())
                if (waiting := len(self._groups) - places) >= self._max_waiting_callers:
                    raise Busy(f"{waiting} callers are waiting already: try again later")
                group = RequestGroup()
            if requests:
                tasks = [_Task(group, request) for request in requests]
                if not group.waiting:
                    self._groups.append(group)
                group.waiting.extend(tasks)
                self._active.add(group)
                self._add_deadlines(tasks)
                self._wake()
        return group

    def _add_deadlines(self, tasks: Sequence[_Task]) -> None:
        if len(self._deadlines) > self._most_deadlines:  # many may be of requests that have ended
            self._deadlines = [entry for entry in self._deadlines if entry[-1]() is not None]
            heapq.heapify(self._deadlines)
            self._most_deadlines = 2 * len(self._deadlines) + MAX_NUM_SEQS
        for task in tasks:
            if task.request.deadline is not None:
                heapq.heappush(self._deadlines, (task.request.deadline, next(self._submitted), ref(task)))

    def counts(self) -> tuple[int, int]:
        """Return how many requests run and how many wait."""
        with self._lock:
            return len(self._running), sum(len(group.waiting) for group in self._groups)

    def cancel(self, group: RequestGroup) -> None:
        """End a caller's requests, with Cancelled, before the next step; those that have ended are not ended again."""
        self._stop([group], Cancelled())

    def drop(self, group: RequestGroup) -> None:
        """Do as cancel, for a caller who may be the garbage collector, in any thread: it waits for no lock."""
        self._dropped.append(group)

    def require_open(self) -> None:
        """Raise Problem where it is closed, and RuntimeError in a callback of a request."""
        if self._closed:
            raise Problem(self._closed)
        if self._thread is current_thread():
            raise RuntimeError("a generator was called by a callback of its own request, and would wait for itself")

    def close(self, timeout: float = 0.0) -> None:
        """Take no more requests; end those that are not done after timeout seconds with a Problem, and the thread.

        Closing twice does no harm.
        """
        with self._lock:
            self._closed = self._closed or CLOSED
            thread = self._thread
        if thread is current_thread():
            thread = None
        if timeout > 0:
            self._join(thread, timeout)
        with self._lock:
            active = list(self._active)
        self._stop(active, Problem(CLOSED))
        self._join(thread)

    def _join(self, thread: Thread | None, timeout: float | None = None) -> None:
        if thread is not None:
            with suppress(RuntimeError):  # Ctrl-C came while it was being started: there is nothing to wait for
                thread.join(timeout)

    def forked(self) -> None:
        """Close in a child process: the threads are not there, and the lock may be held by one of them for ever."""
        self._closed, self._thread, self._lock = FORKED, None, RLock()
        # OpenVINO would wait for its own threads when it releases a model: the child never does.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._engine))
        for task in [*self._running, *(task for group in self._groups for task in group.waiting)]:
            task.request.end(Problem(FORKED))

    def _wake(self) -> None:
        if self._thread is None or not self._thread.is_alive():  # Ctrl-C may have kept it from starting
            # A daemon, or the end of the program would wait for a text that nobody reads; _close_all ends it.
            self._thread = Thread(target=self._work, name="gpt2 scheduler", daemon=True)
            self._thread.start()

    def _stop(self, groups: Sequence[RequestGroup], reason: Exception) -> None:
        with self._lock:
            for group in groups:
                if group in self._active and group.stopped is None:
                    group.stopped = reason
                    self._stopped.append(group)

    def _work(self) -> None:
        with self._lock:
            if self._thread is not current_thread():  # Ctrl-C kept it from starting, and another was started since
                return
        try:
            while self._turn():
                pass
        except BaseException as error:  # a bug, which nobody may wait for
            self._end_all(error)
            raise

    def _turn(self) -> bool:
        """End what has to end, start what can, and run a step; return False where there is nothing left to do."""
        while self._dropped:
            self.cancel(self._dropped.popleft())
        self._end_stopped()
        self._end_expired()
        while (task := self._next_task()) is not None:
            self._running.append(task)
            self._start(task)
        with self._lock:
            if self._stopped:  # while others started: they end before the next step
                return True
            if not (self._running or self._groups):
                self._thread = None
                return False
        if self._running:
            self._step()
        return True

    def _end_all(self, error: BaseException) -> None:
        with self._lock:
            waiting = [task for group in self._groups for task in group.waiting]
            tasks, self._thread = [*self._running, *waiting], None
            self._running.clear()
            self._groups.clear()
            self._active.clear()
        for task in tasks:
            task.request.end(error)

    def _end_stopped(self) -> None:
        if not self._stopped:
            return
        with self._lock:
            stopped, self._stopped = self._stopped, []
            waiting: list[_Task] = []
            for group in stopped:
                self._active.discard(group)
                if group.waiting:
                    self._groups.remove(group)
                    waiting += group.waiting
                    group.waiting.clear()
        for task in [task for task in self._running if task.group in stopped]:
            self._end(task, task.group.stopped)
        for task in waiting:
            task.request.end(task.group.stopped)

    def _end_expired(self) -> None:
        """End the requests whose deadline has passed, which are done."""
        while self._deadlines and self._deadlines[0][0] <= time.monotonic():
            with self._lock:
                *_, found = heapq.heappop(self._deadlines)
                task = found()
                is_waiting = task is not None and task in task.group.waiting
                if task is not None and is_waiting:
                    self._remove_waiting(task)
            if task is None or not (is_waiting or task in self._running):
                continue
            error = None
            try:
                task.request.expire()
            except Exception as problem:  # its caller gets it
                error = problem
            self._end(task, error)

    def _remove_waiting(self, task: _Task) -> None:
        task.group.waiting.remove(task)
        if not task.group.waiting:
            self._groups.remove(task.group)

    def _next_task(self) -> _Task | None:
        """Return the request that starts or goes on, if one can: of the caller who has the fewest that run, in turns.

        A caller of whom nothing runs takes a place of the one who has the most, whose last text then waits. A request
        that is too large for the memory left is not overtaken by those after it, or it might wait for ever.
        """
        if not self._groups:
            return None
        with self._lock:
            shares = Counter(task.group for task in self._running)
            task = self._of_fewest(shares)
            if task is None:
                return None
            if self._running and not self._has_place(task.request):
                most = max(shares, key=lambda group: shares[group])
                if shares[task.group] or shares[most] < 2:
                    return None
                self._pause(next(other for other in reversed(self._running) if other.group is most))
                if not self._has_place(task.request):
                    return None
            group = task.group
            self._groups.remove(group)
            group.waiting.remove(task)
            if group.waiting:
                self._groups.append(group)
            return task

    def _of_fewest(self, shares: Mapping[RequestGroup, int]) -> _Task | None:
        """Return the first request that can run of the caller who has the fewest that do, the first of several.

        None can have fewer than none, so that most of many callers are not looked at.
        """
        found: _Task | None = None
        for group in self._groups:
            if found is not None and shares[group] >= shares[found.group]:
                continue
            found = self._first_ready(group) or found
            if found is not None and not shares[found.group]:
                break
        return found

    def _first_ready(self, group: RequestGroup) -> _Task | None:
        """Return the first request of a caller that can run, of as many as might run at once."""
        return next((task for task in islice(group.waiting, self._max_num_seqs) if task.is_ready()), None)

    def _pause(self, task: _Task) -> None:
        """Let a request wait that runs; what a back end forgets of it meanwhile is computed again."""
        self._running.remove(task)
        if not task.group.waiting:
            self._groups.append(task.group)
        task.group.waiting.appendleft(task)

    def _has_place(self, request: Request) -> bool:
        """Return whether a request can run beside the others now, and at their next step.

        What they may grow to is not reserved: most end before. Where memory ends, the last ones wait (_compute).
        """
        if self._num_seqs() + request.num_seqs > self._max_num_seqs:
            return False
        lengths = [length for task in self._running for length in task.request.lengths()]
        grown = [min(length + MAX_DECODE_TOKENS, self._engine.n_positions) for length in lengths]
        return self._engine.fits([*grown, *request.lengths()])

    def _num_seqs(self) -> int:
        return sum(task.request.num_seqs for task in self._running)

    def _start(self, task: _Task) -> None:
        if task.has_started:
            return
        task.has_started = True
        try:
            task.request.start()
        except BaseException as error:  # the request's own, such as a clock's SystemExit: its caller gets it
            self._end(task, error)
        else:
            self._end_if_done(task)

    def _step(self) -> None:
        scheduled = self._schedule()
        try:
            scheduled, answers = self._compute(scheduled)
        except Exception as error:  # all their callers get it
            for task, _ in scheduled:
                self._end(task, error)
            return
        rest = iter(answers)
        for task, inputs in scheduled:
            logits = [next(rest) for _ in inputs]
            task.has_begun = True
            try:
                task.request.process_logits(logits)
            except BaseException as error:
                self._end(task, error)
            else:
                self._end_if_done(task)

    def _compute(self, scheduled: list[_Scheduled]) -> tuple[list[_Scheduled], list[Logits]]:
        """Run a step with as many of the requests as there is memory for; the last ones wait for a later step.

        Their blocks are taken by the others, who go on, and they are computed again (block_pool).
        """
        while len(scheduled) > 1:
            try:
                return scheduled, self._engine.step([one for _, inputs in scheduled for one in inputs])
            except NoRoom:
                scheduled = scheduled[:-1]
        return scheduled, self._in_parts(scheduled[0].inputs) if scheduled else []

    def _in_parts(self, inputs: list[StepInput]) -> list[Logits]:
        """Run one request's sequences in one step, or where there is no memory for that, in halves."""
        try:
            return self._engine.step(inputs)
        except NoRoom:
            if len(inputs) == 1:
                raise
            half = len(inputs) // 2
            return [*self._in_parts(inputs[:half]), *self._in_parts(inputs[half:])]

    def _schedule(self) -> list[_Scheduled]:
        """Return inputs for each request that decodes, and for prompts as far as the chunk goes."""
        in_order = [(task, task.request.num_tokens_to_compute()) for task in self._in_turns()]
        decoding = sum(task.request.num_seqs for task, needed in in_order if needed == 1)
        decode_tokens = max(1, MAX_DECODE_TOKENS // max(1, decoding))
        chunk_left = self._prefill_chunk
        if decoding:
            prompts = sum(needed > 1 for _, needed in in_order)
            chunk_left = min(chunk_left, prompts * PREFILL_CHUNK_BESIDE_DECODE)
        scheduled = []
        for task, needed in in_order:
            max_tokens = decode_tokens if needed == 1 else min(needed, chunk_left)
            if not max_tokens:
                continue
            try:
                inputs = task.request.next_inputs(max_tokens)
            except BaseException as error:
                self._end(task, error)
                continue
            scheduled.append(_Scheduled(task, inputs))
            if needed > 1:
                chunk_left -= sum(len(each.tokens) for each in inputs)
        return scheduled

    def _in_turns(self) -> list[_Task]:
        """Return the requests that have begun, the first first, and then the others, their callers in turns.

        A prompt that has begun goes on first: a back end may preempt a sequence that is not in a step (block_pool).
        """
        begun = [task for task in self._running if task.has_begun]
        if len(begun) == len(self._running):
            return begun
        turns: Counter[RequestGroup] = Counter()
        others = []
        for task in self._running:
            if not task.has_begun:
                others.append((turns[task.group], task))
                turns[task.group] += 1
        return begun + [task for _, task in sorted(others, key=lambda pair: pair[0])]

    def _end_if_done(self, task: _Task) -> None:
        if task.request.done:
            self._end(task, None)

    def _end(self, task: _Task, error: BaseException | None) -> None:
        if task in self._running:
            self._running.remove(task)
        group = task.group
        with self._lock:
            if not group.waiting and not any(other.group is group for other in self._running):
                self._active.discard(group)
        task.request.end(error)


_SCHEDULERS: WeakSet[Scheduler] = WeakSet()


@atexit.register
def _close_all() -> None:
    """Cancel what still runs at the end of the program: a thread inside OpenVINO then would crash it."""
    for scheduler in list(_SCHEDULERS):
        scheduler.close()


def _forked() -> None:
    for scheduler in list(_SCHEDULERS):
        scheduler.forked()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_forked)


class Ended(Protocol):
    """A request that has ended; error: why, where it was not done."""

    error: BaseException | None


@contextmanager
def running(scheduler: Scheduler, requests: Sequence[Request]) -> Iterator[None]:
    """Run requests; those that have not ended when the block is left are cancelled before their next step."""
    group = scheduler.submit(requests)
    del requests  # or those that have ended would be held by this frame until all have
    try:
        yield
    finally:
        scheduler.cancel(group)


def raise_error(ended: Ended) -> None:
    """Raise what ended a request before it was done."""
    if ended.error is not None:
        raise ended.error


def loop_queue() -> tuple["asyncio.Queue[Any]", Callable[[Any], None]]:
    """Return a queue of the running asyncio loop, and a function that puts an event into it from another thread."""
    import asyncio  # noqa: PLC0415  # takes 50 ms, and the demo does not use it

    loop, queue = asyncio.get_running_loop(), asyncio.Queue[Any]()

    def put(event: Any) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(queue.put_nowait, event)

    return queue, put
