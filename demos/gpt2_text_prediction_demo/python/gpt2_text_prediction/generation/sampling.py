"""From logits to a token: temperature, top_k, top_p, min_p, typical_p, the draw; the random generator is passed in.

Pure numpy. Penalties and bans, which come before, are in logits_processors.py.
Letters: V vocabulary.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from gpt2_text_prediction.generation.logits_processors import (
    History,
    LogitsProcessors,
    argmax,
    process,
)
from gpt2_text_prediction.settings import LARGEST, SMALLEST, default

BLOCK = 256
"""Weights are summed in blocks of this size, so that a draw looks at single weights of one block only."""
NOTHING = History()


class Rng(Protocol):
    """Random numbers, evenly distributed: a CounterRng, or a generator of numpy's."""

    def random(self) -> float:
        """Return the next number, of 0 <= number < 1."""


@dataclass(frozen=True)
class Sampling(LogitsProcessors):
    """How the next token is drawn; names and order as in Hugging Face.

    The logits processors come first, then temperature, top_k, top_p, min_p and typical_p in this order.
    temperature 0 is greedy, and so is top_p 0; top_k 0 and top_p 1 keep all tokens. min_p keeps the tokens whose
    probability is at least that share of the most likely one's; 0 keeps all. typical_p keeps those whose
    log-probability is closest to its mean, the negative entropy, until they reach that mass; 1 keeps all.
    seed None draws a new one for each call.
    Raises Problem for a value that is out of range or of another type.

    >>> from gpt2_text_prediction import Sampling, TextGenerator
    >>> with TextGenerator("gpt-2-mini") as gpt2:
    ...     first, again = (gpt2.generate("The poem", Sampling(top_k=20, seed=7))[0].text for _ in range(2))
    >>> first == again
    True
    """

    temperature: float = default("temperature")
    top_k: int = default("top_k")
    top_p: float = default("top_p")
    seed: int | None = default("seed")
    min_p: float = default("min_p")
    typical_p: float = default("typical_p")


def choose(
    logits: npt.NDArray[np.float32], sampling: Sampling, rng: Rng, history: History = NOTHING
) -> int:  # [V] -> id
    """Return the next token's id.

    Raises Problem where the logits are NaN, or where the settings leave no token.
    """
    best = argmax(logits)
    raw, logits = logits, process(logits, sampling, history)
    if sampling.temperature < SMALLEST or sampling.top_p == 0:
        return best if logits is raw else int(logits.argmax())
    if not 0 < sampling.top_k < logits.size:
        return _draw_kept(logits, sampling, rng)
    kept = _largest(logits, sampling.top_k)
    return int(kept[_draw_kept(logits[kept], sampling, rng)])


def probabilities(
    logits: npt.NDArray[np.float32], sampling: Sampling, history: History = NOTHING
) -> npt.NDArray[np.float64]:  # [V] -> [V]
    """Return the probability with which `choose` returns each token. Raises Problem as it does."""
    argmax(logits)
    logits = process(logits, sampling, history)
    if sampling.temperature < SMALLEST or sampling.top_p == 0:
        return np.eye(1, logits.size, int(logits.argmax()))[0]  # type: ignore[no-any-return]
    if 0 < sampling.top_k < logits.size:
        kept = _largest(logits, sampling.top_k)
        among = np.full_like(logits, -np.inf)
        among[kept] = logits[kept]
        logits = among
    scaled = _scaled(logits, sampling.temperature)
    weights = np.exp(scaled)
    weights *= weights >= max(_least_of(weights, sampling.top_p), sampling.min_p)
    if sampling.typical_p < 1:
        weights *= _typical(_typicality(scaled, weights), weights, sampling.typical_p)
    drawn = weights.reshape(-1)[: logits.size].astype(np.float64)
    return drawn / drawn.sum()  # type: ignore[no-any-return]


def _typical(
    ranks: npt.NDArray[np.float32], weights: npt.NDArray[np.float32], share: float
) -> npt.NDArray[np.bool_]:  # [blocks, BLOCK] twice -> [blocks, BLOCK]
    """Return which are of the highest ranks whose mass reaches the share, equal ones together."""
    _, places = np.unique(-ranks, return_inverse=True)
    masses = np.bincount(places.reshape(-1), weights.reshape(-1))
    higher = masses.cumsum() - masses
    return (higher < share * masses.sum())[places].reshape(ranks.shape)  # type: ignore[no-any-return]


def _largest(logits: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.intp]:  # [V] -> ids
    """Return the ids of the `count` largest logits, and of those equal to the smallest of them."""
    least = np.partition(logits, -count)[-count]
    return np.flatnonzero(logits >= least)


def _draw_kept(logits: npt.NDArray[np.float32], sampling: Sampling, rng: Rng) -> int:  # [V] -> index
    """Draw an index in proportion to its probability, among those that top_p, min_p and typical_p keep."""
    scaled = _scaled(logits, sampling.temperature)
    if sampling.typical_p == 1:
        weights = np.exp(scaled, out=scaled)
        return _draw(weights, weights, sampling.top_p, rng, sampling.min_p)
    weights = np.exp(scaled)
    least = max(_least_of(weights, sampling.top_p), sampling.min_p)
    weights *= weights >= least
    return _draw(weights, _typicality(scaled, weights), sampling.typical_p, rng)


def _scaled(logits: npt.NDArray[np.float32], temperature: float) -> npt.NDArray[np.float32]:  # [V] -> [blocks, BLOCK]
    """Return logits divided by the temperature, shifted so that the largest is 0, and padded with -inf."""
    scaled = np.full(-(-logits.size // BLOCK) * BLOCK, -np.inf, np.float32)
    with np.errstate(over="ignore"):  # a tiny temperature: all but the largest become -inf
        np.divide(logits - logits.max(), np.float32(min(temperature, LARGEST)), out=scaled[: logits.size])
    return scaled.reshape(-1, BLOCK)


def _least_of(weights: npt.NDArray[np.float32], top_p: float) -> float:  # [blocks, BLOCK] -> weight
    """Return the nucleus threshold: the weight of the last token in the top-p set."""
    if top_p == 1:
        return 0.0
    ordered = np.sort(weights, axis=None)[::-1].reshape(weights.shape)
    ends = ordered.sum(axis=1).cumsum(dtype=np.float64)
    bound = top_p * ends[-1]
    block = int(np.searchsorted(ends, bound))
    inside = ordered[block].cumsum(dtype=np.float64)
    place = int(np.searchsorted(inside, bound - (ends[block - 1] if block else 0)))
    return float(ordered[block, min(place, BLOCK - 1)])


def _typicality(
    scaled: npt.NDArray[np.float32], weights: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:  # [blocks, BLOCK] twice -> [blocks, BLOCK]
    """Return how close each log-probability is to its mean, as 0 (closest) or less.

    log p is the scaled logit minus the logarithm of the sum of all weights; in log p minus its mean that sum cancels.
    """
    finite = np.maximum(scaled, -LARGEST)
    mean = (weights * finite).sum(axis=1).sum(dtype=np.float64) / weights.sum(axis=1).sum(dtype=np.float64)
    finite -= np.float32(mean)
    np.abs(finite, out=finite)
    return np.negative(finite, out=finite)


def _draw(
    weights: npt.NDArray[np.float32],
    ranks: npt.NDArray[np.float32],
    share: float,
    rng: Rng,
    least: float = 0.0,
) -> int:  # [blocks, BLOCK] twice -> index
    """Draw an index in proportion to the weights, among those of the highest rank whose mass reaches the share.

    An index is among them if the mass of all that rank higher is below the share of the total; equal ranks stay or
    go together. So it is enough to draw from all, look at the drawn one, and draw again from what ranks higher
    where it is not among them: the conditional distribution is the same, and nothing is sorted.
    least: the smallest weight that may be drawn.
    """
    sums = weights.sum(axis=1)
    bound = share * sums.sum(dtype=np.float64)
    if least > 0:
        weights = weights * (weights >= least)
        sums = weights.sum(axis=1)
    while True:
        index = _draw_from_all(weights, sums, rng)
        if share == 1:
            return index
        higher = weights * (ranks > ranks.flat[index])
        higher_sums = higher.sum(axis=1)
        mass = higher_sums.sum(dtype=np.float64)
        if mass == 0 or mass < bound:
            return index
        weights, sums = higher, higher_sums


def _draw_from_all(
    weights: npt.NDArray[np.float32], sums: npt.NDArray[np.float32], rng: Rng
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
