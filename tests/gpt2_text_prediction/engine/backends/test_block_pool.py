"""block_pool: against a memory that remembers what was written where, whoever comes and goes."""

import gc
from copy import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt2_text_prediction.engine.backends.block_pool import AllocationRequest, BlockPool, BlockTable, NotEnoughBlocks

SIZE = 4


class Remembering:
    """Blocks whose every place remembers the text up to its token, as keys and values do."""

    def __init__(self, count: int) -> None:
        self.blocks = BlockPool(count, SIZE)
        self.memory = [[None] * SIZE for _ in range(count)]
        self.computed = 0

    def step(self, *requests: AllocationRequest) -> list[BlockTable]:
        allocations, copies = self.blocks.allocate(requests)
        for source, target in copies:
            self.memory[target] = list(self.memory[source])
        for allocate, request in zip(allocations, requests, strict=True):
            for place in range(allocate.start, len(request.tokens)):
                self.memory[allocate.table.blocks[place // SIZE]][place % SIZE] = tuple(request.tokens[: place + 1])
            self.computed += len(request.tokens) - allocate.start
        for allocate, request in zip(allocations, requests, strict=True):
            assert allocate.start <= request.first
            self.judge(allocate.table.blocks, request.tokens)
        return [
            self.blocks.cache_full_blocks(allocate, request.tokens)
            for allocate, request in zip(allocations, requests, strict=True)
        ]

    def judge(self, blocks: list[int], tokens: list[int]) -> None:
        assert len(blocks) == -(-len(tokens) // SIZE)
        for place in range(len(tokens)):
            assert self.memory[blocks[place // SIZE]][place % SIZE] == tuple(tokens[: place + 1])


def new(tokens, table=None, num_computed_tokens=0) -> AllocationRequest:
    """A claim that wants the logits of its last token."""
    return AllocationRequest(table, list(tokens), num_computed_tokens, len(tokens) - 1)


def test_a_row_has_the_blocks_that_it_fills():
    memory = Remembering(5)
    (table,) = memory.step(new(range(9)))
    assert (len(table.blocks), table.num_tokens, memory.blocks.num_free_blocks()) == (3, 9, 2)


def test_a_row_continues_in_its_last_block():
    memory = Remembering(5)
    (first,) = memory.step(new(range(6)))
    blocks = list(first.blocks)
    (second,) = memory.step(new(range(8), first, 6))
    assert (second.blocks, memory.computed) == (blocks, 8)
    (third,) = memory.step(new(range(9), second, 8))
    assert (third.blocks[:2], second.blocks, memory.computed) == (blocks, [], 9)


def test_blocks_are_given_back_when_the_last_lease_ends():
    memory = Remembering(5)
    (table,) = memory.step(new(range(6)))
    other = copy(table)
    del table
    assert memory.blocks.num_free_blocks() == 3
    del other
    assert memory.blocks.num_free_blocks() == 5


def test_a_common_beginning_is_computed_once():
    memory = Remembering(8)
    (one,) = memory.step(new([1, 2, 3, 4, 5, 6, 7, 8, 9]))
    (two,) = memory.step(new([1, 2, 3, 4, 5, 6, 7, 8, 0, 0]))
    assert one.blocks[:2] == two.blocks[:2]
    assert (memory.computed, memory.blocks.num_free_blocks()) == (9 + 2, 8 - 4)


def test_a_beginning_is_found_when_its_row_is_gone():
    memory = Remembering(8)
    memory.step(new(range(9)))
    memory.step(new(range(12)))
    assert memory.computed == 9 + 4


def test_tokens_whose_logits_are_wanted_are_computed_even_where_cached():
    memory = Remembering(8)
    memory.step(new(range(8)))
    memory.step(AllocationRequest(None, [*range(8)], 0, 3))
    assert memory.computed == 8 + 8


def test_the_same_tokens_behind_another_beginning_are_not_the_same():
    memory = Remembering(8)
    memory.step(new([1, 1, 1, 1, 5, 5, 5, 5, 0]))
    memory.step(new([2, 2, 2, 2, 5, 5, 5, 5, 0]))
    assert memory.computed == 18


def test_rows_that_compute_the_same_in_one_step_share_it_afterwards():
    memory = Remembering(8)
    one, two = memory.step(new([1, 2, 3, 4, 5]), new([1, 2, 3, 4, 6]))
    assert one.blocks[0] == two.blocks[0]
    assert memory.blocks.num_free_blocks() == 8 - 3


def test_a_fork_copies_the_last_block_when_it_writes_into_it():
    memory = Remembering(8)
    (root,) = memory.step(new(range(6)))
    fork = copy(root)
    (one,) = memory.step(new([*range(6), 7], root, 6))
    (two,) = memory.step(new([*range(6), 8], fork, 6))
    assert one.blocks[0] == two.blocks[0]
    assert one.blocks[1] != two.blocks[1]
    assert memory.computed == 6 + 1 + 1
    memory.judge(one.blocks, [*range(6), 7])


def test_a_shorter_past_leaves_what_others_know_as_it_is():
    memory = Remembering(8)
    (table,) = memory.step(new(range(8)))
    memory.step(new([0, 1, 2, 3, 4, 9], table, 5))
    memory.step(new(range(9)))
    assert memory.computed == 8 + 1 + 1


def test_the_longest_unused_beginning_is_forgotten_first():
    memory = Remembering(4)
    for tokens in ([1] * 5, [2] * 5, [1] * 6):
        memory.step(new(tokens))
    assert memory.computed == 5 + 5 + 2
    memory.step(new([3] * 9))
    memory.step(new([1] * 5))
    assert memory.computed == 12 + 9 + 1
    memory.step(new([2] * 5))
    assert memory.computed == 22 + 5


def test_the_end_of_a_text_is_forgotten_before_its_beginning():
    memory = Remembering(4)
    memory.step(new(range(13)))
    memory.step(new([9] * 5))
    memory.computed = 0
    memory.step(new(range(13)))
    assert memory.computed == 13 - 8


def test_rows_that_rest_lose_their_blocks_to_rows_that_run():
    memory = Remembering(4)
    (rests,) = memory.step(new([1] * 7))
    (waits,) = memory.step(new([2] * 3))
    memory.step(new([3] * 8))
    assert (rests.num_tokens, waits.num_tokens) == (0, 3)
    (rests,) = memory.step(new([1] * 8, rests, 7))
    memory.judge(rests.blocks, [1] * 8)


@pytest.mark.parametrize("lengths", [[17], [8, 9], [5, 5, 1], [1] * 5])
def test_more_rows_than_blocks_change_nothing(lengths):
    memory = Remembering(4)
    (table,) = memory.step(new([1] * 6))
    with pytest.raises(NotEnoughBlocks, match=r"^\d blocks needed, there are 4$"):
        memory.step(*(new([n + 2] * length) for n, length in enumerate(lengths)))
    assert (table.num_tokens, memory.blocks.num_free_blocks()) == (6, 2)
    memory.step(new([1] * 8, table, 6))
    assert memory.computed == 8


def test_as_many_rows_as_there_are_blocks():
    memory = Remembering(4)
    tables = memory.step(*(new([n]) for n in range(4)))
    memory.step(*(new([n, n], table, 1) for n, table in enumerate(tables)))
    assert memory.computed == 8


def test_an_interrupted_step_leaves_nothing_held_and_nothing_known():
    memory = Remembering(4)
    (table,) = memory.step(new(range(6)))
    memory.blocks.allocate([new(range(10), table, 6)])
    gc.collect()
    assert (table.num_tokens, memory.blocks.num_free_blocks()) == (0, 4)
    memory.step(new(range(10), table, 6))
    assert memory.computed == 6 + 6  # the first block was known


STEP = st.lists(
    st.tuples(
        st.integers(0, 5),  # whose text; a new one past the end
        st.booleans(),  # of a fork
        st.none() | st.integers(0, 12),  # how much of it counts
        st.lists(st.integers(0, 1), min_size=1, max_size=6),
        st.integers(0, 5),  # the first index wanted
    ),
    min_size=1,
    max_size=4,
)


def claims_of(moves, texts) -> list[AllocationRequest]:
    requests: list[AllocationRequest] = []
    for who, fork, kept, tokens, first in moves:
        before, table = texts[who] if who < len(texts) else ([], None)
        if table is not None and (fork or any(request.table is table for request in requests)):
            table = copy(table)
        num_computed_tokens = len(before) if kept is None else min(kept, len(before))
        requests.append(
            AllocationRequest(
                table,
                [*before[:num_computed_tokens], *tokens],
                num_computed_tokens,
                num_computed_tokens + min(first, len(tokens) - 1),
            )
        )
    return requests


def run_schedule(memory: Remembering, steps) -> None:
    texts: list[tuple[list[int], BlockTable]] = []
    for moves in steps:
        requests = claims_of(moves, texts)
        try:
            tables = memory.step(*requests)
        except NotEnoughBlocks:
            tables = []
        if not tables:
            assert sum(1 - (-len(request.tokens) // SIZE) for request in requests) > memory.blocks.count
        texts = [*((request.tokens, table) for request, table in zip(requests, tables, strict=bool(tables))), *texts][
            :5
        ]
        for tokens, table in texts:
            if table.num_tokens:
                memory.judge(table.blocks, tokens)


@settings(max_examples=400, deadline=None)
@given(steps=st.lists(STEP, max_size=14), count=st.integers(4, 24))
def test_any_schedule_finds_what_was_written_for_it(steps, count):
    memory = Remembering(count)
    run_schedule(memory, steps)
    assert memory.blocks.num_free_blocks() == count
