"""What a back end is tried with at load: a cache that plainly answers wrongly is not used, whatever the device."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gpt2_text_prediction.engine.sequence import Logits, SequenceCache, StepInput

TOKENS = 3
"""Few enough that oneDNN does not pack the weights for a new shape."""


def agrees_with_its_cache(
    step: Callable[[Sequence[StepInput]], tuple[list[Logits], Sequence[Any]]], n_positions: int, vocab_size: int
) -> bool:
    """Return whether a few tokens give about the same logits at once as through the cache.

    step: a back end's. One sequence comes first, then others of different lengths, which grow by a token.
    """
    tokens = [token % vocab_size for token in range(min(n_positions, TOKENS))]
    (at_once,), _ = step([StepInput(SequenceCache(), tokens, logits_indices=range(len(tokens)))])
    if np.isnan(at_once).all():  # damaged weights, which the first draw reports
        return True
    pasts = [tokens[:length] for length in range(1, len(tokens))]
    _, locations = step([StepInput(SequenceCache(), past) for past in pasts])
    caches = [SequenceCache(past, location) for past, location in zip(pasts, locations, strict=True)]
    last, _ = step([StepInput(cache, [tokens[len(cache.tokens)]]) for cache in caches])
    difference = np.abs(np.concatenate(last) - at_once[1:])
    return bool(difference.max() <= 0.1 * np.ptp(at_once))  # rounding and a cache in u8 are far below
