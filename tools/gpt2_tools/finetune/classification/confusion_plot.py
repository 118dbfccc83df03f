"""confusion.png: how many texts of each label got which."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gpt2_tools.common.picture import save_picture
from gpt2_tools.finetune.classification.metrics import Confusion

MOST_DRAWN = 40
LONGEST_NAME = 32
"""Characters of a label that are drawn."""


def draw_confusion(confusion: Confusion, labels: Sequence[str], title: str, path: Path) -> None:
    """Draw counts, coloured by their share of the true label's texts; the picture appears complete or not at all.

    Of more than MOST_DRAWN labels those with most texts are drawn.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415

    drawn = np.sort(np.argsort(-confusion.sum(1), kind="stable")[:MOST_DRAWN])
    counts, names = confusion[np.ix_(drawn, drawn)], [shortened(labels[i]) for i in drawn]
    if len(drawn) < len(labels):
        title += f" (the {len(drawn)} of {len(labels)} labels with most texts)"
    shares = counts / np.maximum(confusion.sum(1)[drawn], 1)[:, None]
    side = 2.2 + max(2.4, 0.34 * len(names)) + 0.07 * max(map(len, names))
    picture: Any = Figure(figsize=(side + 0.6, side), layout="constrained")
    axes = picture.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    size = 10 if len(names) <= 12 else 7
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(
                column, row, str(count), ha="center", va="center", color=colour, fontsize=_fitting(int(count), size)
            )
    upright = len(names) > 6 or max(map(len, names)) > 8
    at = range(len(names))
    axes.set_xticks(at, names, rotation=90 if upright else 0, fontsize=size, parse_math=False)
    axes.set_yticks(at, names, fontsize=size, parse_math=False)
    axes.set(xlabel="predicted label", ylabel="true label")
    axes.set_title(title, parse_math=False, fontsize=11)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a character that the font lacks is drawn as a box
        save_picture(picture, path)


def shortened(label: str) -> str:
    """Return a label in a line that fits."""
    plain = " ".join(label.split())
    return plain if len(plain) <= LONGEST_NAME else f"{plain[: LONGEST_NAME - 1]}…"


def _fitting(count: int, size: int) -> float:
    """Return the font size at which a count fits its cell."""
    return size * min(1.0, 4 / len(str(count)))
