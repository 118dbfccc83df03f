"""The paged back end: a KV cache in blocks, so that sequences of any length run in one step without padding.

A sequence holds blocks as long as its cache lives. Sequences with a common beginning share its full blocks, forks
also the last one until one of them writes into it. What is not held is computed again from the tokens: a cache that
is not in a step may lose its blocks to one that is.
Letters: T tokens of a step, W positions whose logits are returned, V vocabulary.
"""

import mmap
import sys
from collections.abc import Iterable, Sequence
from itertools import accumulate, chain, pairwise

import numpy as np
import numpy.typing as npt
import openvino as ov

from gpt2_text_prediction.engine.backends.block_pool import (
    Allocation,
    AllocationRequest,
    BlockPool,
    BlockTable,
    NotEnoughBlocks,
)
from gpt2_text_prediction.engine.backends.paged_attention import INPUTS, CacheInput, NoPagedAttention, cache_inputs
from gpt2_text_prediction.engine.backends.self_test import agrees_with_its_cache
from gpt2_text_prediction.engine.sequence import CacheUsage, Logits, NoRoom, StepInput
from gpt2_text_prediction.problem import Problem

SEQUENCES_BY_DEFAULT = 16
"""Size of the pool without a budget, in sequences of all positions; memory is taken as it is used."""


class Paged:
    """One infer request, and the memory of its KV cache."""

    name = "paged"

    def __init__(self, compiled: ov.CompiledModel, n_positions: int, budget: int | None = None) -> None:
        """Take cache memory of at most `budget` bytes.

        Raises NoPagedAttention where the compiled model is not one of paged attention or answers wrongly, and
        Problem for a budget in which a single sequence of n_positions does not fit.
        """
        caches, size = cache_inputs(compiled)
        self.block_bytes = sum(cache.block_bytes for cache in caches)
        count = self._block_count(-(-n_positions // size), budget)
        self.budget = count * self.block_bytes if budget is None else budget
        self._prefix_hits = self._recomputed_tokens = 0
        self._request = compiled.create_infer_request()
        self._inputs = {name: _Input(self._request, name) for name in INPUTS}
        self._memory = _memory(caches, count)
        self.blocks = BlockPool(count, size)
        for cache, memory in zip(caches, self._memory, strict=True):
            self._request.set_tensor(cache.name, ov.Tensor(memory, ov.Shape([count, *cache.shape]), cache.dtype))
        vocab_size = compiled.output(0).get_partial_shape()[1].get_length()
        if not agrees_with_its_cache(self.step, n_positions, vocab_size):
            raise NoPagedAttention("its paged attention answers differently with a cache")

    def step(self, inputs: Sequence[StepInput]) -> tuple[list[Logits], list[BlockTable]]:
        """Run one step; see BackEnd.step. Raises NoRoom, before anything is computed, where memory does not suffice."""
        requests = [self._allocation_request(sequence) for sequence in inputs]
        try:
            allocations, copies = self.blocks.allocate(requests)
        except NotEnoughBlocks as error:
            raise NoRoom(
                f"{len(inputs)} sequences with {sum(len(request.tokens) for request in requests)} tokens in all need "
                f"{error.needed * self.block_bytes} bytes of cache, more than its {self.budget}: run fewer sequences "
                "at once, or give a larger cache_budget"
            ) from None
        for source, target in copies:
            for memory in self._memory:
                memory[target] = memory[source]
        for allocation, request in zip(allocations, requests, strict=True):
            found = allocation.start - request.num_computed_tokens
            self._prefix_hits += max(0, found)
            self._recomputed_tokens += max(0, -found)
        logits = self._infer(inputs, requests, allocations)
        return logits, [
            self.blocks.cache_full_blocks(allocation, request.tokens)
            for allocation, request in zip(allocations, requests, strict=True)
        ]

    def fits(self, lengths: Sequence[int]) -> bool:
        """See BackEnd.fits."""
        return sum(-(-length // self.blocks.size) for length in lengths) <= self.blocks.count

    def reset_prefix_cache(self) -> None:
        """See BackEnd.reset_prefix_cache."""
        self.blocks.reset_prefix_cache()

    def usage(self) -> CacheUsage:
        """See BackEnd.usage."""
        used = self.blocks.count - self.blocks.num_free_blocks()
        return CacheUsage(used, self.blocks.count, self._prefix_hits, self._recomputed_tokens)

    def _block_count(self, blocks_of_a_sequence: int, budget: int | None) -> int:
        if budget is None:
            return SEQUENCES_BY_DEFAULT * blocks_of_a_sequence
        least = blocks_of_a_sequence + 1  # one to copy a shared block to
        if budget < least * self.block_bytes:
            raise Problem(
                f"cache_budget: expected at least {least * self.block_bytes} bytes, for one sequence of all positions, "
                f"got {budget}"
            )
        return budget // self.block_bytes

    def _allocation_request(self, sequence: StepInput) -> AllocationRequest:
        table = sequence.cache.location
        past, new = sequence.past_length(), len(sequence.tokens)
        return AllocationRequest(
            table if isinstance(table, BlockTable) and table.pool is self.blocks else None,
            [*sequence.cache.tokens[:past], *sequence.tokens],
            past,
            past + min((index % new for index in sequence.logits_indices), default=new - 1),
        )

    def _infer(
        self, inputs: Sequence[StepInput], requests: list[AllocationRequest], allocations: list[Allocation]
    ) -> list[Logits]:
        starts = [allocation.start for allocation in allocations]
        lengths = [len(request.tokens) for request in requests]
        ends = [0, *accumulate(length - start for length, start in zip(lengths, starts, strict=True))]
        tables = [allocation.table.blocks for allocation in allocations]
        indices = [
            end - len(sequence.tokens) + index % len(sequence.tokens)
            for sequence, end in zip(inputs, ends[1:], strict=True)
            for index in sequence.logits_indices
        ]
        values: dict[str, Sequence[int]] = {
            "input_ids": _flat(request.tokens[start:] for request, start in zip(requests, starts, strict=True)),
            "position_ids": _flat(map(range, starts, lengths)),
            "past_lens": starts,
            "subsequence_begins": ends,
            "block_indices": _flat(tables),
            "block_indices_begins": [0, *accumulate(map(len, tables))],
            "max_context_len": [max(lengths)],
            "logits_indices": indices or [0],  # never empty: the chunk of a prompt wants no logits
        }
        for name, numbers in values.items():
            self._inputs[name].put(numbers)
        self._request.infer(share_outputs=True)
        logits = self._request.get_output_tensor(0).data.copy()  # the next step writes into the same memory
        logits_ends = [0, *accumulate(len(sequence.logits_indices) for sequence in inputs)]
        return [logits[first:end] for first, end in pairwise(logits_ends)]


class _Input:
    """An input tensor that is kept between steps: handing arrays to `infer` costs as much as all our other Python."""

    def __init__(self, request: ov.InferRequest, name: str) -> None:
        port = request.get_compiled_model().input(name)
        rank = port.get_partial_shape().rank.get_length()
        self._tensor = ov.Tensor(port.get_element_type(), ov.Shape([1] * rank))
        self._data = self._tensor.data.reshape(-1)  # of max_context_len too, which is a scalar
        request.set_tensor(name, self._tensor)

    def put(self, numbers: Sequence[int]) -> None:
        """Set the numbers of the next step."""
        if self._data.size != len(numbers):
            self._tensor.shape = [len(numbers)]
            self._data = self._tensor.data
        if len(numbers) == 1:  # a fifth of the time that a list takes; most inputs of one text are one number
            self._data[0] = numbers[0]
        else:
            self._data[:] = numbers


def _flat(parts: Iterable[Iterable[int]]) -> list[int]:
    return list(chain.from_iterable(parts))


def _memory(caches: list[CacheInput], count: int) -> list[npt.NDArray[np.uint8]]:  # of each cache [count, bytes]
    try:
        return [_untouched(count, cache.block_bytes) for cache in caches]
    except (MemoryError, OSError):
        wanted = count * sum(cache.block_bytes for cache in caches)
        raise Problem(f"cache_budget: {wanted} bytes cannot be allocated: free memory, or give a smaller one") from None


def _untouched(count: int, block_bytes: int) -> npt.NDArray[np.uint8]:  # [count, block_bytes], zeros
    """Return memory that is taken page by page as it is used; numpy's would be huge pages, 2 MB a cache at once."""
    if sys.platform == "win32":
        return np.zeros((count, block_bytes), np.uint8)
    memory = mmap.mmap(-1, count * block_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return np.frombuffer(memory, np.uint8).reshape(count, block_bytes)
