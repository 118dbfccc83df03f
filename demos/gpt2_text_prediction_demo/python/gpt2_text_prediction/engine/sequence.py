"""What goes into a step of the engine and what comes out of it; who computes it is not known here.

Letters: W places of a row whose logits are wanted, V vocabulary.
"""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Logits: TypeAlias = npt.NDArray[np.float32]  # [W, V]


@dataclass(eq=False)
class Cache:
    """The tokens of one row so far; `lease` is the back end's note of where their keys and values lie."""

    tokens: list[int] = field(default_factory=list)
    lease: Any = None

    def fork(self) -> "Cache":
        """Return a second cache that continues from the same tokens; their keys and values are shared."""
        return Cache(list(self.tokens), copy(self.lease))


@dataclass(frozen=True)
class Row:
    """One row of a step: `tokens`, at least one, behind the first `past` tokens of `cache`.

    past None keeps all; a smaller number drops the tokens behind it. `wanted` are the places among the new
    tokens, negative ones from their end, whose logits are returned.
    """

    cache: Cache
    tokens: Sequence[int]
    past: int | None = None
    wanted: Sequence[int] = (-1,)

    def kept(self) -> int:
        """Return how many tokens of the cache count."""
        return len(self.cache.tokens) if self.past is None else self.past
