"""From logits to a token: temperature, top_k, top_p, the draw. Pure numpy; the random generator is passed in.

Letters: V vocabulary.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gpt2_text_prediction.problem import Problem

BLOCK = 256
"""How many weights are summed before the draw looks at single ones."""
SMALLEST, LARGEST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
"""The temperatures that f32 can divide by: below lies greedy, above all is equal."""


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn; names and order as in Hugging Face: temperature, then top_k, then top_p.

    temperature 0 is greedy, and so is top_p 0; top_k 0 keeps all tokens; top_p 1 keeps all tokens.
    seed None lets each generation choose one.
    Raises Problem for a value that is out of range or no number.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 0.9
    seed: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise Problem(f"temperature: expected a number from 0 (greedy), got {self.temperature}")
        if not isinstance(self.top_k, int) or self.top_k < 0:
            raise Problem(f"top_k: expected a whole number from 0 (all tokens), got {self.top_k}")
        if not 0 <= self.top_p <= 1:
            raise Problem(f"top_p: expected a number from 0 to 1 (all tokens), got {self.top_p}")
        if self.seed is not None and (not isinstance(self.seed, int) or self.seed < 0):
            raise Problem(f"seed: expected a whole number from 0, got {self.seed}")


def choose(logits: npt.NDArray[np.float32], sampling: Sampling, rng: np.random.Generator) -> int:  # [V] -> id
    """Return the next token's id.

    Raises Problem when the logits are not numbers: the model's weights or its arithmetic are broken.
    """
    best = int(logits.argmax())  # of a NaN, if there is one
    if not math.isfinite(logits[best]):
        raise Problem("the model's logits hold NaN or infinity: its weights are damaged, or overflow at this precision")
    if sampling.temperature < SMALLEST or sampling.top_p == 0:
        return best
    if not 0 < sampling.top_k < logits.size:
        return _draw(_weights(logits, sampling.temperature), sampling.top_p, rng)
    kept = _largest(logits, sampling.top_k)
    return int(kept[_draw(_weights(logits[kept], sampling.temperature), sampling.top_p, rng)])


def _largest(logits: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.intp]:  # [V] -> ids
    """Return the ids of the `count` largest logits, and of those equal to the least of them."""
    least = np.partition(logits, -count)[-count]
    return np.flatnonzero(logits >= least)


def _weights(logits: npt.NDArray[np.float32], temperature: float) -> npt.NDArray[np.float32]:  # [V] -> [blocks, BLOCK]
    """Return what the probabilities are proportional to, the largest 1, filled up with 0 to whole blocks."""
    weights = np.zeros(-(-logits.size // BLOCK) * BLOCK, np.float32)
    used = weights[: logits.size]
    with np.errstate(over="ignore"):  # a tiny temperature: all but the largest become 0
        np.divide(logits - logits.max(), np.float32(min(temperature, LARGEST)), out=used)
    np.exp(used, out=used)
    return weights.reshape(-1, BLOCK)


def _draw(weights: npt.NDArray[np.float32], top_p: float, rng: np.random.Generator) -> int:  # [blocks, BLOCK] -> index
    """Draw an index in proportion to the weights, among the most likely whose mass reaches top_p.

    An index is among them if the mass of all larger weights is below top_p of the total; equal weights stay or
    go together. So it is enough to draw from all, look at the drawn one, and draw again from what is larger
    where it is not among them: the conditional distribution is the same, and nothing is sorted.
    """
    sums = weights.sum(axis=1)
    bound = top_p * sums.sum(dtype=np.float64)
    while True:
        index = _draw_from_all(weights, sums, rng)
        larger = weights * (weights > weights.flat[index])
        larger_sums = larger.sum(axis=1)
        mass = larger_sums.sum(dtype=np.float64)
        if top_p == 1 or mass == 0 or mass < bound:
            return index
        weights, sums = larger, larger_sums


def _draw_from_all(
    weights: npt.NDArray[np.float32], sums: npt.NDArray[np.float32], rng: np.random.Generator
) -> int:  # [blocks, BLOCK], [blocks] -> index
    """Draw an index in proportion to the weights: first a block by its sum, then a place within it."""
    ends = sums.cumsum(dtype=np.float64)
    while True:
        point = rng.random() * ends[-1]
        block = int(np.searchsorted(ends, point, side="right"))
        inside = weights[block].cumsum(dtype=np.float64)
        place = int(np.searchsorted(inside, point - (ends[block - 1] if block else 0), side="right"))
        if place < BLOCK:  # else rounding took the point past the block's last weight
            return block * BLOCK + place
