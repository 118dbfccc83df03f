"""CRC-32C: published values, and a bit-by-bit oracle at every length that is folded differently."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt2_recipe.readers.crc32c import crc32c, masked_crc32c
from support import tf_bundle


def of(data: bytes) -> int:
    return crc32c(np.frombuffer(data, np.uint8))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),  # the check value of CRC-32C
        (bytes(32), 0x8A9136AA),  # RFC 3720, B.4
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_published_values(data, expected):
    assert of(data) == expected


@given(st.binary(max_size=3000))
def test_any_bytes(data):
    assert of(data) == tf_bundle.crc32c(data)
    assert masked_crc32c(np.frombuffer(data, np.uint8)) == tf_bundle.masked(data)


@pytest.mark.parametrize("size", [1024, 1027, 4 << 16, (4 << 16) + 1, (8 << 16) + 5])
def test_lengths_around_the_rows(size):
    data = np.random.default_rng(size).integers(0, 256, size, np.uint8)
    assert crc32c(data) == tf_bundle.crc32c(data.tobytes())


def test_a_single_bit_is_noticed():
    data = np.zeros(100_000, np.uint8)
    before = crc32c(data)
    data[51_234] ^= 16
    assert crc32c(data) != before


def test_the_bytes_are_left_as_they_were():
    data = np.full(16, 7, np.uint8)
    crc32c(data)
    assert data.tolist() == [7] * 16
