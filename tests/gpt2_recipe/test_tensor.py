"""Tests of gpt2_recipe.tensor."""

import numpy as np
import pytest

from gpt2_recipe.tensor import STORED_AS, StoredTensor, tensor_of
from support.toy import rounded, stored


def tensor(values: np.ndarray, dtype: str) -> StoredTensor:
    return StoredTensor(dtype, values.shape, np.frombuffer(stored(values, dtype).tobytes(), np.uint8))


@pytest.mark.parametrize("dtype", STORED_AS)
@pytest.mark.parametrize("shape", [(), (3, 5), (0, 4)])
def test_values_are_given_as_stored_and_widened(dtype, shape):
    values = rounded(np.random.default_rng(5).normal(size=shape), dtype)
    found = tensor(values, dtype)
    np.testing.assert_array_equal(found.as_f32(), values, strict=True)
    np.testing.assert_array_equal(found.stored(), stored(values, dtype), strict=True)


def test_only_f32_is_not_copied():
    values = np.linspace(-1, 1, 8, dtype=np.float32)
    for dtype in STORED_AS:
        found = tensor(values, dtype)
        assert np.shares_memory(found.as_f32(), found.data) == (dtype == "F32")
        assert np.shares_memory(found.stored(), found.data)


@pytest.mark.parametrize("shape", [(), (3, 5), (0, 4)])
def test_computed_values_become_a_tensor(shape):
    values = np.asarray(np.random.default_rng(5).normal(size=shape), np.float32)
    for given in (values, values.astype(np.float64), np.array(values, order="F")):
        np.testing.assert_array_equal(tensor_of(given).as_f32(), values, strict=True)
    assert np.shares_memory(tensor_of(values).data, values) == (values.size > 0)
