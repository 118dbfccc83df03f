"""Scoring with ours and with transformers in turns: both times, and the largest difference of the scores."""

import statistics
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from gpt2_tools.common.transformers_process import Ask
from gpt2_tools.evaluate.scorer import Score, Scores

TimedScore = Callable[[npt.NDArray[np.int64]], tuple[float, npt.NDArray[np.float32]]]
"""Token ids [B, L] -> the seconds that scoring took, log-probabilities [B, L-1]."""


def transformers_score(ask: Ask) -> TimedScore:
    """Return scoring by transformers."""

    def score(tokens: npt.NDArray[np.int64]) -> tuple[float, npt.NDArray[np.float32]]:
        answer = ask({"score": tokens.tolist()})
        return answer["seconds"], np.array(answer["logprobs"], np.float32)

    return score


class Beside:
    """Scores with ours and times both on the same tokens, in turns, so that both see the same machine load."""

    def __init__(self, ours: Score, theirs: TimedScore, clock: Callable[[], float] = time.perf_counter) -> None:
        self._ours, self._theirs, self._clock = ours, theirs, clock
        self._warm = False
        self.our_seconds: list[float] = []
        self.their_seconds: list[float] = []
        self.largest_difference = 0.0

    def __call__(self, tokens: npt.NDArray[np.int64]) -> Scores:
        """Return our scores. The first tokens are scored twice: the first time is warm-up."""
        if not self._warm:
            self._ours(tokens)
            self._theirs(tokens)
            self._warm = True
        start = self._clock()
        scores = self._ours(tokens)
        self.our_seconds.append(self._clock() - start)
        seconds, logprobs = self._theirs(tokens)
        self.their_seconds.append(seconds)
        self.largest_difference = max(self.largest_difference, float(abs(scores.logprobs - logprobs).max()))
        return scores

    def facts(self) -> dict[str, float]:
        """Return the seconds of both, the median of the turns' ratios, and the largest difference of scores."""
        ratios = [theirs / ours for ours, theirs in zip(self.our_seconds, self.their_seconds, strict=True)]
        return {
            "seconds": sum(self.their_seconds),
            "ours_seconds": sum(self.our_seconds),
            "times_faster": statistics.median(ratios),
            "largest_difference": self.largest_difference,
        }
