"""Windows and batches: every text once, within the budget, with little padding."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gpt2_text_prediction.classification.batches import (
    BATCH_TOKENS,
    MOST_PADDING,
    STEP,
    WINDOW,
    WINDOW_CHARS,
    batch_ids,
    batches,
    windows,
)


@given(st.lists(st.integers(1, 1024), max_size=80), st.booleans())
def test_every_text_is_in_one_batch_within_the_budget(lengths, padded):
    found = batches(lengths, padded)
    assert sorted(i for batch in found for i in batch) == list(range(len(lengths)))
    for batch in found:
        longest = lengths[batch[0]]
        assert all(lengths[i] <= longest if padded else lengths[i] == longest for i in batch)
        assert len(batch) * longest <= max(BATCH_TOKENS, longest)
        assert all(longest - lengths[i] <= max(STEP, longest / MOST_PADDING) for i in batch)


def test_like_lengths_come_together():
    assert batches([5, 1000, 6, 1000, 1000, 7], padded=True) == [[1, 3], [4], [5, 2, 0]]
    assert batches([5, 1000, 6, 5], padded=False) == [[1], [2], [0, 3]]


def test_rows_are_padded_on_the_right():
    ids = batch_ids([[1, 2, 3], [4]], 9, 100)
    assert ids.shape == (2, STEP)
    assert ids[:, :4].tolist() == [[1, 2, 3, 9], [4, 9, 9, 9]]
    assert batch_ids([[1, 2, 3]], 9, 5).tolist() == [[1, 2, 3, 9, 9]]  # no further than the positions
    assert batch_ids([[1, 2], [3, 4]], None, 100).tolist() == [[1, 2], [3, 4]]
    assert ids.dtype == np.int64


def test_windows_are_read_as_they_are_needed():
    taken = []

    def texts():
        for i in range(3 * WINDOW):
            taken.append(i)
            yield i

    first = next(windows(texts(), lambda _: 1))
    assert first == taken == list(range(WINDOW))


def test_a_window_of_large_texts_has_few():
    sizes = [WINDOW_CHARS, 1, WINDOW_CHARS - 1, 1]
    assert list(windows(range(4), sizes.__getitem__)) == [[0], [1, 2], [3]]
