"""The perplexity of a sequence of tokens, window by window; it knows no text and prints nothing.

Letters: N tokens of the text, B windows at once, L tokens of the longest.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt

from gpt2_tools.evaluate.scorer import Scores
from gpt2_tools.evaluate.windows import Window

Tokens = npt.NDArray[np.int64]
Score = Callable[[Tokens], Scores]


@dataclass(frozen=True)
class Losses:
    """What the windows so far say, in nats a token."""

    windows: int = 0
    count: int = 0
    total: float = 0.0
    squares: float = 0.0

    def plus(self, logprobs: npt.NDArray[np.float32]) -> "Losses":
        """Return these and those of one more window."""
        losses = -logprobs.astype(np.float64)
        return Losses(
            self.windows + 1,
            self.count + losses.size,
            self.total + float(losses.sum()),
            self.squares + float((losses**2).sum()),
        )

    @property
    def mean(self) -> float:
        """Each token counts alike; where windows score as many tokens each it is the mean of their means."""
        return self.total / self.count

    @property
    def perplexity(self) -> float:
        """The exponential of the mean; inf where that is beyond a float."""
        return exp(self.mean)

    @property
    def perplexity_stderr(self) -> float | None:
        """The standard error of the mean, as if tokens were drawn one by one, times the slope of exp."""
        if self.count < 2:
            return None
        variance = max(0.0, self.squares / self.count - self.mean**2) * self.count / (self.count - 1)
        return self.perplexity * math.sqrt(variance / self.count)

    def perplexity_per(self, tokens_per_unit: float) -> float:
        """Return the perplexity of longer units, such as words, of so many tokens on average."""
        return exp(self.mean * tokens_per_unit)

    def bits_per(self, tokens_per_unit: float) -> float:
        """Return the information in a unit, such as a byte, of so many tokens on average."""
        return self.mean * tokens_per_unit / math.log(2)


def exp(exponent: float) -> float:
    """Return e to the power of it, inf where that is beyond a float."""
    try:
        return math.exp(exponent)
    except OverflowError:
        return math.inf


def window_logprobs(
    score: Score, tokens: Tokens, windows: Sequence[Window], batch: int = 1
) -> Iterator[npt.NDArray[np.float32]]:  # tokens [N]
    """Yield each window's scores of the tokens that count, running `batch` windows at once."""
    left = iter(windows)
    while some := list(islice(left, batch)):
        ids = np.zeros((len(some), max(window.end - window.start for window in some)), np.int64)  # [B, L]
        for row, window in zip(ids, some, strict=True):
            row[: window.end - window.start] = tokens[window.start : window.end]
        logprobs = score(ids).logprobs
        for row_logprobs, window in zip(logprobs, some, strict=True):
            yield row_logprobs[window.scored - window.start - 1 : window.end - window.start - 1]


def measure(
    score: Score,
    tokens: Tokens,
    windows: Sequence[Window],
    batch: int,
    counted: Callable[[Iterator[npt.NDArray[np.float32]], int], Iterator[npt.NDArray[np.float32]]],
) -> tuple[Losses, bool]:  # tokens [N]
    """Return the losses of all windows, and whether Ctrl-C ended it: then they are of those before.

    counted: passes each window on and tells how many there were.
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
