"""with_transformers: what is timed and when, by the test's clock; commands/test_perplexity runs the process."""

import numpy as np

from gpt2_tools.evaluate.scorer import Scores
from gpt2_tools.evaluate.with_transformers import Beside

TOKENS = np.array([[1, 2, 3]])


def test_the_first_tokens_are_scored_twice_and_only_the_second_time_counts():
    calls = []

    def ours(tokens):
        calls.append("ours")
        return Scores(np.array([[-1.0, -2.0]], np.float32), np.array([[True, False]]))

    def theirs(tokens):
        calls.append("theirs")
        return 6.0, np.array([[-1.0, -2.25]], np.float32)

    times = iter([10.0, 12.0, 20.0, 21.0])
    beside = Beside(ours, theirs, lambda: next(times))
    for _ in range(2):  # ours in 2 s and 1 s, theirs in 6 s: 3 and 6 times as fast
        assert beside(TOKENS).logprobs.tolist() == [[-1.0, -2.0]]
    assert calls == ["ours", "theirs"] * 3
    assert beside.facts() == {
        "seconds": 12.0,
        "ours_seconds": 3.0,
        "times_faster": 4.5,
        "largest_difference": 0.25,
    }
