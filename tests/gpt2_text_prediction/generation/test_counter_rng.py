"""counter_rng: the numbers are those of Philox-4x64-10, computed here in whole numbers, at the documented counter."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gpt2_text_prediction.generation.counter_rng import CounterRng

LARGEST = 2**64 - 1
WORDS = st.integers(0, LARGEST)
KNOWN = {  # Random123's own vectors, kat_vectors: counter, key, numbers
    "zeros": ([0] * 4, [0] * 2, [0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B]),
    "ones": (
        [LARGEST] * 4,
        [LARGEST] * 2,
        [0x87B092C3013FE90B, 0x438C3C67BE8D0224, 0x9CC7D7C69CD777B6, 0xA09CAEBF594F0BA0],
    ),
}


def philox(counter: list[int], key: list[int]) -> list[int]:
    """Ten rounds of two multiplications, each round with another key."""
    (a, b, c, d), (k, m) = counter, key
    for _ in range(10):
        first, second = a * 0xD2E7470EE14C6C93, c * 0xCA5A826395121157
        a, b, c, d = (second >> 64) ^ b ^ k, second & LARGEST, (first >> 64) ^ d ^ m, first & LARGEST
        k, m = (k + 0x9E3779B97F4A7C15) & LARGEST, (m + 0xBB67AE8584CAA73B) & LARGEST
    return [a, b, c, d]


@pytest.mark.parametrize("known", KNOWN)
def test_the_oracle_is_random123s(known):
    counter, key, numbers = KNOWN[known]
    assert philox(counter, key) == numbers


@given(seed=WORDS, prompt=WORDS, sample=WORDS, positions=st.lists(WORDS, min_size=1, max_size=4))
@example(seed=LARGEST, prompt=LARGEST, sample=LARGEST, positions=[LARGEST, 0])
def test_each_position_has_its_numbers_whatever_was_drawn_before(seed, prompt, sample, positions):
    rng = CounterRng(seed, prompt, sample)
    for position in positions:
        # numpy counts before it computes, four numbers at once, and takes the upper 53 bits of each.
        words = [n for count in (1, 2) for n in philox([count, position, sample, prompt], [seed, 0])]
        at = rng.at(position)
        drawn = [at.random() for _ in range(7)]
        np.testing.assert_array_equal(drawn, [(word >> 11) / 2**53 for word in words[:7]])


def test_neighbours_are_other_numbers():
    places = [(s, p, n, at) for s in (7, 7 + 2**32, LARGEST) for p in (0, 1) for n in (0, 2**32) for at in (0, 1)]
    assert len({CounterRng(s, p, n).at(at).random() for s, p, n, at in places}) == len(places)
