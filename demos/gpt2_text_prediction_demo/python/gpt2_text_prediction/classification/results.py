"""The result of a Classifier: a text's label, and the probabilities of all labels."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt


class LabelScore(NamedTuple):
    """A label and its probability.

    >>> from gpt2_text_prediction import Classifier
    >>> with Classifier("spam-filter") as classify:
    ...     (result,) = classify("Win a prize now")
    >>> sorted(score.label for score in result.scores)
    ['ham', 'spam']
    """

    label: str
    score: float


@dataclass(frozen=True, eq=False)
class Classification:
    """The labels of a text.

    label, score: the most probable one, and its probability. probabilities: of all labels, in the order of their ids,
    f64 [N]; they add up to 1, unless the model gives each label one of its own. cut: how many characters of the text's
    end did not fit into the model's positions.

    >>> from gpt2_text_prediction import Classifier
    >>> with Classifier("spam-filter") as classify:
    ...     (result,) = classify("Win a prize now")
    >>> result.label in ("ham", "spam"), round(float(result.probabilities.sum()), 6), result.cut
    (True, 1.0, 0)
    """

    label: str
    score: float
    probabilities: npt.NDArray[np.float64] = field(repr=False)
    labels: tuple[str, ...] = field(repr=False)
    cut: int = 0

    @property
    def scores(self) -> list[LabelScore]:
        """All labels with their probabilities, the most probable first."""
        return self.top(len(self.labels))

    def top(self, k: int) -> list[LabelScore]:
        """Return the k most probable labels, the most probable first; of equal ones the smaller id."""
        order = np.argsort(-self.probabilities, kind="stable")[:k]
        return [LabelScore(self.labels[i], float(self.probabilities[i])) for i in order]

    def to_dict(self) -> dict[str, Any]:
        """Return all of it for json."""
        scores = [score._asdict() for score in self.scores]
        return {"label": self.label, "score": self.score, "scores": scores, "cut": self.cut}
