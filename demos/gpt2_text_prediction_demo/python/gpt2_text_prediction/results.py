"""The results of a TextGenerator: continuations token by token, scores, likely next tokens."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gpt2_text_prediction.generation.logprobs import TokenLogprobs, TopLogprobs
from gpt2_text_prediction.generation.request import FinishReason


class TokenEvent(NamedTuple):
    """What one new token tells.

    bytes: its own, which may be a part of a character; of a tokenizer that is not byte-level, as the vocabulary writes
    it. text: what became certain with it, possibly nothing. text_offset: the characters of the whole text before it.
    logprob, top_logprobs: (id, log-probability) of the likeliest, as many as were asked for; both in the model's own
    distribution, before any setting. finish_reason: where the text ends with it, why; None where it is the last because
    the time was over or the text was cancelled. stop_reason: what ended the text: the id of a token, a stop string, or
    "line" or "sentence". time: seconds on the clock, when it was there.

    >>> from gpt2_text_prediction import TextGenerator
    >>> with TextGenerator("gpt-2-mini") as gpt2:
    ...     events = list(gpt2.stream("The poem", max_new_tokens=3, temperature=0, logprobs=2).events())
    >>> [event.finish_reason for event in events]
    [None, None, 'length']
    """

    id: int
    bytes: bytes
    text: str
    logprob: float | None
    top_logprobs: TopLogprobs
    finish_reason: FinishReason | None
    stop_reason: int | str | None
    text_offset: int
    time: float


class PerfMetrics(NamedTuple):
    """The times of one text, in the terms of openvino-genai's PerfMetrics, in milliseconds.

    ttft: from the call to the first token, which waiting for a place is a part of; tpot: mean time of each later one;
    both NaN where there is none. throughput: tokens/s after the first. generate_duration: from the call to the end.

    >>> from gpt2_text_prediction import PerfMetrics
    >>> PerfMetrics.of(num_input_tokens=5, start=0.0, times=[0.5, 0.6, 0.7], end=0.7).ttft
    500.0
    """

    num_input_tokens: int
    num_generated_tokens: int
    ttft: float
    tpot: float
    throughput: float
    generate_duration: float

    @classmethod
    def of(cls, num_input_tokens: int, start: float, times: Sequence[float], end: float) -> "PerfMetrics":
        """Return the figures of a text from `start` to `end`, whose tokens came at `times`, in seconds."""
        first, last, later = (times[0], times[-1], len(times) - 1) if times else (math.nan, end, 0)
        tpot = (last - first) / later if later else math.nan
        throughput = 1 / tpot if tpot else math.inf
        return cls(
            num_input_tokens,
            len(times),
            (first - start) * 1e3,
            tpot * 1e3,
            throughput,
            (end - start) * 1e3,
        )


@dataclass(frozen=True, eq=False)
class Result:
    """A finished continuation.

    text: the continuation alone, without the prompt. finish_reason: "stop" at the end of the text or where a rule
    stops it, "length" at max_new_tokens or where the model's positions end, "time" at max_time, "cancelled" where a
    stream was. stop_reason: see TokenEvent. prompt, sample: numbers from 0. prompt_tokens: the ids of the prompt.
    events: one a token, the end-of-text token among them, which has no text; so are tokens, their ids [N]. cut: how
    many characters of the prompt's beginning did not fit, tokens of a prompt of ids.
    seed: gives the same text again in the same call with the same properties, on the same kind of CPU. score: of a
    beam; beams are ordered by it. properties: of the device, that the text depends on, by OpenVINO's names.
    prompt_scores: of each token of the prompt, where prompt_logprobs were asked for; the first is None.

    >>> from gpt2_text_prediction import TextGenerator
    >>> with TextGenerator("gpt-2-mini") as gpt2:
    ...     (result,) = gpt2.generate("The poem was", max_new_tokens=8, temperature=0)
    >>> result.finish_reason, len(result.tokens), len(result.logprobs)
    ('length', 8, 8)
    """

    text: str
    finish_reason: FinishReason
    stop_reason: int | str | None
    prompt: int
    sample: int
    prompt_tokens: list[int]
    events: Sequence[TokenEvent] = field(repr=False)
    perf_metrics: PerfMetrics
    seed: int
    cut: int = 0
    score: float | None = None
    properties: Mapping[str, str] = field(default_factory=dict)
    prompt_scores: Sequence[TokenLogprobs | None] | None = None

    @cached_property
    def tokens(self) -> list[int]:
        """The ids of the new tokens."""
        return [event.id for event in self.events]

    @cached_property
    def logprobs(self) -> npt.NDArray[np.float64]:  # [N]
        """The log-probability of each new token; NaN where none were asked for."""
        return np.array([event.logprob for event in self.events], np.float64)

    @property
    def top_logprobs(self) -> list[dict[int, float]]:
        """For each new token, the likeliest tokens in its place with their log-probabilities."""
        return [dict(event.top_logprobs) for event in self.events]

    @property
    def prompt_logprobs(self) -> npt.NDArray[np.float64] | None:  # [P]
        """The log-probability of each token of the prompt, NaN for the first; None where they were not asked for."""
        scores = self.prompt_scores
        return None if scores is None else np.array([math.nan if each is None else each.logprob for each in scores])

    @property
    def prompt_top_logprobs(self) -> list[dict[int, float]] | None:
        """As top_logprobs, for the tokens of the prompt; None where they were not asked for."""
        scores = self.prompt_scores
        return None if scores is None else [{} if each is None else dict(each.top_logprobs) for each in scores]

    @property
    def text_offsets(self) -> list[int]:
        """For each new token, the character of the text where it begins; the text's end for one that is not in it."""
        return [min(event.text_offset, len(self.text)) for event in self.events]

    def to_dict(self) -> dict[str, Any]:
        """Return all of it for json; what is NaN or was not asked for is None."""
        return {
            "prompt": self.prompt,
            "sample": self.sample,
            "text": self.text,
            "finish_reason": self.finish_reason,
            "stop_reason": self.stop_reason,
            "tokens": self.tokens,
            "logprobs": _finite(self.logprobs),
            "top_logprobs": self.top_logprobs if any(event.top_logprobs for event in self.events) else None,
            "text_offsets": self.text_offsets,
            "prompt_tokens": self.prompt_tokens,
            "prompt_logprobs": None if self.prompt_logprobs is None else _finite(self.prompt_logprobs),
            "prompt_top_logprobs": self.prompt_top_logprobs,
            "seed": self.seed,
            "cut": self.cut,
            "score": self.score,
            "properties": dict(self.properties),
            "perf_metrics": {
                name: value if math.isfinite(value) else None for name, value in self.perf_metrics._asdict().items()
            },
        }


class Progress(NamedTuple):
    """How far a call of generate is: texts that are finished, of how many, and new tokens so far.

    result: the text that has just been finished, None after a token.

    >>> from gpt2_text_prediction import TextGenerator
    >>> finished = []
    >>> with TextGenerator("gpt-2-mini") as gpt2:
    ...     for_each = lambda progress: progress.result and finished.append(progress.result.text)
    ...     results = gpt2.generate(["One", "Two"], max_new_tokens=4, on_progress=for_each)
    >>> sorted(finished) == sorted(result.text for result in results)
    True
    """

    finished: int
    texts: int
    new_tokens: int
    result: Result | None


@dataclass(frozen=True, eq=False)
class Score:
    """A text's tokens [T] and their log-probabilities, f64 [T].

    start_token: the token that starts a text, where the text was scored after it; it is not among the tokens. Without
    it (None) the log-probability of the first token is NaN.

    >>> from gpt2_text_prediction import TextGenerator
    >>> with TextGenerator("gpt-2-mini") as gpt2:
    ...     score = gpt2.score("The quick brown fox")
    >>> len(score.tokens) == len(score.logprobs)
    True
    """

    tokens: list[int]
    logprobs: npt.NDArray[np.float64]
    start_token: int | None = None


class NextToken(NamedTuple):
    """A possible next token; text: U+FFFD where the token is part of a character.

    >>> from gpt2_text_prediction import TextGenerator
    >>> with TextGenerator("gpt-2-mini") as gpt2:
    ...     likely = gpt2.next_tokens("The capital of", k=3)
    >>> likely[0].probability >= likely[1].probability
    True
    """

    token: int
    text: str
    probability: float


@dataclass(frozen=True)
class Stats:
    """What a generator does now, and has done so far.

    running, waiting: texts, and searches. used_blocks, blocks: of a paged cache, 0 of another. prefix_hits: tokens of
    prompts that were found in the cache; recomputed_tokens: those whose blocks had been taken away meanwhile, of
    prompts and texts. drafted_tokens, accepted_tokens: by prompt lookup.

    >>> from gpt2_text_prediction import TextGenerator
    >>> with TextGenerator("gpt-2-mini") as gpt2:
    ...     results = gpt2.generate("One", max_new_tokens=4, temperature=0)
    ...     gpt2.stats().new_tokens
    4
    """

    running: int
    waiting: int
    used_blocks: int
    blocks: int
    prompt_tokens: int
    new_tokens: int
    prefix_hits: int
    recomputed_tokens: int
    drafted_tokens: int
    accepted_tokens: int

    def to_dict(self) -> dict[str, int]:
        """Return all of it for json."""
        return asdict(self)


def _finite(values: npt.NDArray[np.float64]) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values.tolist()]
