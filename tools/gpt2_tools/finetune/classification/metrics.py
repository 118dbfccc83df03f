"""Accuracy and F1 of a confusion matrix, whose rows are the true labels and whose columns are the predicted ones."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Confusion = npt.NDArray[np.int64]  # [C, C]


def confusion_of(truth: npt.NDArray[Any], predicted: npt.NDArray[Any], count: int) -> Confusion:  # [N], [N] -> [C, C]
    """Count the pairs of true and predicted labels."""
    return np.bincount(truth * count + predicted, minlength=count * count).reshape(count, count).astype(np.int64)


def accuracy(confusion: Confusion) -> float:
    """Return the share of the texts that got their label."""
    return float(confusion.trace() / max(confusion.sum(), 1))


def macro_f1(confusion: Confusion) -> float:
    """Return the mean of F1 over the labels that occur, true or predicted; scikit-learn's, with zero_division=0."""
    occur = confusion.sum(0) + confusion.sum(1) > 0
    return (
        float(_ratio(2 * confusion.diagonal(), confusion.sum(0) + confusion.sum(1))[occur].mean())
        if any(occur)
        else 0.0
    )


def report(confusion: Confusion, labels: Sequence[str]) -> dict[str, Any]:
    """Return all of it for a JSON file."""
    correct, truth, predicted = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    columns = {
        "label": list(labels),
        "precision": _ratio(correct, predicted).tolist(),
        "recall": _ratio(correct, truth).tolist(),
        "f1": _ratio(2 * correct, truth + predicted).tolist(),
        "texts": truth.tolist(),
    }
    return {
        "texts": int(confusion.sum()),
        "accuracy": accuracy(confusion),
        "macro_f1": macro_f1(confusion),
        "labels": [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)],
        "confusion": confusion.tolist(),
    }


def _ratio(part: Confusion, whole: Confusion) -> npt.NDArray[np.float64]:
    """Return part / whole, 0 where there is nothing."""
    return np.where(whole > 0, part / np.maximum(whole, 1), 0.0)
