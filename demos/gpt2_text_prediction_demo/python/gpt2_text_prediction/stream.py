"""One continuation whose text is handed out as it is generated, to a thread or to asyncio."""

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from queue import SimpleQueue
from threading import Lock
from types import TracebackType
from typing import Any, NamedTuple

from gpt2_text_prediction.answers import Call, Reading, Sample, seed_of
from gpt2_text_prediction.engine.scheduler import Busy, Cancelled, RequestGroup, Scheduler, loop_queue
from gpt2_text_prediction.generation.request import FinishReason
from gpt2_text_prediction.input_processor import ProcessedPrompt
from gpt2_text_prediction.results import Result, TokenEvent


class _Source(NamedTuple):
    """Where the events of a stream that has begun come from: TokenEvents, and at the end the GenerateRequest."""

    get: Callable[[], Any]
    put: Callable[[Any], None]
    is_async: bool
    sample: Sample
    group: RequestGroup


class _Taken(NamedTuple):
    """What was read: the event of a token, or None at the end, and the text that it brings."""

    event: TokenEvent | None
    text: str


class Stream:
    """One continuation: an iterator over its text, with `for` or `async for`; its attributes grow as it is read.

    It is computed from the first piece that is asked for, and from then on whether it is read or not, until it is
    closed, cancelled or no longer referred to; `with` closes it when the block is left. Several readers share its
    pieces. tokens: the new ids, that of the end of the text among them. finish_reason: None while it runs, then that
    of the result. prompt_tokens, cut, seed: as in Result.

    >>> from gpt2_text_prediction import TextGenerator
    >>> with TextGenerator("gpt-2-mini") as gpt2:
    ...     stream = gpt2.stream("The poem was", max_new_tokens=5, temperature=0)
    ...     text = "".join(stream)
    >>> text == stream.result.text, stream.result.finish_reason
    (True, 'length')
    """

    def __init__(self, scheduler: Scheduler, call: Call, processed: ProcessedPrompt, index: tuple[int, int]) -> None:
        """Put the parts together; TextGenerator.stream makes them. index: the numbers of prompt and sample."""
        self.sampling = processed.how
        self.prompt_tokens, self.cut = processed.tokens, processed.truncated_chars
        self.seed = seed_of(call, processed)
        self._call, self._processed, self._index = call, processed, index
        # New where _source, _result and _error are None; running where _source is there; over with a result or an
        # error, which never change. The lock guards these and the events that were read.
        self._lock = Lock()
        self._scheduler: Scheduler | None = scheduler
        self._source: _Source | None = None
        self._result: Result | None = None
        self._error: BaseException | None = None
        self._events: list[TokenEvent] = []
        self._shown = 0  # characters

    @property
    def tokens(self) -> list[int]:
        """The ids of the new tokens that have been read."""
        return [event.id for event in self._events]

    @property
    def times(self) -> list[float]:
        """Seconds on the clock, at the start and after each token that has been read; empty before the start."""
        if math.isnan(self._call.start):
            return []
        return [self._call.start, *(event.time for event in self._events)]

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why it has ended; None before."""
        return None if self._result is None else self._result.finish_reason

    @property
    def result(self) -> Result:
        """The finished continuation. Raises RuntimeError while it is not, and what ended it before it was done."""
        if self._error is not None:
            raise self._error
        if self._result is None:
            raise RuntimeError("the stream has not ended: iterate to its end, or close it")
        return self._result

    @property
    def out_of_positions(self) -> bool:
        """Whether it ended because prompt and continuation have filled all positions, or max_seq_len."""
        return self.finish_reason == "length" and self._processed.fills_positions

    def events(self) -> "Events":
        """Return an iterator over the events of its tokens, in place of the text; for `for` and for `async for`.

        Text that was held back when it was cancelled, or its time was over, is in no event but in the result.
        """
        return Events(self)

    def cancel(self) -> None:
        """End it before its next step, from any thread; what has been computed can still be read, and then result."""
        with self._lock:
            if self._source is not None and self._scheduler is not None:
                self._scheduler.cancel(self._source.group)
            elif self._result is None and self._error is None:
                self._call = self._call.begun()
                self._end(self._reading().result(self._index[1], [], "cancelled"))

    def close(self) -> None:
        """End it; result then has what was read."""
        self.cancel()
        with self._lock:
            if self._source is not None and self._result is None and self._error is None:
                result = self._source.sample.reading.result(self._index[1], list(self._events), "cancelled")
                self._end(result)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        while (taken := self._next()) is not None:
            if taken.text:
                return taken.text
        raise StopIteration

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        while (taken := await self._next_async()) is not None:
            if taken.text:
                return taken.text
        raise StopAsyncIteration

    def __enter__(self) -> "Stream":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # The collector may run this in any thread, whatever locks it holds: nothing here waits for one.
        source, scheduler = getattr(self, "_source", None), getattr(self, "_scheduler", None)
        if source is not None and scheduler is not None:
            scheduler.drop(source.group)

    def _reading(self) -> Reading:
        return Reading(self._call, self._index[0], self._processed)

    def _begin(
        self, make_queue: Callable[[], tuple[Callable[[], Any], Callable[[Any], None]]], is_async: bool
    ) -> _Source | None:
        """Return where to read; None where it is over. Raises what it failed with, and Busy, after which it is new."""
        with self._lock:
            if self._error is not None:
                raise self._error
            if self._result is not None:
                return None
            if self._source is None:
                self._source = self._submitted(*make_queue(), is_async)
            elif self._source.is_async != is_async:
                raise RuntimeError("a stream is read by threads or by asyncio, not by both")
            return self._source

    def _submitted(self, get: Callable[[], Any], put: Callable[[Any], None], is_async: bool) -> _Source:
        assert self._scheduler is not None
        call = self._call
        self._call = call.begun()
        try:
            sample = Sample(self._reading(), self._index[1], put, put)
            return _Source(get, put, is_async, sample, self._scheduler.submit([sample.request]))
        except Busy:
            self._call = call
            raise
        except BaseException as error:
            self._fail(error)
            raise

    def _next(self) -> _Taken | None:
        """Return what comes next; None where it is over."""
        source = self._begin(_thread_queue, is_async=False)
        if source is None:
            return None
        try:
            event = source.get()
        except BaseException:  # Ctrl-C, which nobody may read on after
            self.cancel()
            raise
        return self._take(event)

    async def _next_async(self) -> _Taken | None:
        source = self._begin(_task_queue, is_async=True)
        if source is None:
            return None
        got: Awaitable[Any] = source.get()
        try:
            event = await got
        except BaseException:
            self.cancel()
            raise
        return self._take(event)

    def _take(self, event: Any) -> _Taken | None:
        """Take note of an event."""
        with self._lock:
            source, is_token = self._source, isinstance(event, TokenEvent)
            assert source is not None
            if not is_token:
                source.put(event)  # for whoever else waits for the end
            if self._result is not None or self._error is not None:  # closed meanwhile, or ended by another reader
                return None
            if is_token:
                self._events.append(event)
                self._shown += len(event.text)
                return _Taken(event, event.text)
            try:
                if event.error is not None and not isinstance(event.error, Cancelled):
                    raise event.error
                result = source.sample.result(list(self._events))
            except (StopIteration, StopAsyncIteration) as error:  # of a clock: it would look like the end
                self._fail(RuntimeError("a callback has raised StopIteration"))
                raise RuntimeError("a callback has raised StopIteration") from error
            except BaseException as error:
                self._fail(error)
                raise
            self._end(result)
            return _Taken(None, result.text[self._shown :])

    def _end(self, result: Result) -> None:
        self._result = result
        self._scheduler = None  # a stream that is kept must not keep the model

    def _fail(self, error: BaseException) -> None:
        self._error = error
        self._scheduler = None


class Events:
    """An iterator over a stream's events."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[TokenEvent]:
        return self

    def __next__(self) -> TokenEvent:
        while (taken := self._stream._next()) is not None:
            if taken.event is not None:
                return taken.event
        raise StopIteration

    def __aiter__(self) -> AsyncIterator[TokenEvent]:
        return self

    async def __anext__(self) -> TokenEvent:
        while (taken := await self._stream._next_async()) is not None:
            if taken.event is not None:
                return taken.event
        raise StopAsyncIteration


def _thread_queue() -> tuple[Callable[[], Any], Callable[[Any], None]]:
    queue: SimpleQueue[Any] = SimpleQueue()
    return queue.get, queue.put


def _task_queue() -> tuple[Callable[[], Any], Callable[[Any], None]]:
    queue, put = loop_queue()
    return queue.get, put
