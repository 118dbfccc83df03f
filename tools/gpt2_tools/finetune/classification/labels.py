"""The labels of a data set: their order, which is that of the model's outputs, and the stratified hold-out."""

import re
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt

NUMBER = re.compile(r"[+-]?\d{1,300}(\.\d{1,300})?")
MOST_LABELS = 1000
"""More kinds are the sign of a wrong column."""


def sort_labels(labels: Sequence[str]) -> list[str]:
    """Return different labels in order: by value if all are numbers, else by text."""
    if all(NUMBER.fullmatch(label) for label in labels):
        return sorted(labels, key=lambda label: (Fraction(label), label))
    return sorted(labels)


def stratified(labels: npt.NDArray[np.integer], share: float) -> npt.NDArray[np.bool_]:  # [N] -> [N]
    """Return which texts are held out: the share of each label's, rounded, spread evenly over the data.

    Of a label with two texts or more at least one is held out, and at least one is trained on; a single one is trained
    on.
    """
    held = np.zeros(len(labels), bool)
    order = np.argsort(labels, kind="stable")
    ends = np.flatnonzero(np.diff(labels[order])) + 1
    for rows in np.split(order, ends) if share else []:
        count = len(rows)
        wanted = min(max(round(count * Fraction(str(share))), 1), count - 1)
        held[rows[[(2 * i + 1) * count // (2 * wanted) for i in range(wanted)]]] = True
    return held


def sampled(labels: npt.NDArray[np.integer], among: npt.NDArray[np.bool_], most: int | None) -> npt.NDArray[np.bool_]:
    """Return which of the texts `among` are taken, `most` at most: of each label its share, spread over the data.

    All [N].
    """
    rows = np.flatnonzero(among)
    if most is None or len(rows) <= most:
        return among
    by_label = rows[np.argsort(labels[rows], kind="stable")]
    taken = np.zeros(len(labels), bool)
    taken[by_label[(2 * np.arange(most) + 1) * len(rows) // (2 * most)]] = True
    return taken
