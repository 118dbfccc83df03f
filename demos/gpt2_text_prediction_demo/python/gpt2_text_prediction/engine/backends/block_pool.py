"""The blocks of a paged KV cache: block tables, reference counts, prefix caching, LRU eviction.

A block is a number; it has room for the keys and values of `size` tokens of one sequence. A full block is cached
under its tokens and the block before it, so that other sequences with the same beginning use it too. A cached block
that no block table holds stays until its memory is needed; the least recently used is evicted first. Where that is
not enough, sequences that are not in the step are preempted, again the least recently used first: their blocks are
taken away, and they are computed again from their tokens. Sequences kept by PrefixCache are among them.

The terms are those of vLLM (v1/core/block_pool.py), where the scheduler preempts; here the pool does, and the request
goes on without noticing.
"""

from collections import OrderedDict, deque
from collections.abc import Sequence
from itertools import chain
from threading import Lock
from typing import NamedTuple
from weakref import WeakSet


class NotEnoughBlocks(Exception):
    """The sequences of one step need more blocks than there are; nothing has changed."""

    def __init__(self, needed: int, count: int) -> None:
        super().__init__(f"{needed} blocks needed, there are {count}")
        self.needed = needed


class BlockTable:
    """The blocks that hold a sequence's first `num_tokens` tokens.

    It may be copied and dropped in any thread, at any time; dropping it gives its references back.
    """

    def __init__(self, pool: "BlockPool", blocks: list[int], num_tokens: int, last_used: int) -> None:
        self.pool = pool
        self.blocks = blocks
        self.num_tokens = num_tokens
        self.last_used = last_used  # the number of a step
        pool.tables.add(self)

    def __copy__(self) -> "BlockTable":
        with self.pool.lock:  # a step in another thread may be taking the blocks away
            self.pool.deferred.append((1, tuple(self.blocks)))
            return BlockTable(self.pool, list(self.blocks), self.num_tokens, self.last_used)

    def __del__(self) -> None:
        # No lock: the garbage collector may run this in a thread that holds it already.
        self.pool.deferred.append((-1, tuple(self.blocks)))


class AllocationRequest(NamedTuple):
    """What a sequence needs for a step: blocks for `tokens`, all that it has afterwards.

    table: its blocks so far, if any, of whose tokens the first `num_computed_tokens` are kept. first: the first token
    that must be computed, even if a block holds it.
    """

    table: BlockTable | None
    tokens: list[int]
    num_computed_tokens: int
    first: int


class Allocation(NamedTuple):
    """A sequence's blocks for a step, and how many of its tokens they hold already."""

    table: BlockTable
    start: int


class BlockCopy(NamedTuple):
    """A block that must be copied before the step: the source is shared and must not change."""

    source: int
    target: int


class _Prefix(NamedTuple):
    blocks: list[int]  # the blocks that hold the first `start` tokens
    start: int
    copy_last: bool  # whether the last of them is partly ours but shared, and has to be copied


class BlockPool:
    """A fixed number of blocks. One thread allocates; block tables are copied and dropped in any thread."""

    def __init__(self, count: int, size: int) -> None:
        self.count = count
        self.size = size
        self.lock = Lock()  # of all block tables' contents
        self.tables: WeakSet[BlockTable] = WeakSet()
        self.deferred: deque[tuple[int, tuple[int, ...]]] = deque()  # reference-count changes of copies and drops
        self._references = [0] * count
        self._free = list(range(count))[::-1]  # a stack: memory that was never touched stays untouched
        self._evictable: OrderedDict[int, None] = OrderedDict()  # cached blocks in no table, least recently used first
        # 0: not cached. vLLM identifies a cached block by a hash of its tokens and the block before; this is a counter.
        self._prefix_ids = [0] * count
        self._last_prefix_id = 0
        self._keys: dict[int, tuple[int, tuple[int, ...]]] = {}  # of cached blocks: (prefix id before, tokens)
        self._cached: dict[tuple[int, tuple[int, ...]], int] = {}
        self._steps = 0

    def num_free_blocks(self) -> int:
        """Return how many blocks no block table holds."""
        with self.lock:
            return self._num_free_blocks()

    def _num_free_blocks(self) -> int:
        self._apply_deferred()
        return len(self._free) + len(self._evictable)

    def reset_prefix_cache(self) -> None:
        """Drop every cached block that no block table holds."""
        with self.lock:
            self._apply_deferred()
            while self._evictable:
                self._free.append(self._evict_one())

    def allocate(self, requests: Sequence[AllocationRequest]) -> tuple[list[Allocation], list[BlockCopy]]:
        """Return each sequence's blocks, and the copies to make, in that order, before any other call.

        The requests' own tables are in use again, or empty; new blocks are not found by others until
        `cache_full_blocks`.
        Raises NotEnoughBlocks, with everything as it was.
        """
        with self.lock:
            return self._allocate(requests)

    def _allocate(self, requests: Sequence[AllocationRequest]) -> tuple[list[Allocation], list[BlockCopy]]:
        self._apply_deferred()
        if all(map(self._has_room, requests)):  # most steps of a text: less than half of the time
            return self._go_on(requests), []
        prefixes = [self._find_prefix(request) for request in requests]
        needed = [
            -(-len(request.tokens) // self.size) - len(prefix.blocks) + prefix.copy_last
            for request, prefix in zip(requests, prefixes, strict=True)
        ]
        total = sum(needed) + len(set(chain.from_iterable(prefix.blocks for prefix in prefixes)))
        if total > self.count:
            raise NotEnoughBlocks(total, self.count)
        self._steps += 1
        # References to what was found come first: nothing of it may be evicted to make room.
        for prefix in prefixes:
            self._add_references(prefix.blocks)
        for request in requests:
            if request.table is not None:
                self._clear(request.table)
        self._preempt(sum(needed))
        allocations, copies = [], []
        for prefix, count in zip(prefixes, needed, strict=True):
            fresh = [self._pop_free() for _ in range(count)]
            if prefix.copy_last:
                copies.append(BlockCopy(prefix.blocks.pop(), fresh[0]))
            allocations.append(Allocation(BlockTable(self, prefix.blocks + fresh, 0, self._steps), prefix.start))
        self._drop_references([copy.source for copy in copies])
        return allocations, copies

    def _has_room(self, request: AllocationRequest) -> bool:
        """Return whether the last block of a request's table, begun and its own, has room for all its new tokens."""
        table, held = request.table, request.num_computed_tokens
        if table is None or table.num_tokens != held or not held % self.size:
            return False
        last = table.blocks[-1]
        has_one = held // self.size == (len(request.tokens) - 1) // self.size == len(table.blocks) - 1
        return has_one and self._references[last] == 1 and not self._prefix_ids[last]

    def _go_on(self, requests: Sequence[AllocationRequest]) -> list[Allocation]:
        self._steps += 1
        tables = [request.table for request in requests if request.table is not None]
        for table in tables:
            table.last_used = self._steps
        return [Allocation(table, table.num_tokens) for table in tables]

    def cache_full_blocks(self, allocation: Allocation, tokens: Sequence[int]) -> BlockTable:
        """Record that an allocation's blocks hold these tokens now, cache the full ones, and return its table."""
        table, size = allocation.table, self.size
        with self.lock:
            for i in range(allocation.start // size, len(tokens) // size):
                self._cache_block(table.blocks, i, tuple(tokens[i * size : (i + 1) * size]))
            table.num_tokens = len(tokens)
        return table

    def _cache_block(self, blocks: list[int], i: int, tokens: tuple[int, ...]) -> None:
        block = blocks[i]
        key = self._prefix_id_before(blocks, i), tokens
        cached = self._cached.get(key)
        if cached is not None:  # another sequence of the step has computed the same
            self._add_references([cached])
            blocks[i] = cached
            self._drop_references([block])
            return
        self._last_prefix_id += 1
        self._prefix_ids[block] = self._last_prefix_id
        self._keys[block] = key
        self._cached[key] = block

    def _find_prefix(self, request: AllocationRequest) -> _Prefix:
        """Look for the tokens of a request in its table, and after its last full block among the cached ones."""
        size, table = self.size, request.table
        own = table.blocks if table else []
        held = min(table.num_tokens, request.num_computed_tokens) if table else 0
        blocks = own[: held // size]
        while (len(blocks) + 1) * size <= request.first:
            start = len(blocks) * size
            key = self._prefix_id_before(blocks, len(blocks)), tuple(request.tokens[start : start + size])
            block = self._cached.get(key)
            if block is None:
                break
            blocks.append(block)
        if len(blocks) * size >= held:
            return _Prefix(blocks, len(blocks) * size, False)
        last = own[len(blocks)]
        return _Prefix([*blocks, last], held, bool(self._references[last] > 1 or self._prefix_ids[last]))

    def _prefix_id_before(self, blocks: list[int], i: int) -> int:
        return self._prefix_ids[blocks[i - 1]] if i else 0

    def _preempt(self, needed: int) -> None:
        """Preempt sequences, the least recently used first, until enough blocks are free."""
        if len(self._free) + len(self._evictable) >= needed:
            return
        for table in sorted(self.tables, key=lambda table: table.last_used):
            self._clear(table)
            if self._num_free_blocks() >= needed:
                return

    def _apply_deferred(self) -> None:
        while self.deferred:
            change, blocks = self.deferred.popleft()
            if change > 0:
                self._add_references(blocks)
            else:
                self._drop_references(blocks)

    def _clear(self, table: BlockTable) -> None:
        blocks, table.blocks, table.num_tokens = table.blocks, [], 0
        self._drop_references(blocks)

    def _add_references(self, blocks: Sequence[int]) -> None:
        for block in blocks:
            if not self._references[block]:
                self._evictable.pop(block, None)
            self._references[block] += 1

    def _drop_references(self, blocks: Sequence[int]) -> None:
        for block in reversed(blocks):  # so that the end of a text is evicted before its beginning
            self._references[block] -= 1
            if not self._references[block]:
                if self._prefix_ids[block]:
                    self._evictable[block] = None
                else:
                    self._free.append(block)

    def _pop_free(self) -> int:
        """Return a block that is not cached, with one reference."""
        block = self._free.pop() if self._free else self._evict_one()
        self._references[block] = 1
        return block

    def _evict_one(self) -> int:
        """Remove the least recently used block from the prefix cache and return it."""
        block, _ = self._evictable.popitem(last=False)
        del self._cached[self._keys.pop(block)]
        self._prefix_ids[block] = 0
        return block
