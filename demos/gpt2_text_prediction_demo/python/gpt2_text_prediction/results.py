"""The results of a TextGenerator: continuations, scores, likely next tokens."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Result:
    """A finished continuation.

    text: the continuation alone, without the prompt. finish_reason: "stop" at the end of the text or where a rule
    stops it, "length" at max_new_tokens or where the model's positions end. tokens: its ids [N], without the one that
    ends the text, but with those of a stop string. logprobs: of each token, f64 [N], in the model's own distribution,
    before logits processors and sampling. seed: gives the same text again in the same call with the same properties,
    on the same kind of CPU. cut: how many characters of the prompt's beginning did not fit. score: of a beam; beams
    are ordered by it. properties: see Engine.
    """

    text: str
    finish_reason: str
    tokens: list[int]
    logprobs: npt.NDArray[np.float64]
    seed: int
    cut: int = 0
    score: float | None = None
    properties: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Score:
    """A text's tokens [T] and their log-probabilities, f64 [T].

    start_token: the token that starts a text, where the text was scored after it; it is not among the tokens. Without
    it (None) the log-probability of the first token is NaN.
    """

    tokens: list[int]
    logprobs: npt.NDArray[np.float64]
    start_token: int | None = None


class NextToken(NamedTuple):
    """A possible next token; text: U+FFFD where the token is part of a character."""

    token: int
    text: str
    probability: float
