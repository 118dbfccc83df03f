"""labels: their order, and a hold-out and a sample that have each label's share."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt2_tools.finetune.classification.labels import sampled, sort_labels, stratified

LABELS = st.lists(st.integers(0, 5), min_size=1, max_size=200).map(np.array)
SHARES = st.sampled_from([0.05, 0.1, 0.2, 0.25, 1 / 3, 0.5])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["10", "9", "-1", "1.5"], ["-1", "1.5", "9", "10"]),
        (["10", "9", "a"], ["10", "9", "a"]),
        (["1.0", "1"], ["1", "1.0"]),
        (["spam", "Ham", "ham", "été"], ["Ham", "ham", "spam", "été"]),
        (["nan", "1"], ["1", "nan"]),
        (["9" * 5000, "8"], ["8", "9" * 5000]),  # longer than Python reads as a number
    ],
)
def test_numbers_are_sorted_by_value_and_others_by_text(given, expected):
    assert sort_labels(given) == expected
    assert sort_labels(given[::-1]) == expected


@given(LABELS, SHARES)
def test_each_label_gives_its_share_and_is_trained_on(labels, share):
    held = stratified(labels, share)
    all_of, held_of = Counter(labels.tolist()), Counter(labels[held].tolist())
    for label, count in all_of.items():
        if count == 1:
            assert held_of[label] == 0
        else:
            assert 1 <= held_of[label] < count
            assert held_of[label] == 1 or abs(held_of[label] - count * share) <= 0.5 + 1e-9
    np.testing.assert_array_equal(held, stratified(labels, share))


@given(st.integers(2, 200), SHARES)
def test_what_is_held_out_is_spread_evenly(count, share):
    at = np.flatnonzero(stratified(np.zeros(count, int), share))
    gaps = np.diff(at)
    assert len(gaps) == 0 or gaps.max() - gaps.min() <= 1


def test_a_hold_out_by_hand():
    labels = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 2])
    assert np.flatnonzero(stratified(labels, 0.4)).tolist() == [1, 3, 6, 8]
    assert not stratified(labels, 0.0).any()


@given(LABELS, st.integers(1, 50))
def test_a_sample_has_each_labels_share_to_within_one(labels, most):
    among = np.arange(len(labels)) % 3 > 0
    taken = sampled(labels, among, most)
    assert not (taken & ~among).any()
    assert taken.sum() == min(most, among.sum())
    for label in set(labels.tolist()):
        count = int((labels[among] == label).sum())
        assert abs(int((labels[taken] == label).sum()) - count * taken.sum() / max(among.sum(), 1)) <= 1


def test_without_a_limit_all_are_taken():
    among = np.array([True, False, True])
    assert sampled(np.zeros(3, int), among, None) is among
