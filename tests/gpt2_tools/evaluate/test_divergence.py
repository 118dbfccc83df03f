"""divergence: numbers by hand, the definition in long doubles, and differences that neither would show."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt2_tools.evaluate.divergence import SLICE_VALUES, differences, joined


def by_definition(x, y):  # [N, V], [N, V] -> [N]
    x, y = (logits.astype(np.longdouble) for logits in (x, y))
    log_p, log_q = (logits - np.logaddexp.reduce(logits, -1, keepdims=True) for logits in (x, y))
    return (np.exp(log_p) * (log_p - log_q)).sum(-1)


def test_by_hand():
    """With p = 3/4, 1/4 and q = 1/2, 1/2: KL = 3/4 log 3/2 + 1/4 log 1/2.

    Of two tokens that are as likely the first is meant.
    """
    reference = np.log(np.array([[3, 1], [1, 3]], np.float32))
    candidate = np.full((2, 2), 7, np.float32)
    found = differences(reference, candidate, np.array([0, 0]))
    kl = 3 / 4 * math.log(3 / 2) + 1 / 4 * math.log(1 / 2)
    np.testing.assert_allclose(found.divergence, [kl, kl], rtol=1e-6)
    np.testing.assert_allclose(found.reference, np.log([3 / 4, 1 / 4]), rtol=1e-6)
    np.testing.assert_allclose(found.candidate, np.log([1 / 2, 1 / 2]), rtol=1e-6)
    np.testing.assert_array_equal(found.same_top, [True, False])


@given(st.integers(0, 99), st.floats(-200, 200), st.floats(1e-2, 30), st.integers(1, 4))
def test_the_definition_says_the_same(seed, level, spread, rows):
    rng = np.random.default_rng(seed)
    reference, candidate = (level + spread * rng.normal(size=(2, rows, 50))).astype(np.float32)
    found = differences(reference, candidate, rng.integers(0, 50, rows))
    np.testing.assert_allclose(found.divergence, by_definition(reference, candidate), rtol=1e-9, atol=1e-14)
    np.testing.assert_array_equal(found.same_top, reference.argmax(-1) == candidate.argmax(-1))


@pytest.mark.parametrize("spread", [1e-3, 1e-4, 1e-5])
def test_a_tiny_difference_is_half_the_variance_of_it(spread):
    """KL = Var_p(x - y) / 2 + terms of the third order; f32 sums would lose it below 1e-7."""
    rng = np.random.default_rng(0)
    reference = rng.normal(size=(3, 8000)).astype(np.float32)
    candidate = (reference + spread * rng.normal(size=reference.shape)).astype(np.float32)
    p = np.exp(reference.astype(np.float64))
    p /= p.sum(-1, keepdims=True)
    change = reference.astype(np.float64) - candidate
    variance = (p * change**2).sum(-1) - (p * change).sum(-1) ** 2
    np.testing.assert_allclose(differences(reference, candidate, np.zeros(3, int)).divergence, variance / 2, rtol=0.02)


def test_the_same_model_is_no_distance_away():
    logits = np.random.default_rng(0).normal(size=(5, 100)).astype(np.float32)
    found = differences(logits, logits.copy(), np.arange(5))
    np.testing.assert_array_equal(found.divergence, 0)
    np.testing.assert_array_equal(found.reference, found.candidate)
    assert found.same_top.all()


def test_many_positions_go_in_slices_and_come_in_order():
    rng = np.random.default_rng(1)
    rows = 3 * SLICE_VALUES // 8192 + 5
    reference, candidate = rng.normal(size=(2, rows, 8192)).astype(np.float32)
    labels = rng.integers(0, 8192, rows)
    found = differences(reference, candidate, labels)
    single = joined([differences(reference[[i]], candidate[[i]], labels[[i]]) for i in (0, 70, rows - 1)])
    for column, some in zip(found, single, strict=True):
        assert column.shape == (rows,)
        np.testing.assert_allclose(column[[0, 70, rows - 1]], some, rtol=1e-12)


def test_logits_that_are_no_numbers_give_none():
    reference = np.zeros((2, 3), np.float32)
    candidate = np.array([[0, np.nan, 0], [0, 0, 0]], np.float32)
    found = differences(reference, candidate, np.array([0, 0]))
    assert np.isnan(found.divergence[0])
    assert found.divergence[1] == 0
