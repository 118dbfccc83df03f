"""What comes of a prompt, as values: continuations, scores, likely tokens. How they are made is not known here."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Result:
    """A finished continuation.

    text: the continuation alone, without the prompt. finish_reason: "stop" at the end of the text or where a rule
    stops it, "length" at max_new_tokens or where the model's positions end. tokens: its ids [N], without the one that
    ends the text, but with those of a stop string. logprobs: of each, f64 [N], as the model has them, whatever the
    sampling makes of them. seed: with which the same call gives it again. cut: how many characters of the prompt's
    beginning did not fit. score: of a beam, by which they are ordered.
    """

    text: str
    finish_reason: str
    tokens: list[int]
    logprobs: npt.NDArray[np.float64]
    seed: int
    cut: int = 0
    score: float | None = None


@dataclass(frozen=True, eq=False)
class Score:
    """A text's tokens [T] and the logarithm of each one's probability, f64 [T]; the first is NaN."""

    tokens: list[int]
    logprobs: npt.NDArray[np.float64]


class NextToken(NamedTuple):
    """A token that may come next; text: U+FFFD where it is part of a character."""

    token: int
    text: str
    probability: float
