"""Answers while they are computed: from a request's tokens to events, at its end to Results; and all of a call."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from gpt2_text_prediction.engine.scheduler import raise_error
from gpt2_text_prediction.engine.sequence import Logits
from gpt2_text_prediction.generation.beam_search import BeamRequest, Beams, Continuation
from gpt2_text_prediction.generation.logprobs import TokenLogprobs, checked, token_logprobs
from gpt2_text_prediction.generation.request import FinishReason, GenerateRequest, NewToken, Prompt
from gpt2_text_prediction.generation.sampling import Sampling
from gpt2_text_prediction.input_processor import ProcessedPrompt
from gpt2_text_prediction.results import PerfMetrics, Progress, Result, TokenEvent
from gpt2_text_prediction.text.stopping import StoppingDetokenizer


@dataclass(frozen=True)
class Call:
    """What all texts of one call share.

    logprobs, prompt_logprobs: None for none, else how many of the likeliest tokens are told beside each new one and
    each token of the prompt. max_time: seconds from its beginning to its end at the latest. properties: of the device.
    seed: where the settings have none. start: when it began, in seconds of the clock. deadline: as in Request.
    """

    logprobs: int | None
    prompt_logprobs: int | None
    max_time: float | None
    properties: Mapping[str, str]
    seed: int
    clock: Callable[[], float]
    start: float = math.nan
    deadline: float | None = None

    def begun(self) -> "Call":
        """Return the same, begun now."""
        deadline = None if self.max_time is None else time.monotonic() + self.max_time
        return replace(self, start=self.clock(), deadline=deadline)


def seed_of(call: Call, processed: ProcessedPrompt) -> int:
    """Return the seed of a prompt's draws: the settings' own, else the call's; 0 of beams, which draw nothing."""
    given = processed.how.seed if isinstance(processed.how, Sampling) else 0
    return call.seed if given is None else int(given)


class Reading:
    """A prompt that the samples of a call continue, with the log-probabilities of its tokens, if they are asked for."""

    def __init__(self, call: Call, number: int, processed: ProcessedPrompt, samples: int = 1) -> None:
        self.call, self.number, self.processed, self.samples = call, number, processed, samples
        self.seed = seed_of(call, processed)
        self._scores: list[TokenLogprobs | None] | None = None
        tokens = processed.tokens
        wanted = range(0)
        if call.prompt_logprobs is not None:
            self._scores, wanted = [None] * len(tokens), range(len(tokens) - 1)
        self.prompt = Prompt(tokens, samples, wanted, self._score)

    def _score(self, position: int, logits: Logits) -> None:  # [V]
        assert self._scores is not None
        assert self.call.prompt_logprobs is not None
        token, unused_ids = self.prompt.tokens[position + 1], self.processed.inputs.limits.unused_ids
        self._scores[position + 1] = token_logprobs(checked(logits), token, self.call.prompt_logprobs, unused_ids)

    def result(
        self,
        sample: int,
        events: list[TokenEvent],
        finish_reason: FinishReason,
        held_back: str = "",
        score: float | None = None,
    ) -> Result:
        """Return the result of a sample, or of a beam, whose score is given. held_back: text after the last event."""
        call, processed, times = self.call, self.processed, [event.time for event in events]
        # A text that has not ended by itself goes on after its last token, if it has any.
        end = times[-1] if events and events[-1].finish_reason is not None else call.clock()
        return Result(
            text="".join(event.text for event in events) + held_back,
            finish_reason=finish_reason,
            stop_reason=events[-1].stop_reason if events else None,
            prompt=self.number,
            sample=sample,
            prompt_tokens=processed.tokens,
            events=events,
            perf_metrics=PerfMetrics.of(len(processed.tokens), call.start, times, end),
            seed=self.seed,
            cut=processed.truncated_chars,
            score=score,
            properties=dict(call.properties),
            prompt_scores=self._scores,
        )


class Sample:
    """One sample of a prompt: its request, whose tokens become events; on_event gets each.

    can_wait: it may get them from `result`, all at once, if no rule may end the text. Between two steps, whose weights
    have driven all else from the CPU's caches, an event takes ten times as long as there.
    """

    def __init__(
        self,
        reading: Reading,
        number: int,
        on_event: Callable[[TokenEvent], object],
        on_end: Callable[[GenerateRequest], None],
        *,
        can_wait: bool = False,
    ) -> None:
        call = reading.call
        self.reading, self.number, self._on_event = reading, number, on_event
        self._text = reading.processed.detokenizer()
        self._can_wait = can_wait and not self._text.has_rules
        self._waiting: list[tuple[NewToken, float]] = []
        seed = reading.seed, reading.number, number
        self.request = reading.processed.sample(
            reading.prompt, seed, call.logprobs, call.deadline, on_end=on_end, on_token=self._push
        )

    def _push(self, new: NewToken) -> bool:
        now = self.reading.call.clock()
        if self._can_wait:
            self._waiting.append((new, now))
            return False
        return self._hand_on(new, now) == "stop"

    def _hand_on(self, new: NewToken, now: float) -> FinishReason | None:
        event = _event(self.reading, self._text, new, now)
        self._on_event(event)
        return event.finish_reason

    def result(self, events: list[TokenEvent]) -> Result:
        """Return the result of its events, when the request has ended; on_event, which may fill them, comes before."""
        for waiting in self._waiting:
            self._hand_on(*waiting)
        self._waiting.clear()
        reason = self.request.finish_reason
        # The last event of a text that has ended by itself has all of its text.
        held_back = "" if reason in ("stop", "length") else self._text.close()
        return self.reading.result(self.number, events, reason or "cancelled", held_back)


class Search:
    """A beam search: its request; on_step gets the number of new tokens after each step."""

    def __init__(self, reading: Reading, on_step: Callable[[int], None], on_end: Callable[[BeamRequest], None]) -> None:
        self._reading, self._on_step = reading, on_step
        self._times: list[float] = []
        call = reading.call
        self.request = reading.processed.search(
            reading.prompt, call.logprobs, call.deadline, on_end=on_end, on_step=self._note
        )

    def results(self) -> list[Result]:
        """Return the beams, the best first, when the request has ended."""
        return [self._result(number, found) for number, found in enumerate(self.request.finished)]

    def _note(self, length: int) -> None:
        self._times.append(self._reading.call.clock())
        self._on_step(length)

    def _result(self, number: int, found: Continuation) -> Result:
        text = self._reading.processed.detokenizer()
        events = [_event(self._reading, text, new, at) for new, at in zip(found.tokens, self._times, strict=False)]
        reason = events[-1].finish_reason if events else "time"
        assert reason is not None
        return self._reading.result(number, events, reason, score=found.score)


def _event(reading: Reading, text: StoppingDetokenizer, new: NewToken, now: float) -> TokenEvent:
    """Return the event of a token; the last one has all the text that was held back."""
    processed, offset = reading.processed, text.num_chars
    stop_reason: int | str | None = None
    piece = ""
    if new.id in processed.ending_ids:
        stop_reason = new.id
    else:
        piece = text.push(new.id)
        stop_reason = text.stop_reason
    finish_reason = new.finish_reason if stop_reason is None else "stop"
    if finish_reason is not None:
        piece += text.close()
    own = processed.inputs.tokenizer.bytes_of(new.id)
    return TokenEvent(new.id, own, piece, new.logprob, new.top_logprobs, finish_reason, stop_reason, offset, now)


class Answers:
    """The answers to all prompts of one call, whose requests are kept only until they have ended.

    on_progress gets each Progress in the thread that calls `take` with what `put` was given in the scheduler's.
    """

    def __init__(
        self,
        readings: Sequence[Reading],
        on_progress: Callable[[Progress], None] | None,
        put: Callable[["GenerateRequest | BeamRequest | None"], None],
    ) -> None:
        """Make the requests of prompts."""
        self._on_progress = on_progress
        self._finished = self._new_tokens = 0
        self._texts = sum(reading.samples for reading in readings)
        self._results: list[list[Result]] = []  # of each request
        self._open: dict[GenerateRequest | BeamRequest, tuple[int, Callable[[], list[Result]]]] = {}

        def on_token() -> None:
            if on_progress is not None:
                put(None)

        for reading in readings:
            if isinstance(reading.processed.how, Beams):
                search = Search(reading, lambda _: on_token(), put)
                self._open_one(search.request, search.results)
                continue
            for number in range(reading.samples):
                self._add_sample(reading, number, on_token, put)

    @property
    def requests(self) -> list[GenerateRequest | BeamRequest]:
        """Those that have not ended, in the order of prompts, then samples."""
        return list(self._open)

    @property
    def left(self) -> int:
        """How many requests have not ended."""
        return len(self._open)

    def _add_sample(
        self, reading: Reading, number: int, on_token: Callable[[], None], put: Callable[[GenerateRequest], None]
    ) -> None:
        events: list[TokenEvent] = []

        def on_event(event: TokenEvent) -> None:
            events.append(event)
            on_token()

        if self._on_progress is None:
            sample = Sample(reading, number, events.append, put, can_wait=True)
        else:
            sample = Sample(reading, number, on_event, put)
        self._open_one(sample.request, lambda: [sample.result(events)])

    def _open_one(self, request: GenerateRequest | BeamRequest, results: Callable[[], list[Result]]) -> None:
        self._open[request] = len(self._results), results
        self._results.append([])

    def take(self, ended: "GenerateRequest | BeamRequest | None") -> None:
        """Take note of a token (None), or of a request that has ended. Raises what ended it before it was done."""
        if ended is None:
            self._new_tokens += 1
            self._report(None)
            return
        raise_error(ended)
        place, results = self._open.pop(ended)
        self._results[place] = results()
        for result in self._results[place]:
            self._finished += 1
            self._report(result)

    def results(self) -> list[Result]:
        """Return the results, in the order of prompts, then samples."""
        return [result for results in self._results for result in results]

    def _report(self, result: Result | None) -> None:
        if self._on_progress is not None:
            self._on_progress(Progress(self._finished, self._texts, self._new_tokens, result))
