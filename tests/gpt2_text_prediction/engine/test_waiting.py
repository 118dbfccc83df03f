"""waiting: what is put in by another thread arrives in a loop, also in one that has gone."""

import asyncio
import threading

import pytest

from gpt2_text_prediction.engine.scheduler import loop_queue, raise_error
from gpt2_text_prediction.generation.request import PrefixCache, ScoreRequest


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
    reading = ScoreRequest([1, 2], 0, PrefixCache(), lambda place, logits: None, lambda ended: None)
    raise_error(reading)
    reading.end(ZeroDivisionError("why"))
    with pytest.raises(ZeroDivisionError, match="why"):
        raise_error(reading)
