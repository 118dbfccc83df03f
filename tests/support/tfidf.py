"""A baseline for classifiers: TF-IDF of words and logistic regression, on the texts that gpt2_finetune trains on.

python tests/support/tfidf.py FILE [--validation_split 0.2 ...]: flags of gpt2_finetune for the data; prints
accuracy and macro-F1 on the texts held out, for three regularizations.
"""

import argparse
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from gpt2_tools.finetune.classification.labels import sampled, sort_labels, stratified
from gpt2_tools.finetune.classification.metrics import accuracy, confusion_of, macro_f1
from gpt2_tools.finetune.classification.rows import Columns, read_rows

WORD = re.compile(r"\b\w\w+\b")
STEPS = 1500
WEIGHTS_OF_LOSS = (1.0, 10.0, 100.0)
"""scikit-learn's C: the loss's weight against half of the squared norm of the weights."""


class TfIdf:
    """Rows of words' counts times their rarity, each of length 1, as scikit-learn's TfidfVectorizer makes them."""

    def __init__(self, texts: list[str]) -> None:
        found = Counter(word for text in texts for word in set(WORD.findall(text.lower())))
        self.columns = {word: i for i, word in enumerate(sorted(found))}
        counts = np.array([found[word] for word in self.columns])
        self.idf = np.log((1 + len(texts)) / (1 + counts)) + 1

    def matrix(self, texts: list[str]) -> Any:  # -> [N, W]
        rows = np.zeros((len(texts), len(self.columns)), np.float32)
        for row, text in zip(rows, texts, strict=True):
            for word, count in Counter(WORD.findall(text.lower())).items():
                if word in self.columns:
                    row[self.columns[word]] = count * self.idf[self.columns[word]]
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def probabilities(logits: Any) -> Any:  # [N, C] -> [N, C]
    exp = np.exp(logits - logits.max(1, keepdims=True))
    return exp / exp.sum(1, keepdims=True)


def logistic_regression(x: Any, labels: Any, weight: float) -> Any:  # [N, W], [N] -> [W + 1, C]
    """Return weights and, in the last row, biases, by Nesterov's accelerated descent on the whole of the data.

    The weights are sums of texts, x.T @ parts, so that a step needs only the texts' inner products.
    """
    truth, inner = np.eye(labels.max() + 1)[labels], (x @ x.T).astype(np.float64)
    bound = weight * 0.5 * np.linalg.eigvalsh(inner + 1)[-1] + 1
    parts = ahead = np.zeros(truth.shape)  # [N, C]
    biases = biases_ahead = np.zeros(truth.shape[1])
    for step in range(STEPS):
        error = weight * (probabilities(inner @ ahead + biases_ahead) - truth)
        new, new_biases = ahead - (error + ahead) / bound, biases_ahead - error.sum(0) / bound
        pace = step / (step + 3)
        ahead, parts = new + pace * (new - parts), new
        biases_ahead, biases = new_biases + pace * (new_biases - biases), new_biases
    return np.vstack([x.T @ parts, biases])


def predicted(weights: Any, x: Any) -> Any:  # [W + 1, C], [N, W] -> [N]
    return (x @ weights[:-1] + weights[-1]).argmax(1)


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    parser.add_argument("--text_column", default="text")
    parser.add_argument("--label_column", default="label")
    parser.add_argument("--validation_split", type=float, default=0.1)
    parser.add_argument("--max_train_samples", type=int)
    parser.add_argument("--max_eval_samples", type=int)
    args = parser.parse_args(argv)
    rows = list(read_rows(args.file, Columns(args.text_column, args.label_column)))
    names = sort_labels(list({row.label for row in rows}))
    labels = np.array([names.index(row.label) for row in rows])
    held = stratified(labels, args.validation_split)
    masks = sampled(labels, ~held, args.max_train_samples), sampled(labels, held, args.max_eval_samples)
    (train, truth), (test, expected) = (([rows[i].text for i in np.flatnonzero(mask)], labels[mask]) for mask in masks)
    words = TfIdf(train)
    for weight in WEIGHTS_OF_LOSS:
        weights = logistic_regression(words.matrix(train), truth, weight)
        confusion = confusion_of(expected, predicted(weights, words.matrix(test)), len(names))
        print(f"C {weight:g}: accuracy {accuracy(confusion):.3f}, macro-F1 {macro_f1(confusion):.3f}")


if __name__ == "__main__":
    main(sys.argv[1:])
