"""One continuation whose text is handed out as it is generated, to a thread or to asyncio."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from queue import SimpleQueue
from types import TracebackType
from typing import TypeAlias

from gpt2_text_prediction.answers import Call, Reading, Sample
from gpt2_text_prediction.engine.scheduler import Cancelled, RequestGroup, Scheduler, loop_queue
from gpt2_text_prediction.generation.request import FinishReason, GenerateRequest
from gpt2_text_prediction.input_processor import ProcessedPrompt
from gpt2_text_prediction.results import Result, TokenEvent

_Event: TypeAlias = TokenEvent | GenerateRequest
"""A token, or the end."""


class Stream:
    """One continuation: an iterator over its text, with `for` or `async for`; its attributes grow as it is read.

    It is computed from the first piece that is asked for, and from then on whether it is read or not, until it is
    closed, cancelled or no longer referred to; `with` closes it when the block is left.
    tokens: the new ids, that of the end of the text among them. finish_reason: None while it runs, then that of the
    result. prompt_tokens, cut, seed: as in Result.

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
        self.finish_reason: FinishReason | None = None
        self._call, self._processed, self._index = call, processed, index
        self.seed = Reading(call, index[0], processed).seed
        self._scheduler: Scheduler | None = scheduler
        self._group: RequestGroup | None = None
        self._sample: Sample | None = None
        self._get: Callable[[], _Event] | None = None
        self._get_async: Callable[[], Awaitable[_Event]] | None = None
        self._events: list[TokenEvent] = []
        self._shown = 0  # characters
        self._result: Result | None = None
        self._error: BaseException | None = None

    @property
    def tokens(self) -> list[int]:
        """The ids of the new tokens that have been read."""
        return [event.id for event in self._events]

    @property
    def times(self) -> list[float]:
        """Seconds on the clock, at the start and after each token that has been read; empty before the start."""
        return [] if self._sample is None else [self._call.start, *(event.time for event in self._events)]

    @property
    def result(self) -> Result:
        """The finished continuation. Raises RuntimeError while it is not."""
        if self._result is None:
            raise RuntimeError("the stream has not ended: iterate to its end, or close it")
        return self._result

    @property
    def out_of_positions(self) -> bool:
        """Whether it ended because prompt and continuation have filled all positions, or max_seq_len."""
        return self.finish_reason == "length" and self._processed.fills_positions

    def events(self) -> "Events":
        """Return an iterator over the events of its tokens, in place of the text; for `for` and for `async for`."""
        return Events(self)

    def cancel(self) -> None:
        """End it before its next step, from any thread; what has been computed can still be read, and then result."""
        if self._sample is None:
            self._end(self._begun().result([]))
        elif self._scheduler is not None and self._group is not None:
            self._scheduler.cancel(self._group)

    def close(self) -> None:
        """End it; result then has what was read."""
        self.cancel()
        if self._result is None and self._sample is not None:
            self._end(self._sample.reading.result(self._index[1], self._events, "cancelled"))

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        while self._result is None:
            if piece := self._take(self._next_event()):
                return piece
        raise StopIteration

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        while self._result is None:
            if piece := self._take(await self._next_event_async()):
                return piece
        raise StopAsyncIteration

    def __enter__(self) -> "Stream":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_group", None) is not None:
            self.cancel()

    def _begun(self, put: Callable[[_Event], None] = lambda event: None) -> Sample:
        self._call = self._call.begun()
        self._sample = Sample(Reading(self._call, self._index[0], self._processed), self._index[1], put, put)
        return self._sample

    def _submit(self, put: Callable[[_Event], None]) -> None:
        if self._error is not None:
            raise self._error
        if self._sample is not None:
            raise RuntimeError("a stream is read by threads or by asyncio, not by both")
        assert self._scheduler is not None
        try:
            self._group = self._scheduler.submit([self._begun(put).request])
        except BaseException as error:
            self._fail(error)
            raise

    def _fail(self, error: BaseException) -> None:
        """Be over without a result; whoever reads on gets the error again."""
        self._error, self._get, self._get_async = error, None, None
        self._group = self._scheduler = None

    def _next_event(self) -> _Event:
        if self._get is None:
            queue: SimpleQueue[_Event] = SimpleQueue()
            self._submit(queue.put)
            self._get = queue.get
        try:
            return self._get()
        except BaseException:  # Ctrl-C, which nobody may read on after
            self.cancel()
            raise

    async def _next_event_async(self) -> _Event:
        if self._get_async is None:
            queue, put = loop_queue()
            self._submit(put)
            self._get_async = queue.get
        try:
            return await self._get_async()
        except BaseException:
            self.cancel()
            raise

    def _take(self, event: _Event) -> str:
        """Take note of an event; return the text that it brings."""
        if isinstance(event, TokenEvent):
            self._events.append(event)
            self._shown += len(event.text)
            return event.text
        assert self._sample is not None
        if event.error is not None and not isinstance(event.error, Cancelled):
            self._fail(event.error)
            if isinstance(event.error, StopIteration | StopAsyncIteration):  # of a clock: it would look like the end
                raise RuntimeError("a callback has raised StopIteration") from event.error
            raise event.error
        result = self._sample.result(self._events)
        self._end(result)
        return result.text[self._shown :]

    def _end(self, result: Result) -> None:
        self._result, self.finish_reason = result, result.finish_reason
        self._group = self._scheduler = None  # a stream that is kept must not keep the model


class Events:
    """An iterator over a stream's events."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[TokenEvent]:
        return self

    def __next__(self) -> TokenEvent:
        while self._stream._result is None:
            event = self._stream._next_event()
            self._stream._take(event)
            if isinstance(event, TokenEvent):
                return event
        raise StopIteration

    def __aiter__(self) -> AsyncIterator[TokenEvent]:
        return self

    async def __anext__(self) -> TokenEvent:
        while self._stream._result is None:
            event = await self._stream._next_event_async()
            self._stream._take(event)
            if isinstance(event, TokenEvent):
                return event
        raise StopAsyncIteration
