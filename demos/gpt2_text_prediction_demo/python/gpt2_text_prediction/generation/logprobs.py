"""Log-probabilities of tokens in the model's own distribution, before any setting: of one token, and of the likeliest.

Letters: V vocabulary.
"""

import math
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from gpt2_text_prediction.engine.sequence import Logits
from gpt2_text_prediction.generation.logits_processors import NO_IDS, argmax

TopLogprobs: TypeAlias = tuple[tuple[int, float], ...]
"""Token ids with their log-probabilities, the likeliest first; of equal ones the smaller id."""


class TokenLogprobs(NamedTuple):
    """The log-probability of a token, and those of the likeliest tokens in its place."""

    logprob: float
    top_logprobs: TopLogprobs


def logprob(logits: Logits, token: int) -> float:  # [V] ->
    """Return the logarithm of a token's probability."""
    return float(logits[token]) - _log_sum(logits)


def token_logprobs(
    logits: Logits, token: int, count: int = 0, unused_ids: npt.NDArray[np.int64] = NO_IDS
) -> TokenLogprobs:  # [V] ->
    """Return the log-probability of a token, and those of the `count` likeliest; unused_ids are never among them."""
    log_sum = _log_sum(logits)
    top = tuple((i, float(logits[i]) - log_sum) for i in likeliest(logits, count, unused_ids))
    return TokenLogprobs(float(logits[token]) - log_sum, top)


def likeliest(logits: Logits, count: int, unused_ids: npt.NDArray[np.int64] = NO_IDS) -> list[int]:  # [V] -> [count]
    """Return the ids of the largest logits, the largest first; of equal ones the smaller id. Fewer where V is."""
    count = min(count, logits.size - unused_ids.size)
    if count < 1:
        return []
    among = logits.copy()
    among[unused_ids] = -np.inf
    least = np.partition(among, -count)[-count]
    most = np.flatnonzero(among >= least)
    return most[np.argsort(-among[most], kind="stable")][:count].tolist()  # type: ignore[no-any-return]


def checked(logits: Logits) -> Logits:  # [V] -> [V]
    """Return logits that are finite, else raise Problem."""
    argmax(logits)
    return logits


def _log_sum(logits: Logits) -> float:  # [V] ->
    """Return the logarithm of the sum of all weights."""
    highest = logits.max()
    shifted = logits - highest
    return float(highest) + math.log(float(np.exp(shifted, out=shifted).sum()))
