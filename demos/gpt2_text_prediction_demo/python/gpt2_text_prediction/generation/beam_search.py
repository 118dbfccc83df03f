"""Beam search: the continuations that are most likely as a whole, on an engine's steps; tokens in, tokens out.

Hugging Face's, as of transformers 5: the same settings, the same order of candidates, the same ends.
Letters: R running beams, V vocabulary.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from gpt2_text_prediction.engine.sequence import Logits, NoRoom, SequenceCache, StepInput
from gpt2_text_prediction.generation.logits_processors import (
    NO_IDS,
    History,
    LogitsProcessors,
    argmax,
    process,
    require_lengths,
)
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


class Steps(Protocol):
    """What runs the steps: an engine, or a scheduler that shares one."""

    @property
    def n_positions(self) -> int:
        """How many tokens prompt and continuation may have."""

    def step(self, rows: Sequence[StepInput]) -> list[Logits]:
        """See Engine.step."""


class Continuation(NamedTuple):
    """A finished beam: its new tokens without the end-of-text token; finish_reason as in Stream.

    score: the sum of its processed log-probabilities, divided by its length to the power of length_penalty.
    logprobs: of each token, before the logits processors.
    """

    tokens: list[int]
    score: float
    finish_reason: str
    logprobs: list[float]


class _Beam(NamedTuple):
    """A running beam: the cache holds all tokens before `tokens[-1]`; at first it is empty."""

    cache: SequenceCache
    tokens: list[int]
    score: np.float32
    logprobs: list[float]


def beam_search(  # noqa: PLR0913  # what the search depends on
    engine: Steps,
    prompt: Sequence[int],
    beams: Beams,
    max_new_tokens: int,
    ending_ids: Sequence[int],
    stops: Callable[[Sequence[int]], bool] = lambda tokens: False,
    *,
    unused_ids: npt.NDArray[np.int64] = NO_IDS,
) -> list[Continuation]:
    """Return the num_return_sequences best continuations of a prompt, the best first.

    They may be fewer where the settings leave too few tokens. The prompt must leave room for a token. stops: returns
    whether new tokens end the text with their last one.
    Raises Problem for a min_new_tokens above max_new_tokens, and where `process` does.
    """
    require_lengths(beams, max_new_tokens)
    most = min(max_new_tokens, engine.n_positions - len(prompt))
    running = [_Beam(SequenceCache(), [], np.float32(0), [])]
    finished: list[Continuation] = []
    for length in range(1, most + 1):
        candidates = _candidates(engine, running, beams, History(prompt, (), ending_ids, unused_ids))
        reasons = [_finish_reason(beam.tokens, ending_ids, length == most, stops) for beam in candidates]
        for beam, reason in list(zip(candidates, reasons, strict=True))[: beams.num_beams]:
            if reason is not None:
                finished.append(_continuation(beam, ending_ids, beams.length_penalty, reason))
        finished = sorted(finished, key=lambda one: -one.score)[: beams.num_beams]
        running = [beam for beam, reason in zip(candidates, reasons, strict=True) if reason is None][: beams.num_beams]
        candidates.clear()  # those that do not run must not hold cache in the next step
        if not running or _no_better_comes(running[0], finished, beams, most):
            break
    return finished[: beams.num_return_sequences]


def _finish_reason(
    tokens: Sequence[int], ending_ids: Sequence[int], is_last: bool, stops: Callable[[Sequence[int]], bool]
) -> str | None:
    if tokens[-1] in ending_ids or stops(tokens):
        return "stop"
    return "length" if is_last else None


def _step(engine: Steps, rows: Sequence[StepInput]) -> list[Logits]:
    """Run all sequences in one step, or where there is no memory for that, in halves."""
    try:
        return engine.step(rows)
    except NoRoom:
        if len(rows) == 1:
            raise
        half = len(rows) // 2
        return [*_step(engine, rows[:half]), *_step(engine, rows[half:])]


def _log_softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:  # [V] -> [V]
    shifted = logits - logits[argmax(logits)]
    return shifted - np.log(np.exp(shifted).sum())  # type: ignore[no-any-return]


def _candidates(engine: Steps, running: list[_Beam], beams: Beams, before: History) -> list[_Beam]:
    """Return the best beams extended by a token, the best first, without impossible ones.

    As many as transformers takes: so that num_beams are left, however many of them an ending token ends.
    """
    count = max(2, 1 + len(before.ending_ids)) * beams.num_beams
    rows = [StepInput(beam.cache, beam.tokens[-1:] or before.prompt) for beam in running]
    own = [_log_softmax(logits[0]) for logits in _step(engine, rows)]
    scores = np.stack(
        [
            beam.score + process(logprobs, beams, before._replace(new=beam.tokens))
            for beam, logprobs in zip(running, own, strict=True)
        ]
    )
    parents, tokens = np.divmod(_largest(scores.reshape(-1), count), scores.shape[1])
    return [
        _extended(running[parent], token, scores[parent, token], float(own[parent][token]))
        for parent, token in zip(parents.tolist(), tokens.tolist(), strict=True)
        if scores[parent, token] > -np.inf
    ]


def _extended(beam: _Beam, token: int, score: np.float32, logprob: float) -> _Beam:
    return _Beam(beam.cache.fork(), [*beam.tokens, token], score, [*beam.logprobs, logprob])


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


def _continuation(beam: _Beam, ending_ids: Sequence[int], length_penalty: float, reason: str) -> Continuation:
    score = _score(beam, len(beam.tokens), length_penalty)
    shown = len(beam.tokens) - (beam.tokens[-1] in ending_ids)
    return Continuation(beam.tokens[:shown], score, reason, beam.logprobs[:shown])


def _no_better_comes(best: _Beam, finished: list[Continuation], beams: Beams, most: int) -> bool:
    """Return whether the search ends: for early_stopping False a heuristic, as in Hugging Face (its PR 20901)."""
    if len(finished) < beams.num_beams:
        return False
    if beams.early_stopping is True:
        return True
    longest = beams.early_stopping == "never" and beams.length_penalty > 0
    length = most if longest else len(best.tokens)
    return _score(best, length, beams.length_penalty) <= finished[-1].score


def _score(beam: _Beam, length: int, length_penalty: float) -> float:
    return float(beam.score) / math.pow(length, length_penalty)
