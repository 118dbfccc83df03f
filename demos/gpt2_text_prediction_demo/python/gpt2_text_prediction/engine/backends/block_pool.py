"""Which block of a paged cache holds what: leases, reference counts, common beginnings. It knows no OpenVINO.

A block is a number; it has room for the keys and values of `size` tokens of one row. A full block is known by its
tokens and the block before it, so that other rows with the same beginning use it too; a known block that no lease
holds stays known until its memory is needed, the longest unused first. When that is not enough, the leases of rows
that are not in the step lose theirs, again the longest unused first; they are computed again from their tokens.
"""

from collections import OrderedDict, deque
from collections.abc import Sequence
from itertools import chain
from threading import Lock
from typing import NamedTuple
from weakref import WeakSet


class NotEnoughBlocks(Exception):
    """The rows of one step need more blocks than there are; nothing has changed."""

    def __init__(self, needed: int, count: int) -> None:
        super().__init__(f"{needed} blocks needed, there are {count}")
        self.needed = needed


class Lease:
    """The blocks that hold a row's first `held` tokens. Its end, whenever and in whatever thread, gives them back."""

    def __init__(self, owner: "Blocks", blocks: list[int], held: int, last_used: int) -> None:
        self.owner = owner
        self.blocks = blocks
        self.held = held
        self.last_used = last_used  # the number of a step
        owner.leases.add(self)

    def __copy__(self) -> "Lease":
        with self.owner.lock:  # a step in another thread may be taking the blocks away
            self.owner.notes.append((1, tuple(self.blocks)))
            return Lease(self.owner, list(self.blocks), self.held, self.last_used)

    def __del__(self) -> None:
        self.owner.notes.append((-1, tuple(self.blocks)))


class Claim(NamedTuple):
    """What a row needs of a step: room for `tokens`, all that it has afterwards.

    lease: what it holds so far, if anything; the first `kept` of those tokens count. first: the first token that is
    to be computed, even if it is held.
    """

    lease: Lease | None
    tokens: list[int]
    kept: int
    first: int


class Grant(NamedTuple):
    """A row's part in a step: its blocks, and how many tokens they hold already."""

    lease: Lease
    start: int


class Copy(NamedTuple):
    """A block to be copied before the step, since what it holds is in use as it is."""

    source: int
    target: int


class _Found(NamedTuple):
    blocks: list[int]  # the blocks that hold the first `start` tokens
    start: int
    shared_end: bool  # whether the last of them is partly ours and has to be copied


class Blocks:
    """A number of blocks and who holds them; to be used from one thread, but leases are copied and end in any."""

    def __init__(self, count: int, size: int) -> None:
        self.count = count
        self.size = size
        self.lock = Lock()  # of what leases hold; a lease's end does not take it, since it may come anywhere
        self.leases: WeakSet[Lease] = WeakSet()
        self.notes: deque[tuple[int, tuple[int, ...]]] = deque()  # leases copied and ended, not yet counted
        self._references = [0] * count
        self._empty = list(range(count))[::-1]  # a stack: memory that was never touched stays so
        self._unused: OrderedDict[int, None] = OrderedDict()  # known blocks that no lease holds, longest unused first
        self._names = [0] * count  # of known blocks; 0: not known
        self._keys: dict[int, tuple[int, tuple[int, ...]]] = {}  # of known blocks: (name of the one before, tokens)
        self._known: dict[tuple[int, tuple[int, ...]], int] = {}
        self._last_name = 0
        self._steps = 0

    def free(self) -> int:
        """Return how many blocks no lease holds."""
        self._count_notes()
        return len(self._empty) + len(self._unused)

    def forget(self) -> None:
        """Know nothing any more of blocks that no lease holds."""
        with self.lock:
            self._count_notes()
            while self._unused:
                self._empty.append(self._forget_one())

    def grant(self, claims: Sequence[Claim]) -> tuple[list[Grant], list[Copy]]:
        """Return each row's blocks, and the copies to be made, in that order, before any other call.

        The claims' own leases hold nothing afterwards, and the new ones nothing that others find until `publish`.
        Raises NotEnoughBlocks, with all as it was.
        """
        with self.lock:
            return self._grant(claims)

    def _grant(self, claims: Sequence[Claim]) -> tuple[list[Grant], list[Copy]]:
        self._count_notes()
        found = [self._find(claim) for claim in claims]
        needed = [
            -(-len(claim.tokens) // self.size) - len(part.blocks) + part.shared_end
            for claim, part in zip(claims, found, strict=True)
        ]
        in_all = sum(needed) + len(set(chain.from_iterable(part.blocks for part in found)))
        if in_all > self.count:
            raise NotEnoughBlocks(in_all, self.count)
        self._steps += 1
        for part in found:
            self._hold(part.blocks)
        for claim in claims:
            if claim.lease is not None:
                self._end(claim.lease)
        self._make_room(sum(needed))
        grants, copies = [], []
        for part, count in zip(found, needed, strict=True):
            fresh = [self._take() for _ in range(count)]
            if part.shared_end:
                copies.append(Copy(part.blocks.pop(), fresh[0]))
            grants.append(Grant(Lease(self, part.blocks + fresh, 0, self._steps), part.start))
        self._release([copy.source for copy in copies])
        return grants, copies

    def publish(self, grant: Grant, tokens: Sequence[int]) -> Lease:
        """Say that a grant's blocks hold these tokens now, and return its lease; full blocks are known from here on."""
        lease, size = grant.lease, self.size
        with self.lock:
            for i in range(grant.start // size, len(tokens) // size):
                self._publish_block(lease.blocks, i, tuple(tokens[i * size : (i + 1) * size]))
            lease.held = len(tokens)
        return lease

    def _publish_block(self, blocks: list[int], i: int, tokens: tuple[int, ...]) -> None:
        block = blocks[i]
        key = self._name_before(blocks, i), tokens
        known = self._known.get(key)
        if known is not None:  # another row has computed the same meanwhile
            self._hold([known])
            blocks[i] = known
            self._release([block])
            return
        self._last_name += 1
        self._names[block] = self._last_name
        self._keys[block] = key
        self._known[key] = block

    def _find(self, claim: Claim) -> _Found:
        """Look for the tokens of a claim in its lease, and behind its last full block in what is known."""
        size = self.size
        ours = claim.lease.blocks if claim.lease else []
        held = min(claim.lease.held, claim.kept) if claim.lease else 0
        blocks = ours[: held // size]
        while (len(blocks) + 1) * size <= claim.first:
            start = len(blocks) * size
            key = self._name_before(blocks, len(blocks)), tuple(claim.tokens[start : start + size])
            block = self._known.get(key)
            if block is None:
                break
            blocks.append(block)
        if len(blocks) * size >= held:
            return _Found(blocks, len(blocks) * size, False)
        end = ours[len(blocks)]
        return _Found([*blocks, end], held, bool(self._references[end] > 1 or self._names[end]))

    def _name_before(self, blocks: list[int], i: int) -> int:
        return self._names[blocks[i - 1]] if i else 0

    def _make_room(self, needed: int) -> None:
        if len(self._empty) + len(self._unused) >= needed:
            return
        for lease in sorted(self.leases, key=lambda lease: lease.last_used):
            self._end(lease)
            if self.free() >= needed:
                return

    def _count_notes(self) -> None:
        while self.notes:
            change, blocks = self.notes.popleft()
            if change > 0:
                self._hold(blocks)
            else:
                self._release(blocks)

    def _end(self, lease: Lease) -> None:
        blocks, lease.blocks, lease.held = lease.blocks, [], 0
        self._release(blocks)

    def _hold(self, blocks: Sequence[int]) -> None:
        for block in blocks:
            if not self._references[block]:
                self._unused.pop(block, None)
            self._references[block] += 1

    def _release(self, blocks: Sequence[int]) -> None:
        for block in reversed(blocks):  # the end of a text is forgotten before its beginning
            self._references[block] -= 1
            if not self._references[block]:
                if self._names[block]:
                    self._unused[block] = None
                else:
                    self._empty.append(block)

    def _take(self) -> int:
        """Return a block that nothing is known of, held once."""
        block = self._empty.pop() if self._empty else self._forget_one()
        self._references[block] = 1
        return block

    def _forget_one(self) -> int:
        """Return the known block that was unused the longest, as one that nothing is known of."""
        block, _ = self._unused.popitem(last=False)
        del self._known[self._keys.pop(block)]
        self._names[block] = 0
        return block
