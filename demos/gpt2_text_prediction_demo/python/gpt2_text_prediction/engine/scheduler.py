"""Continuous batching: the requests of many callers on one engine, in steps as full as they can be.

The engine is used by one thread, which lives as long as there is work. Callers in any thread submit requests and are
notified of their ends in that thread; `running`, `raise_error` and `loop_queue` are how a caller waits.
"""

import atexit
import ctypes
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from threading import RLock, Thread, current_thread
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from weakref import WeakSet

from gpt2_text_prediction.engine.engine import Engine
from gpt2_text_prediction.engine.sequence import Logits, StepInput
from gpt2_text_prediction.problem import Problem

if TYPE_CHECKING:
    import asyncio

MAX_NUM_SEQS = 16
MAX_WAITING_CALLERS = 1024
PREFILL_CHUNK = 1024
"""Most prompt tokens of a step in which no sequence decodes."""
PREFILL_CHUNK_BESIDE_DECODE = 64
"""Most prompt tokens of a step in which a sequence decodes, which waits for them."""
MAX_DECODE_TOKENS = 16
"""Token budget of all decoding sequences of a step, draft tokens included; each gets at least one."""
CLOSED = "the generator is closed: load the model again"
FORKED = "this process was forked from the one that loaded the model, whose threads it has not: load the model again"


class Busy(Problem):
    """Too many callers are waiting already."""


class Cancelled(Exception):
    """The caller has cancelled a request."""


class Request(Protocol):
    """One sequence's work. All but is_ready and positions is called by the scheduler's thread alone.

    positions: how many tokens the sequence has at most. An exception of `start`, `next_input` or `process_logits` ends
    this request alone; `end`, which is called once, raises none.
    """

    positions: int

    @property
    def done(self) -> bool:
        """Whether there is nothing left to compute."""

    def is_ready(self) -> bool:
        """Return whether it can start; one that waits for another request of its group cannot."""

    def start(self) -> None:
        """Start, with what the prefix cache has."""

    def num_tokens_to_compute(self) -> int:
        """Return how many tokens have to be computed before the next logits that it needs."""

    def next_input(self, max_tokens: int) -> StepInput:
        """Return what to compute next, max_tokens at most."""

    def process_logits(self, logits: Logits) -> None:  # [W, V]
        """Take the logits of the last input."""

    def end(self, error: BaseException | None) -> None:
        """End, done or because of an error."""


class RequestGroup:
    """The requests that one caller has submitted; `stopped`: why they end before they are done."""

    def __init__(self, requests: Sequence[Request]) -> None:
        self.waiting = deque(requests)
        self.stopped: BaseException | None = None


class _Running(NamedTuple):
    group: RequestGroup
    request: Request


class _DirectStep(NamedTuple):
    inputs: Sequence[StepInput]
    answer: "Future[list[Logits]]"


class Scheduler:
    """An engine, and the requests that run on it or wait for it."""

    def __init__(
        self, engine: Engine, max_num_seqs: int = MAX_NUM_SEQS, max_waiting_callers: int = MAX_WAITING_CALLERS
    ) -> None:
        """Share an engine, which nobody else may use from here on.

        max_num_seqs: how many requests run at once, fewer where the engine has no memory for them.
        max_waiting_callers: how many callers may have requests that wait, beside those for whom there is a place.
        """
        self._engine = engine
        self._max_num_seqs, self._max_waiting_callers = max_num_seqs, max_waiting_callers
        # Guards all below. Reentrant: the collector may end an abandoned stream, and so call cancel, while it is held.
        self._lock = RLock()
        self._groups: deque[RequestGroup] = deque()  # those with requests that wait, in the order of their turns
        self._direct: deque[_DirectStep] = deque()
        self._stopped: list[RequestGroup] = []  # whose requests are to be ended
        self._active: set[RequestGroup] = set()  # those with requests that wait or run
        self._thread: Thread | None = None
        self._closed: str | None = None  # why nothing more can be submitted
        self._running: list[_Running] = []  # the thread's own, so not guarded
        _SCHEDULERS.add(self)

    def submit(self, requests: Sequence[Request]) -> RequestGroup:
        """Submit requests, which start in their order, in turns with those of other callers.

        Raises Busy where too many callers wait, Problem after `close`, and RuntimeError in a request's own callback,
        which would wait for itself.
        """
        group = RequestGroup(requests)
        with self._lock:
            self.require_open()
            places = self._max_num_seqs - len(self._running)  # for those who start before the next step
            if (waiting := len(self._groups) - places) >= self._max_waiting_callers:
                raise Busy(f"{waiting} callers are waiting already: try again later")
            if requests:
                self._groups.append(group)
                self._active.add(group)
                self._wake()
        return group

    def step(self, inputs: Sequence[StepInput]) -> list[Logits]:
        """Do as Engine.step, from any thread but the scheduler's: a step of its own between those of the requests."""
        direct = _DirectStep(inputs, Future())
        with self._lock:
            self.require_open()
            self._direct.append(direct)
            self._wake()
        return direct.answer.result()

    def cancel(self, group: RequestGroup) -> None:
        """End a caller's requests, with Cancelled, before the next step; those that have ended are not ended again."""
        self._stop([group], Cancelled())

    def require_open(self) -> None:
        """Raise Problem where it is closed, and RuntimeError in a callback of a request."""
        if self._closed:
            raise Problem(self._closed)
        if self._thread is current_thread():
            raise RuntimeError("a generator was called by a callback of its own request, and would wait for itself")

    def close(self) -> None:
        """End all requests with a Problem and wait for the thread to end; closing twice does no harm."""
        with self._lock:
            self._closed = self._closed or CLOSED
            active, thread = list(self._active), self._thread
        self._stop(active, Problem(CLOSED))
        if thread is not None and thread is not current_thread():
            with suppress(RuntimeError):  # Ctrl-C came while it was being started: there is nothing to wait for
                thread.join()

    def forked(self) -> None:
        """Close in a child process: the threads are not there, and the lock may be held by one of them for ever."""
        self._closed, self._thread, self._lock = FORKED, None, RLock()
        # OpenVINO would wait for its own threads when it releases a model: the child never does.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._engine))
        for request in [*(each.request for each in self._running), *(r for g in self._groups for r in g.waiting)]:
            request.end(Problem(FORKED))

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
        while True:
            self._end_stopped()
            while (running := self._next_request()) is not None:
                self._running.append(running)
                self._start(running)
            with self._lock:
                direct = self._direct.popleft() if self._direct else None
                if not (self._running or self._groups or self._stopped or direct):
                    self._thread = None
                    return
            if direct:
                self._run_direct(direct)
            if self._running:
                self._step()

    def _end_stopped(self) -> None:
        with self._lock:
            stopped, self._stopped = self._stopped, []
            for group in stopped:
                self._active.discard(group)
                if group.waiting:
                    self._groups.remove(group)
        for group in stopped:
            for running in [running for running in self._running if running.group is group]:
                self._end(running, group.stopped)
            for request in group.waiting:
                request.end(group.stopped)

    def _next_request(self) -> _Running | None:
        """Return the request that starts, if one can, and send its caller to the end of the line.

        One that is too large for the memory left is not overtaken by those after it, or it might wait for ever.
        """
        if len(self._running) >= self._max_num_seqs:
            return None
        with self._lock:
            group = next((group for group in self._groups if group.waiting[0].is_ready()), None)
            if group is None:
                return None
            lengths = [running.request.positions for running in self._running]
            if lengths and not self._engine.fits([*lengths, group.waiting[0].positions]):
                return None
            self._groups.remove(group)
            request = group.waiting.popleft()
            if group.waiting:
                self._groups.append(group)
            return _Running(group, request)

    def _start(self, running: _Running) -> None:
        try:
            running.request.start()
        except BaseException as error:  # the request's own, such as a clock's SystemExit: its caller gets it
            self._end(running, error)
        else:
            self._end_if_done(running)

    def _step(self) -> None:
        scheduled = self._schedule()
        try:
            answers = self._engine.step([step_input for _, step_input in scheduled])
        except Exception as error:  # all their callers get it
            for running, _ in scheduled:
                self._end(running, error)
            return
        for (running, _), logits in zip(scheduled, answers, strict=True):
            try:
                running.request.process_logits(logits)
            except BaseException as error:
                self._end(running, error)
            else:
                self._end_if_done(running)

    def _schedule(self) -> list[tuple[_Running, StepInput]]:
        """Return an input for each sequence that decodes, and for prompts as far as the chunk goes.

        A prompt that has begun goes on first: a back end may preempt a sequence that is not in a step (block_pool).
        """
        needs = [running.request.num_tokens_to_compute() for running in self._running]
        decoding = needs.count(1)
        decode_tokens = max(1, MAX_DECODE_TOKENS // max(1, decoding))
        chunk_left = PREFILL_CHUNK_BESIDE_DECODE if decoding else PREFILL_CHUNK
        scheduled = []
        for running, needed in zip(list(self._running), needs, strict=True):
            max_tokens = decode_tokens if needed == 1 else min(needed, chunk_left)
            if not max_tokens:
                continue
            try:
                step_input = running.request.next_input(max_tokens)
            except BaseException as error:
                self._end(running, error)
                continue
            scheduled.append((running, step_input))
            chunk_left -= len(step_input.tokens) * (needed > 1)
        return scheduled

    def _end_if_done(self, running: _Running) -> None:
        if running.request.done:
            self._end(running, None)

    def _end(self, running: _Running, error: BaseException | None) -> None:
        self._running.remove(running)
        group = running.group
        if not group.waiting and not any(other.group is group for other in self._running):
            with self._lock:
                self._active.discard(group)
        running.request.end(error)

    def _run_direct(self, direct: _DirectStep) -> None:
        try:
            direct.answer.set_result(self._engine.step(direct.inputs))
        except Exception as error:  # its caller gets it
            direct.answer.set_exception(error)


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
