"""The back end with a cache in blocks of memory: rows of any length run in one step, without padding.

A row holds blocks as long as its cache lives. Rows with a common beginning share its full blocks, forks also the
last one until one of them writes into it. What is not held is computed again from the tokens: a cache that is not
in a step may lose its blocks to one that is.
Letters: T tokens of a step, W wanted places, V vocabulary.
"""

import mmap
import sys
from collections.abc import Iterable, Sequence
from itertools import accumulate, chain, pairwise

import numpy as np
import numpy.typing as npt
import openvino as ov

from gpt2_text_prediction.engine.backends.block_pool import Blocks, Claim, Grant, Lease, NotEnoughBlocks
from gpt2_text_prediction.engine.backends.paged_attention import INPUTS, CacheInput, NoPagedAttention, cache_inputs
from gpt2_text_prediction.engine.sequence import Cache, Logits, Row
from gpt2_text_prediction.problem import Problem

ROWS_BY_DEFAULT = 8
"""How many rows of all positions the cache holds where no budget is given; memory is taken as it is used."""
TRIED = 3
"""Tokens of the trial: with the two before the last, fewer in a step than make oneDNN pack all weights once more."""


class NoRoom(Problem):
    """The rows of a step need more cache than there is; nothing was computed, no row has changed."""


class Paged:
    """One infer request, and the memory of its cache."""

    name = "paged"

    def __init__(self, compiled: ov.CompiledModel, n_positions: int, budget: int | None = None) -> None:
        """Take cache memory of at most `budget` bytes.

        Raises NoPagedAttention where the compiled model is not one of paged attention or answers wrongly, and
        Problem for a budget in which a single row of n_positions does not fit.
        """
        caches, size = cache_inputs(compiled)
        self.block_bytes = sum(cache.block_bytes for cache in caches)
        count = self._block_count(-(-n_positions // size), budget)
        self.budget = count * self.block_bytes if budget is None else budget
        self._request = compiled.create_infer_request()
        self._inputs = {name: _Input(self._request, name) for name in INPUTS}
        self._memory = _memory(caches, count)
        self.blocks = Blocks(count, size)
        for cache, memory in zip(caches, self._memory, strict=True):
            self._request.set_tensor(cache.name, ov.Tensor(memory, ov.Shape([count, *cache.shape]), cache.dtype))
        vocab_size = compiled.output(0).get_partial_shape()[1].get_length()
        self._try([token % vocab_size for token in range(min(n_positions, TRIED))])

    def step(self, rows: Sequence[Row]) -> tuple[list[Logits], list[Lease]]:
        """Run one step; see BackEnd.step. Raises NoRoom, before anything is computed, for more rows than memory."""
        claims = [self._claim(row) for row in rows]
        try:
            grants, copies = self.blocks.grant(claims)
        except NotEnoughBlocks as error:
            raise NoRoom(
                f"{len(rows)} rows with {sum(len(claim.tokens) for claim in claims)} tokens in all need "
                f"{error.needed * self.block_bytes} bytes of cache, more than its {self.budget}: run fewer rows at "
                "once, or give a larger cache_budget"
            ) from None
        for source, target in copies:
            for memory in self._memory:
                memory[target] = memory[source]
        logits = self._infer(rows, claims, grants)
        return logits, [self.blocks.publish(grant, claim.tokens) for grant, claim in zip(grants, claims, strict=True)]

    def fits(self, lengths: Sequence[int]) -> bool:
        """See BackEnd.fits; each row may need a block more, to copy a shared one to."""
        return sum(1 - (-length // self.blocks.size) for length in lengths) <= self.blocks.count

    def forget(self) -> None:
        """See BackEnd.forget."""
        self.blocks.forget()

    def _block_count(self, blocks_of_a_row: int, budget: int | None) -> int:
        if budget is None:
            return ROWS_BY_DEFAULT * blocks_of_a_row
        least = blocks_of_a_row + 1  # one to copy to
        if budget < least * self.block_bytes:
            raise Problem(
                f"cache_budget: expected at least {least * self.block_bytes} bytes, for one row of all positions, "
                f"got {budget}"
            )
        return budget // self.block_bytes

    def _claim(self, row: Row) -> Claim:
        lease = row.cache.lease
        kept, new = row.kept(), len(row.tokens)
        return Claim(
            lease if isinstance(lease, Lease) and lease.owner is self.blocks else None,
            [*row.cache.tokens[:kept], *row.tokens],
            kept,
            kept + min((place % new for place in row.wanted), default=new - 1),
        )

    def _infer(self, rows: Sequence[Row], claims: list[Claim], grants: list[Grant]) -> list[Logits]:
        starts = [grant.start for grant in grants]
        lengths = [len(claim.tokens) for claim in claims]
        row_ends = [0, *accumulate(length - start for length, start in zip(lengths, starts, strict=True))]
        block_ends = [0, *accumulate(len(grant.lease.blocks) for grant in grants)]
        wanted = [
            end - len(row.tokens) + place % len(row.tokens)
            for row, end in zip(rows, row_ends[1:], strict=True)
            for place in row.wanted
        ]
        values: dict[str, Sequence[int] | int] = {
            "input_ids": _flat(claim.tokens[start:] for claim, start in zip(claims, starts, strict=True)),
            "position_ids": _flat(map(range, starts, lengths)),
            "past_lens": starts,
            "subsequence_begins": row_ends,
            "block_indices": _flat(grant.lease.blocks for grant in grants),
            "block_indices_begins": block_ends,
            "max_context_len": max(lengths),
            "wanted": wanted or [0],
        }
        for name, numbers in values.items():
            self._inputs[name].put(numbers)
        self._request.infer(share_outputs=True)
        logits = self._request.get_output_tensor(0).data.copy()  # the next step's are written into the same memory
        ends = [0, *accumulate(len(row.wanted) for row in rows)]
        return [logits[first:end] for first, end in pairwise(ends)]

    def _try(self, tokens: list[int]) -> None:
        """Raise NoPagedAttention unless a few tokens give about the same logits at once and through the cache."""
        first, last = tokens[:-1], tokens[-1:]
        (at_once, _), (_, lease) = self.step([Row(Cache(), tokens), Row(Cache(), first)])
        (through_cache,), _ = self.step([Row(Cache(first, lease), last)])
        nothing_to_see = np.isnan(at_once).all()  # weights that are no numbers
        if not (nothing_to_see or np.abs(at_once - through_cache).max() <= 0.1 * np.ptp(at_once)):
            raise NoPagedAttention("its paged attention answers differently with a cache")


class _Input:
    """The memory of one input; it stays, since handing arrays to `infer` takes as long as all our Python besides."""

    def __init__(self, request: ov.InferRequest, name: str) -> None:
        port = request.get_compiled_model().input(name)
        rank = port.get_partial_shape().rank.get_length()
        self._tensor = ov.Tensor(port.get_element_type(), ov.Shape([1] * rank))
        self._data = self._tensor.data
        request.set_tensor(name, self._tensor)

    def put(self, numbers: Sequence[int] | int) -> None:
        """Set the numbers of the next step."""
        count = 1 if isinstance(numbers, int) else len(numbers)
        if self._data.size != count:
            self._tensor.shape = [count]
            self._data = self._tensor.data
        self._data[...] = numbers


def _flat(parts: Iterable[Iterable[int]]) -> list[int]:
    return list(chain.from_iterable(parts))


def _memory(caches: list[CacheInput], count: int) -> list[npt.NDArray[np.uint8]]:  # of each cache [count, bytes]
    try:
        return [_untouched(count, cache.block_bytes) for cache in caches]
    except (MemoryError, OSError):
        wanted = count * sum(cache.block_bytes for cache in caches)
        raise Problem(f"cache_budget: there is no memory of {wanted} bytes: give a smaller one") from None


def _untouched(count: int, block_bytes: int) -> npt.NDArray[np.uint8]:  # [count, block_bytes], zeros
    """Return memory that is taken as it is used: numpy asks for huge pages, 2 MB for each cache of a short text."""
    if sys.platform == "win32":
        return np.zeros((count, block_bytes), np.uint8)
    memory = mmap.mmap(-1, count * block_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return np.frombuffer(memory, np.uint8).reshape(count, block_bytes)
