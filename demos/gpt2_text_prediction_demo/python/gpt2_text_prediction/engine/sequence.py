"""The input and output of one engine step: sequences with their caches in, logits out.

Letters: W positions of a sequence whose logits are returned, V vocabulary.
"""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from gpt2_text_prediction.problem import Problem

Logits: TypeAlias = npt.NDArray[np.float32]  # [W, V]


class CacheUsage(NamedTuple):
    """Blocks of a paged cache that sequences hold, of how many; nothing but zeros of a cache that is not paged.

    prefix_hits: tokens that were found in blocks of others. recomputed_tokens: those whose blocks had been taken away.
    """

    used_blocks: int = 0
    blocks: int = 0
    prefix_hits: int = 0
    recomputed_tokens: int = 0


class NoRoom(Problem):
    """The sequences of a step need more cache than there is; nothing was computed, no sequence has changed."""


@dataclass(eq=False)
class SequenceCache:
    """The tokens of one sequence so far; `location` is where the back end keeps their keys and values."""

    tokens: list[int] = field(default_factory=list)
    location: Any = None  # a BlockTable of the paged back end, a StateRow of the stateful one

    def fork(self) -> "SequenceCache":
        """Return a second cache that continues from the same tokens; their keys and values are shared."""
        return SequenceCache(list(self.tokens), copy(self.location))


@dataclass(frozen=True)
class StepInput:
    """One sequence of a step: new `tokens`, at least one, after the first `num_computed_tokens` tokens of `cache`.

    num_computed_tokens: None keeps all tokens of the cache; a smaller number drops those after it.
    logits_indices: the positions among the new tokens whose logits are returned; negative ones count from the end.
    """

    cache: SequenceCache
    tokens: Sequence[int]
    num_computed_tokens: int | None = None
    logits_indices: Sequence[int] = (-1,)

    def past_length(self) -> int:
        """Return how many tokens of the cache are kept."""
        return len(self.cache.tokens) if self.num_computed_tokens is None else self.num_computed_tokens
