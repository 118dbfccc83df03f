"""Reuses the KV caches of recently finished sequences with a common prefix, in any back end.

The paged back end finds common prefixes of running sequences too, block by block (block_pool).
"""

from collections import deque
from collections.abc import Sequence

from gpt2_text_prediction.engine.sequence import SequenceCache


class PrefixCache:
    """Keeps the last `count` caches; a back end may have dropped their keys and values and computes them again."""

    def __init__(self, count: int = 4) -> None:
        self._caches: deque[SequenceCache] = deque(maxlen=count)

    def add(self, cache: SequenceCache) -> None:
        """Keep a cache that nobody continues, unless it is empty."""
        if cache.tokens:
            self._caches.append(cache)

    def lookup(self, tokens: Sequence[int]) -> tuple[SequenceCache, int]:
        """Return a cache to append tokens to, and how many of them it holds already: all but one at most.

        A cache of which less than half matches is not used: the stateful back end would keep the rest, masked.
        """
        found = [(_common_prefix(cache.tokens, tokens), cache) for cache in self._caches]
        computed, cache = max(found, key=lambda pair: pair[0], default=(0, SequenceCache()))
        if computed == 0 or 2 * computed < len(cache.tokens):
            return SequenceCache(), 0
        return cache.fork(), computed


def _common_prefix(held: Sequence[int], tokens: Sequence[int]) -> int:
    most = min(len(held), len(tokens) - 1)  # the last token is always computed: its logits are needed
    return next((i for i in range(most) if held[i] != tokens[i]), most)
