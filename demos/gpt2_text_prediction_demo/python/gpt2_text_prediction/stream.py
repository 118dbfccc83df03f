"""One continuation, whose text is handed out as it is made, to a thread or to asyncio. It prints nothing."""

import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeAlias

from gpt2_text_prediction.engine.waiting import loop_queue, raise_error, running
from gpt2_text_prediction.generation.logits_processors import require_known, require_lengths
from gpt2_text_prediction.generation.request import Generation, Prompt
from gpt2_text_prediction.generation.sampling import Sampling
from gpt2_text_prediction.text.stopping import StoppableText, TextRules

if TYPE_CHECKING:
    from gpt2_text_prediction.generator import TextGenerator

_Event: TypeAlias = tuple[int, str, float] | Generation
"""A token with the text that it completes and its time, or the end."""


class Stream:
    """One continuation: iterate over its text once, with `for` or `async for`; the rest grows with the iteration.

    tokens: the new ids, without the one that ends a text. finish_reason: None while it runs, "stop" at the end
    of the text or where a rule stops it, "length" at max_new_tokens or where the model's positions end. times:
    seconds on the clock, at the start and after each token. cut: how many characters of the prompt's beginning did
    not fit. Leaving the iteration ends it, before its next step.
    """

    def __init__(  # noqa: PLR0913, PLR0917  # what `stream` was given
        self,
        generator: "TextGenerator",
        prompt: str,
        sampling: Sampling,
        max_new_tokens: int,
        rules: TextRules,
        index: tuple[int, int],
        clock: Callable[[], float],
    ) -> None:
        require_lengths(sampling, max_new_tokens)
        require_known(sampling, generator.engine.vocab_size)
        self.sampling = sampling
        self.seed = secrets.randbits(32) if sampling.seed is None else sampling.seed
        self.prompt_tokens, self.cut = generator.fitting_tokens(prompt, rules, max_new_tokens)
        self.tokens: list[int] = []
        self.finish_reason: str | None = None
        self.times: list[float] = []
        self._generator = generator
        self._clock = clock
        self._text = StoppableText(generator.tokenizer, rules)
        slide = rules.context_overflow == "slide"
        self._room = max_new_tokens + 1 if slide else generator.engine.n_positions - len(self.prompt_tokens)
        self._plan = generator.plan(sampling, (self.seed, *index), min(max_new_tokens, self._room), False, slide)

    @property
    def out_of_positions(self) -> bool:
        """Whether it ended because prompt and continuation have filled all positions, or max_seq_len."""
        return self.finish_reason == "length" and len(self.tokens) == self._room

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
        scheduler = self._generator.scheduler
        if self.times:
            raise RuntimeError("a stream is iterated over once: ask the generator for another")
        prompt = Prompt(self.prompt_tokens)

        def on_token(token: int) -> bool:
            put((token, self._text.push(token), self._clock()))
            return self._text.stopped

        generation = self._generator.generation(prompt, self._plan, put, on_token)
        self.times.append(self._clock())
        return running(scheduler, [generation])

    def _take(self, event: _Event) -> str:
        if isinstance(event, Generation):
            raise_error(event)
            self.finish_reason = event.finish_reason
            if self.finish_reason == "stop" and not self._text.stopped:  # by a token that is not told
                self.times.append(self._clock())
            return self._text.close()
        token, piece, at = event
        self.times.append(at)
        self.tokens.append(token)
        return piece
