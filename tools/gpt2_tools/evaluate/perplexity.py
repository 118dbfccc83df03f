"""The perplexity of a sequence of tokens, window by window.

Letters: N tokens of the text.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt

from gpt2_tools.evaluate.scorer import Score, Tokens, score_last
from gpt2_tools.evaluate.windows import Window


@dataclass(frozen=True)
class Losses:
    """Sums over the windows so far, in nats."""

    windows: int = 0
    count: int = 0
    total: float = 0.0
    squares: float = 0.0

    def plus(self, logprobs: npt.NDArray[np.float32]) -> "Losses":
        """Return the sums with one more window."""
        losses = -logprobs.astype(np.float64)
        return Losses(
            self.windows + 1,
            self.count + losses.size,
            self.total + float(losses.sum()),
            self.squares + float((losses**2).sum()),
        )

    @property
    def mean(self) -> float:
        """The mean loss per token; with windows of equal size it is the mean of their means."""
        return self.total / self.count

    @property
    def perplexity(self) -> float:
        """The exponential of the mean loss; inf if that is too large for a float."""
        return exp(self.mean)

    @property
    def perplexity_stderr(self) -> float | None:
        """Its standard error by the delta method, tokens taken as independent; None for a single token."""
        if self.count < 2:
            return None
        variance = max(0.0, self.squares / self.count - self.mean**2) * self.count / (self.count - 1)
        return self.perplexity * math.sqrt(variance / self.count)

    def perplexity_per(self, tokens_per_unit: float) -> float:
        """Return the perplexity of longer units, such as words, of tokens_per_unit tokens on average."""
        return exp(self.mean * tokens_per_unit)

    def bits_per(self, tokens_per_unit: float) -> float:
        """Return the bits of a unit, such as a byte, of tokens_per_unit tokens on average."""
        return self.mean * tokens_per_unit / math.log(2)


def exp(exponent: float) -> float:
    """Return exp, inf if that is too large for a float."""
    try:
        return math.exp(exponent)
    except OverflowError:
        return math.inf


def window_logprobs(
    score: Score, tokens: Tokens, windows: Sequence[Window], batch: int = 1
) -> Iterator[npt.NDArray[np.float32]]:  # tokens [N]
    """Yield the log-probabilities of each window's scored tokens, running `batch` windows per call."""
    left = iter(windows)
    while some := list(islice(left, batch)):
        rows = [tokens[window.start : window.end] for window in some]
        for scores in score_last(score, rows, [window.count() for window in some]):
            yield scores.logprobs


def losses_of(
    score: Score,
    tokens: Tokens,
    windows: Sequence[Window],
    batch: int,
    counted: Callable[[Iterator[npt.NDArray[np.float32]], int], Iterator[npt.NDArray[np.float32]]],
) -> tuple[Losses, bool]:  # tokens [N]
    """Return the losses of all windows, or after Ctrl-C of those before it, and whether Ctrl-C came.

    counted: passes each window on and shows the progress.
    """
    losses = Losses()
    try:
        for logprobs in counted(window_logprobs(score, tokens, windows, batch), len(windows)):
            losses = losses.plus(logprobs)
    except KeyboardInterrupt:
        if losses.windows == 0:
            raise
        return losses, True
    return losses, False
