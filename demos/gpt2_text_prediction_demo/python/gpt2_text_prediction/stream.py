"""One continuation whose text is handed out as it is generated, to a thread or to asyncio."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from queue import SimpleQueue
from typing import TypeAlias

from gpt2_text_prediction.engine.scheduler import Scheduler, loop_queue, raise_error, running
from gpt2_text_prediction.generation.request import GenerateRequest, Prompt
from gpt2_text_prediction.input_processor import ProcessedPrompt
from gpt2_text_prediction.text.stopping import StoppingDetokenizer

_Event: TypeAlias = tuple[int, str, float] | GenerateRequest
"""A token with the text that it completes and its time, or the end."""


class Stream:
    """One continuation: iterate over its text once, with `for` or `async for`; its attributes grow with the iteration.

    tokens: the new ids, without the one that ends a text. finish_reason: None while it runs, "stop" at the end
    of the text or where a rule stops it, "length" at max_new_tokens or where the model's positions end. times:
    seconds on the clock, at the start and after each token. cut: how many characters of the prompt's beginning did
    not fit. Leaving the iteration cancels the request before its next step.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        prompt: ProcessedPrompt,
        text: StoppingDetokenizer,
        seed: tuple[int, int, int],
        clock: Callable[[], float],
    ) -> None:
        """Put the parts together; TextGenerator.stream makes them. seed: (seed, number of prompt, of sample)."""
        self.sampling = prompt.params.sampling
        self.seed = seed[0]
        self.prompt_tokens, self.cut = prompt.tokens, prompt.truncated_chars
        self.tokens: list[int] = []
        self.finish_reason: str | None = None
        self.times: list[float] = []
        self._scheduler: Scheduler | None = scheduler
        self._prompt, self._text = prompt, text
        self._seeds = seed
        self._clock = clock

    @property
    def out_of_positions(self) -> bool:
        """Whether it ended because prompt and continuation have filled all positions, or max_seq_len."""
        return self.finish_reason == "length" and self._prompt.fills_positions

    def __iter__(self) -> Iterator[str]:
        events: SimpleQueue[_Event] = SimpleQueue()
        with self._running(events.put):
            while self.finish_reason is None:
                if piece := self._take(events.get()):
                    yield piece

    async def __aiter__(self) -> AsyncIterator[str]:
        events, put = loop_queue()
        with self._running(put):
            while self.finish_reason is None:
                if piece := self._take(await events.get()):
                    yield piece

    def _running(self, put: Callable[[_Event], None]) -> AbstractContextManager[None]:
        scheduler, self._scheduler = self._scheduler, None  # one use; a stream that is kept must not keep the model
        if scheduler is None:
            raise RuntimeError("a stream is iterated over once: ask the generator for another")

        def on_token(token: int) -> bool:
            put((token, self._text.push(token), self._clock()))
            return self._text.stopped

        request = self._prompt.request(Prompt(self.prompt_tokens), self._seeds, put, on_token)
        self.times.append(self._clock())
        return running(scheduler, [request])

    def _take(self, event: _Event) -> str:
        if isinstance(event, GenerateRequest):
            raise_error(event)
            self.finish_reason = event.finish_reason
            if self.finish_reason == "stop" and not self._text.stopped:  # by the end token, which is not in tokens
                self.times.append(self._clock())
            return self._text.close()
        token, piece, at = event
        self.times.append(at)
        self.tokens.append(token)
        return piece
