"""How a caller waits for what the scheduler's thread does for it: in a thread, or in a loop of asyncio."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol

from gpt2_text_prediction.engine.scheduler import Scheduler, Task

if TYPE_CHECKING:
    import asyncio


class Ended(Protocol):
    """A task that has ended; error: why, where it was not done."""

    error: Exception | None


@contextmanager
def running(scheduler: Scheduler, tasks: Sequence[Task]) -> Iterator[None]:
    """Run tasks; those that have not ended when the block is left are ended before their next step."""
    call = scheduler.submit(tasks)
    try:
        yield
    finally:
        scheduler.cancel(call)


def raise_error(ended: Ended) -> None:
    """Raise what ended a task before it was done."""
    if ended.error is not None:
        raise ended.error


def loop_queue() -> tuple["asyncio.Queue[Any]", Callable[[Any], None]]:
    """Return a queue of the running loop, and what puts something in from another thread."""
    import asyncio  # noqa: PLC0415  # 50 ms, which the demo need not wait for

    loop, queue = asyncio.get_running_loop(), asyncio.Queue[Any]()

    def put(event: Any) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(queue.put_nowait, event)

    return queue, put
