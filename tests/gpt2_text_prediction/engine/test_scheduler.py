"""scheduler: who enters, who waits, who leaves, with tasks that note what they are given.

That whole texts come out right in any schedule, generation/test_request.py says. How a caller waits, in a thread or in
asyncio, is at the end.
"""

import asyncio
import threading
import time
from queue import SimpleQueue

import numpy as np
import pytest

from gpt2_text_prediction import Problem
from gpt2_text_prediction.engine.scheduler import (
    CLOSED,
    MAX_DECODE_TOKENS,
    PREFILL_CHUNK,
    PREFILL_CHUNK_BESIDE_DECODE,
    Busy,
    Cancelled,
    Scheduler,
    loop_queue,
    raise_error,
)
from gpt2_text_prediction.engine.sequence import NoRoom, SequenceCache, StepInput
from gpt2_text_prediction.generation.request import GenerateRequest, PrefixCache, Prompt, RequestParams
from gpt2_text_prediction.generation.sampling import Sampling
from support import HANGS_AFTER, until
from support.toy import Toy

TOY = Toy(n_positions=130, vocab_size=11, seed=4)


class Noting:
    """An engine that computes nothing: it notes each step and holds it until it may pass.

    room: tokens of all sequences of a step, that it has memory for.
    """

    def __init__(self, room: int = 100_000) -> None:
        self.steps: list[list[tuple[str, int]]] = []
        self.room = room
        self.n_positions = 1 << 20
        self.gate = threading.Semaphore(10_000)
        self.entered = threading.Semaphore(0)
        self.error: Exception | None = None

    def fits(self, lengths) -> bool:
        return sum(lengths) <= self.room

    def step(self, rows):
        self.entered.release()
        assert self.gate.acquire(timeout=HANGS_AFTER)
        if self.error:
            raise self.error
        if len(rows) > 1 and sum(row.cache.length for row in rows) > self.room:
            raise NoRoom("no memory")
        self.steps.append([(row.cache.name, len(row.tokens)) for row in rows])
        return [np.zeros((len(row.logits_indices), 3), np.float32) for row in rows]


class Named(SequenceCache):
    name = ""
    length = 0


class Work:
    """A task: a prompt, then so many tokens one by one, in one sequence or several; it notes its own end."""

    def __init__(self, name: str, prompt: int, new: int, ended: SimpleQueue, **more) -> None:
        self.cache = Named()
        self.cache.name = name
        self.cache.length = prompt
        self.num_seqs, self.deadline = more.get("num_seqs", 1), more.get("deadline")
        self.prompt, self.new = prompt, new
        self.ended = ended
        self.is_ready = more.get("ready", lambda: True)
        self.broken = ""
        self.limits: list[int] = []
        self.error: Exception | None = None
        self.row = StepInput(self.cache, [0])
        self.threads: set[str] = set()

    @property
    def done(self) -> bool:
        return self.new == 0

    def start(self) -> None:
        self.call("enter")

    def lengths(self) -> list[int]:
        return [self.cache.length] * self.num_seqs

    def num_tokens_to_compute(self) -> int:
        return self.prompt or 1

    def next_inputs(self, most: int) -> list[StepInput]:
        self.call("next_row")
        self.limits.append(most)
        self.row = StepInput(self.cache, [0] * (min(most, self.prompt) or 1))
        return [self.row] * self.num_seqs

    def process_logits(self, logits) -> None:
        self.call("take")
        assert len(logits) == self.num_seqs
        if self.prompt:
            self.prompt -= len(self.row.tokens)
        if not self.prompt:
            self.new -= 1
            self.cache.length += 1

    def expire(self) -> None:
        self.new = 0

    def end(self, error) -> None:
        self.error = error
        self.ended.put(self)

    def call(self, name: str) -> None:
        self.threads.add(threading.current_thread().name)
        if self.broken == name:
            raise ZeroDivisionError(name)


@pytest.fixture
def ended() -> SimpleQueue:
    return SimpleQueue()


def wait(ended: SimpleQueue, count: int) -> list[str]:
    return [ended.get(timeout=HANGS_AFTER).cache.name for _ in range(count)]


def names(engine: Noting) -> list[str]:
    return ["".join(name for name, _ in step) for step in engine.steps]


def held(engine: Noting, scheduler: Scheduler, ended: SimpleQueue) -> Work:
    """Submit a task "x" of two steps, and return when the first of them is under way, held."""
    engine.gate = threading.Semaphore(0)
    first = Work("x", 1, 2, ended)
    scheduler.submit([first])
    assert engine.entered.acquire(timeout=HANGS_AFTER)
    return first


def test_waiting_tasks_enter_where_finished_ones_left(ended):
    engine = Noting()
    scheduler = Scheduler(engine, max_num_seqs=2)
    scheduler.submit([Work(name, 1, new, ended) for name, new in zip("abcd", (1, 3, 2, 1), strict=True)])
    assert wait(ended, 4) == ["a", "b", "c", "d"]
    assert names(engine) == ["ab", "bc", "bc", "d"]


def test_callers_take_turns(ended):
    engine = Noting()
    scheduler = Scheduler(engine, max_num_seqs=1)
    held(engine, scheduler, ended)
    scheduler.submit([Work(name, 1, 1, ended) for name in "abc"])
    scheduler.submit([Work("d", 1, 1, ended)])
    scheduler.submit([Work("e", 1, 1, ended), Work("f", 1, 1, ended)])
    engine.gate.release(100)
    wait(ended, 7)
    assert names(engine) == ["x", "x", "a", "d", "e", "b", "f", "c"]


def test_a_caller_may_submit_more_which_comes_after_what_it_has(ended):
    engine = Noting()
    scheduler = Scheduler(engine, max_num_seqs=1, max_waiting_callers=2)
    held(engine, scheduler, ended)
    group = scheduler.submit([Work(name, 1, 1, ended) for name in "ab"])
    scheduler.submit([Work(name, 1, 1, ended) for name in "cd"])
    scheduler.submit([Work("e", 1, 1, ended)], group)  # no caller more, of whom there may be no more
    engine.gate.release(100)
    wait(ended, 6)
    assert names(engine) == ["x", "x", "a", "c", "b", "d", "e"]
    scheduler.submit([Work("f", 1, 1, ended)], group)  # after all have ended
    assert wait(ended, 1) == ["f"]


def test_what_was_submitted_later_is_cancelled_with_the_rest(ended):
    engine = Noting()
    scheduler = Scheduler(engine, max_num_seqs=1)
    group = scheduler.submit([])
    scheduler.submit([Work("a", 1, 1, ended)], group)
    wait(ended, 1)
    engine.gate = threading.Semaphore(0)
    tasks = [Work("b", 1, 9, ended), Work("c", 1, 1, ended)]
    scheduler.submit(tasks[:1], group)
    scheduler.submit(tasks[1:], group)
    scheduler.cancel(group)
    engine.gate.release(100)
    wait(ended, 2)
    assert [type(task.error) for task in tasks] == [Cancelled, Cancelled]


def test_a_long_prompt_comes_in_chunks_beside_those_that_run(ended):
    engine = Noting()
    scheduler = Scheduler(engine)
    held(engine, scheduler, ended).new = 5
    scheduler.submit([Work("p", 2 * PREFILL_CHUNK_BESIDE_DECODE + 2, 1, ended)])
    engine.gate.release(100)
    wait(ended, 2)
    assert engine.steps[1:4] == [
        [("x", 1), ("p", PREFILL_CHUNK_BESIDE_DECODE)],
        [("x", 1), ("p", PREFILL_CHUNK_BESIDE_DECODE)],
        [("x", 1), ("p", 2)],
    ]


def test_prompts_beside_those_that_run_have_a_share_of_a_step_for_each(ended):
    engine = Noting()
    scheduler = Scheduler(engine, prefill_chunk=3 * PREFILL_CHUNK_BESIDE_DECODE)
    held(engine, scheduler, ended).new = 9
    scheduler.submit([Work(name, 2 * PREFILL_CHUNK_BESIDE_DECODE, 1, ended) for name in "abcd"])
    engine.gate.release(100)
    wait(ended, 5)
    computed = [sum(count for name, count in step if name != "x") for step in engine.steps[1:]]
    # At most the chunk, whatever waits; then 2 shares of two prompts; then one.
    assert computed[:5] == [192, 192, 64, 64, 0]


def test_a_caller_with_many_prompts_does_not_go_before_one_with_one(ended):
    engine = Noting()
    scheduler = Scheduler(engine, prefill_chunk=10)
    scheduler.submit([Work("x", 1, 1, ended)])
    wait(ended, 1)
    with scheduler._lock:  # so that all begin together
        scheduler.submit([Work(name, 10, 1, ended) for name in "abc"])
        scheduler.submit([Work("d", 10, 1, ended)])
    assert wait(ended, 4)[:2] == ["a", "d"]


def test_the_place_that_is_left_is_for_who_has_the_fewest(ended):
    engine = Noting()
    scheduler = Scheduler(engine, max_num_seqs=3)
    engine.gate = threading.Semaphore(0)
    scheduler.submit([Work(name, 1, 50, ended) for name in "aa"])
    assert engine.entered.acquire(timeout=HANGS_AFTER)
    scheduler.submit([Work("b", 1, 2, ended), Work("b", 1, 2, ended), Work("b", 1, 2, ended)])
    scheduler.submit([Work("c", 1, 2, ended)])
    engine.gate.release(1000)
    assert wait(ended, 4) == ["b", "c", "b", "b"]


def test_a_caller_with_nothing_that_runs_takes_a_place_of_one_with_many(ended):
    engine = Noting()
    scheduler = Scheduler(engine, max_num_seqs=3)
    engine.gate = threading.Semaphore(0)
    scheduler.submit([Work(name, 1, 9, ended) for name in "abcd"])
    assert engine.entered.acquire(timeout=HANGS_AFTER)
    scheduler.submit([Work("x", 1, 2, ended)])
    engine.gate.release(1000)
    assert wait(ended, 1) == ["x"]  # beside a and b; c waits
    assert sorted(wait(ended, 4)) == ["a", "b", "c", "d"]
    assert sum("c" in step for step in names(engine)) == 9  # it went on where it was
    assert names(engine)[1:3] == ["abx", "abx"]


def test_one_text_each_of_many_callers_is_not_put_off_again_and_again(ended):
    engine = Noting()
    scheduler = Scheduler(engine, max_num_seqs=2)
    with scheduler._lock:
        for name in "abcdef":
            scheduler.submit([Work(name, 1, 4, ended)])
    assert wait(ended, 6) == [*"abcdef"]
    assert len(engine.steps) == 12


@pytest.mark.parametrize("texts_of_a_caller", [1, 300], ids=["many callers", "one caller"])
def test_of_many_texts_that_wait_few_are_looked_at_when_one_starts(ended, texts_of_a_caller):
    scheduler, looked_at = Scheduler(Noting(), max_num_seqs=2), []

    def ready() -> bool:
        looked_at.append(1)
        return True

    works = [Work("a", 1, 2, ended, ready=ready) for _ in range(300)]
    with scheduler._lock:
        for first in range(0, 300, texts_of_a_caller):
            scheduler.submit(works[first : first + texts_of_a_caller])
    wait(ended, 300)
    assert len(looked_at) < 4 * 300


def test_a_prompt_that_waits_for_another_lets_those_after_it_start(ended):
    engine = Noting()
    scheduler = Scheduler(engine)
    first = Work("a", 5, 1, ended)
    scheduler.submit([first, Work("b", 1, 1, ended, ready=lambda: first.done), Work("c", 5, 1, ended)])
    wait(ended, 3)
    assert names(engine) == ["ac", "b"]


def test_beams_that_run_do_not_keep_callers_from_waiting(ended):
    engine = Noting()
    scheduler = Scheduler(engine, max_num_seqs=1, max_waiting_callers=2)
    engine.gate = threading.Semaphore(0)
    scheduler.submit([Work("b", 1, 2, ended, num_seqs=9)])
    assert engine.entered.acquire(timeout=HANGS_AFTER)
    for name in "xy":
        scheduler.submit([Work(name, 1, 1, ended)])
    with pytest.raises(Busy, match=r"^2 callers are waiting already"):
        scheduler.submit([Work("z", 1, 1, ended)])
    engine.gate.release(100)
    wait(ended, 3)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("broken", ["lengths", "num_tokens_to_compute"])
def test_a_bug_in_a_task_ends_all_rather_than_hangs(ended, broken):
    engine = Noting()
    scheduler = Scheduler(engine, max_num_seqs=2)

    def bug() -> None:
        raise ZeroDivisionError(broken)

    tasks = [Work("a", 1, 3, ended), Work("b", 1, 3, ended), Work("c", 1, 3, ended)]
    setattr(tasks[1], broken, bug)
    with scheduler._lock:
        scheduler.submit(tasks)
        thread = scheduler._thread
    wait(ended, 3)
    assert {type(task.error) for task in tasks} == {ZeroDivisionError}
    thread.join(HANGS_AFTER)  # which then shows the bug; pytest would count it to the next test
    scheduler.submit([Work("d", 1, 1, ended)])
    assert wait(ended, 1) == ["d"]


def test_an_error_at_a_deadline_is_its_tasks_alone(ended):
    scheduler = Scheduler(Noting())
    broken = Work("a", 1, 10**9, ended, deadline=time.monotonic())

    def bug() -> None:
        raise OverflowError

    broken.expire = bug
    scheduler.submit([broken])
    assert isinstance(ended.get(timeout=HANGS_AFTER).error, OverflowError)
    scheduler.submit([Work("b", 1, 1, ended)])
    assert wait(ended, 1) == ["b"]


def test_deadlines_of_tasks_that_have_ended_are_let_go(ended):
    scheduler = Scheduler(Noting())
    for _ in range(500):
        scheduler.submit([Work("a", 1, 1, ended, deadline=time.monotonic() + 1e6)])
        wait(ended, 1)
    assert len(scheduler._deadlines) < 200


def test_several_sequences_of_one_task_take_as_many_places(ended):
    engine = Noting()
    scheduler = Scheduler(engine, max_num_seqs=4)
    scheduler.submit([Work("a", 1, 1, ended), Work("b", 1, 1, ended, num_seqs=4), Work("c", 1, 1, ended)])
    wait(ended, 3)
    assert names(engine) == ["a", "bbbb", "c"]


def test_sequences_of_one_task_that_have_no_memory_together_come_one_after_another(ended):
    engine = Noting(room=6)
    scheduler = Scheduler(engine)
    scheduler.submit([Work("b", 3, 1, ended, num_seqs=5)])
    wait(ended, 1)
    assert names(engine) == ["bb", "b", "bb"]


def test_a_task_ends_at_its_deadline_whether_it_runs_or_waits(ended):
    engine = Noting()
    scheduler = Scheduler(engine, max_num_seqs=1)
    now = time.monotonic()
    scheduler.submit([Work("a", 1, 10**9, ended, deadline=now), Work("b", 1, 10**9, ended, deadline=now + 0.01)])
    scheduler.submit([Work("c", 1, 3, ended), Work("d", 1, 1, ended, deadline=now)])
    scheduler.submit([Work("e", 1, 1, ended, deadline=now + 1e6)])
    ended_tasks = [ended.get(timeout=HANGS_AFTER) for _ in range(5)]
    assert {task.cache.name for task in ended_tasks} == set("abcde")
    assert [task.error for task in ended_tasks] == [None] * 5
    until(lambda: not scheduler._active)


@pytest.mark.parametrize("num_seqs", [1, 9])
def test_a_deadline_that_passes_after_its_task_was_cancelled_does_nothing(ended, num_seqs):
    engine = Noting()
    scheduler = Scheduler(engine, max_num_seqs=num_seqs)
    held(engine, scheduler, ended)
    soon = time.monotonic() + 0.05
    tasks = [Work(name, 1, 10**9, ended, deadline=soon) for name in "abc"]
    scheduler.cancel(scheduler.submit(tasks))
    engine.gate.release(10**6)
    assert {type(ended.get(timeout=HANGS_AFTER).error) for _ in range(4)} == {Cancelled, type(None)}
    late = Work("z", 1, 10**9, ended, deadline=soon + 0.1)
    scheduler.submit([late])  # runs past all deadlines
    assert ended.get(timeout=HANGS_AFTER) is late
    assert [type(task.error) for task in tasks] == [Cancelled] * 3


def test_closing_may_wait_for_what_runs_and_takes_nothing_more(ended):
    engine = Noting()
    scheduler = Scheduler(engine, max_num_seqs=1)
    running = held(engine, scheduler, ended)
    waiting = Work("a", 1, 1, ended)
    scheduler.submit([waiting])
    closing = threading.Thread(target=scheduler.close, args=(HANGS_AFTER,))
    closing.start()
    until(lambda: scheduler._closed is not None)
    with pytest.raises(Problem, match="closed"):
        scheduler.submit([Work("b", 1, 1, ended)])
    engine.gate.release(100)
    closing.join(HANGS_AFTER)
    assert wait(ended, 2) == ["x", "a"]
    assert (running.error, waiting.error) == (None, None)


def test_closing_waits_no_longer_than_it_may(ended):
    engine = Noting()
    scheduler = Scheduler(engine)
    work = Work("a", 1, 10**9, ended)
    scheduler.submit([work])
    scheduler.close(0.01)
    assert str(work.error) == CLOSED


def test_what_runs_and_waits_is_counted(ended):
    engine = Noting()
    scheduler = Scheduler(engine, max_num_seqs=2)
    held(engine, scheduler, ended)
    scheduler.submit([Work(name, 1, 5, ended) for name in "abc"])
    engine.gate.release(1)
    assert engine.entered.acquire(timeout=HANGS_AFTER)
    assert scheduler.counts() == (2, 2)
    engine.gate.release(100)
    wait(ended, 4)
    assert scheduler.counts() == (0, 0)


def test_prompts_alone_come_in_larger_chunks(ended):
    engine = Noting()
    scheduler = Scheduler(engine)
    scheduler.submit([Work("p", PREFILL_CHUNK + 5, 1, ended)])
    wait(ended, 1)
    assert engine.steps == [[("p", PREFILL_CHUNK)], [("p", 5)]]


def test_rows_are_given_fewer_drafts_the_more_they_are(ended):
    engine = Noting()
    scheduler = Scheduler(engine, max_num_seqs=40)
    for count in (1, 4, 40):
        tasks = [Work("a", 1, 1, ended) for _ in range(count)]
        held(engine, scheduler, ended)
        scheduler.submit(tasks)
        engine.gate.release(100)
        wait(ended, count + 1)
        assert tasks[0].limits == [max(1, MAX_DECODE_TOKENS // (count + 1))]


def test_tasks_wait_for_memory_and_small_ones_do_not_pass_a_large_one(ended):
    engine = Noting(room=MAX_DECODE_TOKENS + 10)
    scheduler = Scheduler(engine)
    scheduler.submit([Work("a", 1, 3, ended), Work("b", 10, 2, ended), Work("c", 1, 1, ended)])
    wait(ended, 3)
    assert names(engine) == ["a", "a", "a", "b", "b", "c"]


def test_where_memory_ends_the_last_to_begin_wait_and_go_on_when_there_is_some(ended):
    engine = Noting(room=2 * MAX_DECODE_TOKENS + 20)
    scheduler = Scheduler(engine)
    with scheduler._lock:
        scheduler.submit([Work("a", 10, 30, ended)])
        scheduler.submit([Work("b", 8, 20, ended)])
    assert sorted(wait(ended, 2)) == ["a", "b"]
    steps = names(engine)
    assert (sum("a" in step for step in steps), sum("b" in step for step in steps)) == (30, 20)
    together = steps.index("a")
    assert steps[:together] == ["ab"] * together  # as long as there is room for both
    assert set(steps[together:30]) == {"a"}
    assert set(steps[30:]) == {"b"}


def test_a_task_too_large_for_any_memory_runs_alone(ended):
    engine = Noting(room=10)
    scheduler = Scheduler(engine)
    scheduler.submit([Work("a", 20, 1, ended), Work("b", 1, 1, ended)])
    assert wait(ended, 2) == ["a", "b"]
    assert names(engine) == ["a", "b"]


def test_a_task_that_is_not_ready_does_not_keep_other_callers_waiting(ended):
    engine = Noting()
    scheduler = Scheduler(engine)
    first = held(engine, scheduler, ended)
    scheduler.submit([Work("a", 1, 1, ended, ready=lambda: first.done)])
    scheduler.submit([Work("b", 1, 1, ended)])
    engine.gate.release(100)
    wait(ended, 3)
    assert names(engine) == ["x", "xb", "a"]


def test_all_is_done_in_one_thread_that_ends_with_the_work(ended):
    scheduler = Scheduler(Noting())
    tasks = [Work("a", 3, 3, ended) for _ in range(5)]
    for task in tasks:
        scheduler.submit([task])
    wait(ended, 5)
    scheduler.close()
    assert {name for task in tasks for name in task.threads} == {"gpt2 scheduler"}
    assert "gpt2 scheduler" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize("broken", ["enter", "next_row", "take"])
def test_what_a_task_raises_ends_that_task_alone(ended, broken):
    engine = Noting()
    scheduler = Scheduler(engine)
    tasks = [Work("a", 1, 2, ended), Work("b", 1, 2, ended), Work("c", 1, 2, ended)]
    tasks[1].broken = broken
    scheduler.submit(tasks)
    assert sorted(wait(ended, 3)) == ["a", "b", "c"]
    assert [type(task.error) for task in tasks] == [type(None), ZeroDivisionError, type(None)]


def test_a_step_that_fails_ends_its_tasks_and_the_next_runs(ended):
    engine = Noting()
    scheduler = Scheduler(engine, max_num_seqs=2)
    held(engine, scheduler, ended)
    waiting = [Work("a", 1, 1, ended), Work("b", 1, 1, ended)]
    engine.error = Problem("cannot be run")
    scheduler.submit(waiting)
    engine.gate.release()
    assert str(ended.get(timeout=HANGS_AFTER).error) == "cannot be run"
    engine.error = None
    engine.gate.release(100)
    wait(ended, 2)
    assert [task.error for task in waiting] == [None, None]


def test_cancelling_frees_the_rows_and_ends_what_waits(ended):
    engine = Noting()
    scheduler = Scheduler(engine, max_num_seqs=1)
    engine.gate = threading.Semaphore(0)
    tasks = [Work("a", 1, 50, ended), Work("b", 1, 1, ended)]
    call = scheduler.submit(tasks)
    assert engine.entered.acquire(timeout=HANGS_AFTER)
    scheduler.submit([Work("c", 1, 1, ended)])
    scheduler.cancel(call)
    scheduler.cancel(call)
    engine.gate.release(100)
    wait(ended, 3)
    assert [type(task.error) for task in tasks] == [Cancelled, Cancelled]
    assert names(engine) == ["a", "c"]


@pytest.mark.parametrize("step", range(5))
def test_cancelling_at_any_step_lets_the_others_end(ended, step):
    engine = Noting()
    scheduler = Scheduler(engine)
    engine.gate = threading.Semaphore(0)
    call = scheduler.submit([Work("a", 2, 4, ended)])
    scheduler.submit([Work("b", 2, 4, ended)])
    for _ in range(step):
        assert engine.entered.acquire(timeout=HANGS_AFTER)
        engine.gate.release()
    scheduler.cancel(call)
    engine.gate.release(100)
    assert sorted(wait(ended, 2)) == ["a", "b"]
    assert sum("b" in name for name in names(engine)) == 4


def test_what_is_cancelled_while_others_start_has_no_further_step(ended):
    engine = Noting()
    scheduler = Scheduler(engine)
    engine.gate = threading.Semaphore(0)
    call = scheduler.submit([Work("a", 1, 9, ended)])
    assert engine.entered.acquire(timeout=HANGS_AFTER)
    scheduler.submit([Work("b", 1, 2, ended, ready=lambda: scheduler.cancel(call) is None)])
    engine.gate.release(100)
    wait(ended, 2)
    assert names(engine) == ["a", "b", "b"]


def test_cancelling_what_has_ended_does_nothing(ended):
    scheduler = Scheduler(Noting())
    call = scheduler.submit([Work("a", 1, 1, ended)])
    wait(ended, 1)
    scheduler.cancel(call)
    scheduler.submit([Work("b", 1, 1, ended)])
    assert wait(ended, 1) == ["b"]
    assert ended.empty()


def test_more_callers_than_may_wait_are_told_so(ended):
    engine = Noting()
    scheduler = Scheduler(engine, max_num_seqs=1, max_waiting_callers=2)
    held(engine, scheduler, ended)
    for name in "ab":
        scheduler.submit([Work(name, 1, 1, ended)])
    with pytest.raises(Busy, match=r"^2 callers are waiting already: try again later$"):
        scheduler.submit([Work("c", 1, 1, ended)])
    engine.gate.release(100)
    wait(ended, 3)
    scheduler.submit([Work("c", 1, 1, ended)])
    assert wait(ended, 1) == ["c"]


def test_no_tasks_are_nothing_to_wait_for():
    scheduler = Scheduler(Noting())
    scheduler.cancel(scheduler.submit([]))
    scheduler.close()


def test_closing_ends_all_and_takes_nothing_more(ended):
    engine = Noting()
    scheduler = Scheduler(engine, max_num_seqs=1)
    running = held(engine, scheduler, ended)
    waiting = Work("a", 1, 1, ended)
    scheduler.submit([waiting])
    closing = threading.Thread(target=scheduler.close)
    closing.start()
    while not scheduler._stopped:
        pass
    engine.gate.release(100)
    closing.join(HANGS_AFTER)
    assert {str(running.error), str(waiting.error)} == {CLOSED}
    with pytest.raises(Problem, match="closed"):
        scheduler.submit([])


def test_a_task_may_close_the_scheduler(ended):
    scheduler = Scheduler(Noting())
    work = Work("a", 1, 5, ended)
    work.call = lambda name: scheduler.close() if name == "take" else None
    scheduler.submit([work])
    wait(ended, 1)
    assert str(work.error) == CLOSED


def in_a_thread(work) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_a_loop_gets_all_in_order():
    async def take() -> list[int]:
        queue, put = loop_queue()
        in_a_thread(lambda: [put(n) for n in range(100)])
        return [await queue.get() for _ in range(100)]

    assert asyncio.run(take()) == list(range(100))


def test_for_a_loop_that_is_closed_nobody_waits():
    async def leave():
        return loop_queue()[1]

    asyncio.run(leave())(1)


def test_the_error_that_ended_a_task_is_raised():
    reading = GenerateRequest(Prompt([1, 2]), RequestParams(Sampling(), (0,), 1), PrefixCache(), lambda ended: None)
    raise_error(reading)
    reading.end(ZeroDivisionError("why"))
    with pytest.raises(ZeroDivisionError, match="why"):
        raise_error(reading)
