"""Beam search: the continuations that are most likely as a whole, a request of the scheduler; tokens in, tokens out.

Hugging Face's, as of transformers 5: the same settings, the same order of candidates, the same ends.
Letters: R running beams, V vocabulary.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from gpt2_text_prediction.engine.prefix_cache import PrefixCache
from gpt2_text_prediction.engine.sequence import Logits, SequenceCache, StepInput
from gpt2_text_prediction.generation.logits_processors import NO_IDS, History, LogitsProcessors, argmax, process
from gpt2_text_prediction.generation.logprobs import likeliest
from gpt2_text_prediction.generation.request import FinishReason, NewToken, Prompt, TokenCounts, chunk
from gpt2_text_prediction.problem import Problem, shown
from gpt2_text_prediction.settings import default

BLOCK = 256
"""Scores are compared in blocks of this size before single ones are sorted."""


@dataclass(frozen=True)
class Beams(LogitsProcessors):
    """How beams are searched; names and meaning as in Hugging Face's beam search without sampling.

    The logits processors are applied to each beam's log-probabilities. num_beams: how many continuations are kept at
    each step. length_penalty: a continuation's log-probability is divided by its length to this power, so that a
    value above 0 favours long ones. early_stopping: True stops at num_beams finished ones; False as soon as the best
    running one, at its length, is not better than the worst of those; "never" only when it cannot become better.
    num_return_sequences: how many of the finished ones are returned.
    Raises Problem for a value that is out of range or of another type.

    >>> from gpt2_text_prediction import Beams, TextGenerator
    >>> with TextGenerator("gpt-2-mini") as gpt2:
    ...     best, second = gpt2.generate("The poem", Beams(num_beams=4, num_return_sequences=2), max_new_tokens=5)
    >>> best.score > second.score
    True
    """

    num_beams: int = 4
    length_penalty: float = default("length_penalty")
    early_stopping: bool | Literal["never"] = default("early_stopping")
    num_return_sequences: int = default("num_return_sequences")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_return_sequences > self.num_beams:
            most = f"at most num_beams, {self.num_beams}"
            raise Problem(f"num_return_sequences: expected {most}, got {shown(self.num_return_sequences)}")


class Text(Protocol):
    """The text of a beam."""

    def fork(self) -> "Text":
        """Return another text that goes on from here."""

    def ends_with(self, token: int) -> bool:
        """Take a token; return whether the text ends with it."""


@dataclass(frozen=True)
class BeamParams:
    """What a search depends on beside its prompt, after which max_new_tokens fit, at least one.

    text: what tells whether a rule ends the text of a beam; None: no rule can. Others as in RequestParams.
    """

    beams: Beams
    max_new_tokens: int
    ending_ids: Sequence[int] = ()
    text: Text | None = None
    logprobs: int | None = None
    deadline: float | None = None
    unused_ids: npt.NDArray[np.int64] = field(default_factory=lambda: NO_IDS, compare=False)


class Continuation(NamedTuple):
    """A finished beam.

    score: the sum of its processed log-probabilities, divided by its length to the power of length_penalty.
    """

    tokens: list[NewToken]
    score: float


class _Beam(NamedTuple):
    """A running beam: the cache holds all tokens before `ids[-1]`; at first it is empty."""

    cache: SequenceCache
    ids: list[int]
    tokens: list[NewToken]
    score: np.float32
    text: Text | None


class BeamRequest:
    """One search. finished: the best continuations so far, the best first; at the end those that are returned.

    There may be fewer than num_return_sequences where the settings leave too few tokens. length: new tokens so far.
    on_step is called with the length after each.
    """

    def __init__(
        self,
        prompt: Prompt,
        params: BeamParams,
        prefix_cache: PrefixCache,
        on_end: Callable[["BeamRequest"], None],
        on_step: Callable[[int], None] = lambda length: None,
        counts: TokenCounts | None = None,
    ) -> None:
        self.num_seqs = params.beams.num_beams
        self.deadline = params.deadline
        self.error: BaseException | None = None
        self.finished: list[Continuation] = []
        self.length = 0
        self._prompt, self._tokens, self._params, self._beams = prompt, prompt.tokens, params, params.beams
        self._prefix_cache, self._on_end, self._on_step = prefix_cache, on_end, on_step
        self._counts = counts or TokenCounts()
        self._cache = SequenceCache()  # of the prompt
        self._num_computed_tokens = 0
        self._scheduled = 0  # tokens of the prompt in this step
        self._running = [_Beam(self._cache, [], [], np.float32(0), params.text)]
        self._done = False

    @property
    def done(self) -> bool:
        """Whether there is nothing left to compute."""
        return self._done

    def is_ready(self) -> bool:
        """Return whether it can start: always."""
        return True

    def start(self) -> None:
        """Start, with what is computed already."""
        self._cache, self._num_computed_tokens = self._prompt.lookup(self._prefix_cache, self._counts)

    def lengths(self) -> Sequence[int]:
        """Return how many tokens each running beam has, those of the prompt once."""
        return [len(self._tokens) + self.length, *[self.length] * (len(self._running) - 1)]

    def num_tokens_to_compute(self) -> int:
        """Return how many tokens of the prompt have to be computed, or one of each beam."""
        return (len(self._tokens) - self._num_computed_tokens) or 1

    def next_inputs(self, max_tokens: int) -> list[StepInput]:
        """Return a chunk of the prompt, max_tokens at most, or the last token of each beam."""
        computed = self._num_computed_tokens
        if computed == len(self._tokens):
            return [StepInput(beam.cache, beam.ids[-1:]) for beam in self._running]
        wanted = self._prompt.wanted
        step = chunk(self._cache, self._tokens, computed, max_tokens, wanted=wanted, wants_last=True)
        self._scheduled = len(step.tokens)
        return [step]

    def process_logits(self, logits: list[Logits]) -> None:  # of each beam [1, V], or of the prompt [W, V]
        """Extend the beams by a token."""
        start = self._num_computed_tokens
        if start < len(self._tokens):
            self._num_computed_tokens += self._scheduled
            self._prompt.hand_on(start, self._num_computed_tokens, logits[0])
            if self._num_computed_tokens < len(self._tokens):
                return
            self._running = [self._running[0]._replace(cache=self._cache)]
        self._extend([_log_softmax(each[-1]) for each in logits])
        self._on_step(self.length)

    def expire(self) -> None:
        """Be done: beams that run end here; where there is none yet, with an empty text."""
        self._finish((beam, "time") for beam in self._running if beam.ids)
        self.finished = self.finished or [Continuation([], 0.0)]
        self._done = True

    def end(self, error: BaseException | None) -> None:
        """End; error: why, where it is not done."""
        self.error = error
        self.finished = self.finished[: self._beams.num_return_sequences]
        self._running = []
        self._prefix_cache.add(self._cache)
        self._cache = SequenceCache()
        self._on_end(self)

    def _extend(self, own: list[npt.NDArray[np.float32]]) -> None:  # of each beam [V]
        self.length += 1
        self._counts.new += 1
        num_beams = self._beams.num_beams
        running: list[_Beam] = []
        ended: list[tuple[_Beam, FinishReason]] = []
        for place, beam in enumerate(self._candidates(own)):
            if (reason := self._finish_reason(beam)) is None:
                running.append(beam)
            elif place < num_beams:
                ended.append((beam, reason))
            if len(running) == num_beams:
                break
        self._finish(ended)
        self._running = running  # the others hold no cache in the next step
        self._done = not self._running or self._no_better_comes(self._running[0])

    def _finish(self, ended: Iterable[tuple[_Beam, FinishReason]]) -> None:
        for beam, reason in ended:
            last = beam.tokens[-1]._replace(finish_reason=reason)
            self.finished.append(Continuation([*beam.tokens[:-1], last], self._score(beam, len(beam.ids))))
        self.finished = sorted(self.finished, key=lambda each: -each.score)[: self._beams.num_beams]

    def _finish_reason(self, beam: _Beam) -> FinishReason | None:
        if beam.ids[-1] in self._params.ending_ids or (beam.text is not None and beam.text.ends_with(beam.ids[-1])):
            return "stop"
        return "length" if self.length == self._params.max_new_tokens else None

    def _candidates(self, own: list[npt.NDArray[np.float32]]) -> Iterator[_Beam]:
        """Yield the best beams extended by a token, the best first, without impossible ones.

        As many as transformers takes: so that num_beams are left, however many of them an ending token ends. Each is
        made when it is asked for: most steps need the first num_beams alone.
        """
        params, running = self._params, self._running
        count = max(2, 1 + len(params.ending_ids)) * self._beams.num_beams
        before = History(self._tokens, (), params.ending_ids, params.unused_ids)
        scores = np.stack(
            [
                beam.score + process(logprobs, self._beams, before._replace(new=beam.ids))
                for beam, logprobs in zip(running, own, strict=True)
            ]
        )
        new_tokens = [self._new_tokens(logprobs) for logprobs in own]
        parents, ids = np.divmod(_largest(scores.reshape(-1), count), scores.shape[1])
        for parent, token in zip(parents.tolist(), ids.tolist(), strict=True):
            if scores[parent, token] > -np.inf:
                yield _extended(running[parent], new_tokens[parent](token), scores[parent, token])

    def _new_tokens(self, logprobs: npt.NDArray[np.float32]) -> Callable[[int], NewToken]:  # [V]
        """Return a function that returns a token after a beam, with the log-probabilities that are asked for."""
        if self._params.logprobs is None:
            return NewToken
        top = likeliest(logprobs, self._params.logprobs, self._params.unused_ids)
        told = tuple((i, float(logprobs[i])) for i in top)
        return lambda token: NewToken(token, float(logprobs[token]), told)

    def _no_better_comes(self, best: _Beam) -> bool:
        """Return whether the search ends: for early_stopping False a heuristic, as in Hugging Face (its PR 20901)."""
        if len(self.finished) < self._beams.num_beams:
            return False
        if self._beams.early_stopping is True:
            return True
        longest = self._beams.early_stopping == "never" and self._beams.length_penalty > 0
        length = self._params.max_new_tokens if longest else len(best.ids)
        return self._score(best, length) <= self.finished[-1].score

    def _score(self, beam: _Beam, length: int) -> float:
        with np.errstate(all="ignore"):  # a length of a thousand to the power of 100 is infinite
            return float(np.float64(beam.score) / np.float64(length) ** self._beams.length_penalty)


def _extended(beam: _Beam, new: NewToken, score: np.float32) -> _Beam:
    text = None if beam.text is None else beam.text.fork()
    return _Beam(beam.cache.fork(), [*beam.ids, new.id], [*beam.tokens, new], score, text)


def _log_softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:  # [V] -> [V]
    shifted = logits - logits[argmax(logits)]
    return shifted - np.log(np.exp(shifted).sum())  # type: ignore[no-any-return]


def _largest(values: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.intp]:  # [N] -> [count]
    """Return the indices of the largest values, the largest first; of equal ones, the first first.

    A value can only be among the `count` largest if its block is among the `count` blocks with the largest maximum, so
    only those blocks are sorted.
    """
    starts = np.arange(0, values.size, BLOCK)
    blocks = np.sort(np.argsort(-np.maximum.reduceat(values, starts), kind="stable")[:count])
    places = (starts[blocks, None] + np.arange(BLOCK)).reshape(-1)
    places = places[places < values.size]
    return places[np.argsort(-values[places], kind="stable")[:count]]
