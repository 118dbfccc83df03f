"""A beam search alone on an engine."""

from collections.abc import Sequence
from queue import SimpleQueue
from typing import Any, NamedTuple

from gpt2_text_prediction.engine.engine import Engine
from gpt2_text_prediction.engine.prefix_cache import PrefixCache
from gpt2_text_prediction.engine.scheduler import Scheduler, raise_error
from gpt2_text_prediction.generation.beam_search import BeamParams, BeamRequest, Beams
from gpt2_text_prediction.generation.request import Prompt
from support import HANGS_AFTER


class Found(NamedTuple):
    """A continuation; tokens: with the one that ends it."""

    tokens: list[int]
    score: float
    finish_reason: str
    logprobs: list[float]


def beam_search(
    engine: Engine, prompt: Sequence[int], beams: Beams, max_new_tokens: int, ending_ids: Sequence[int], **params: Any
) -> list[Found]:
    """Return the continuations that are found, the best first."""
    ended: SimpleQueue[BeamRequest] = SimpleQueue()
    room = engine.n_positions + 1 - len(prompt)
    wanted = BeamParams(beams, min(max_new_tokens, room), ending_ids, **params)
    request = BeamRequest(Prompt(prompt), wanted, PrefixCache(), ended.put)
    Scheduler(engine).submit([request])
    raise_error(ended.get(timeout=HANGS_AFTER))
    return [
        Found([new.id for new in tokens], score, str(tokens[-1].finish_reason), [new.logprob for new in tokens])
        for tokens, score in request.finished
    ]
