"""tfidf: the baseline is scikit-learn's."""

import random

import numpy as np
import pytest

from support.tfidf import TfIdf, logistic_regression, predicted


def test_words_are_weighed_by_hand():
    rows = TfIdf(["aa bb", "aa aa cc!"]).matrix(["AA bb bb", "dd"])
    rare = np.log(3 / 2) + 1  # of a word in one text of two; that in both has 1
    length = np.hypot(1, 2 * rare)
    np.testing.assert_allclose(rows, [[1 / length, 2 * rare / length, 0], [0, 0, 0]], rtol=1e-6)


@pytest.mark.extras("sklearn")
def test_scikit_learn_finds_the_same():
    from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: PLC0415
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415

    rng = random.Random(0)
    texts = [" ".join(rng.choices([f"w{j}" for j in range(i % 3, 40, 1 + i % 3)], k=12)) for i in range(90)]
    labels = np.arange(90) % 3
    theirs = TfidfVectorizer()
    matrix = theirs.fit_transform(texts)
    ours = TfIdf(texts)
    np.testing.assert_allclose(ours.matrix(texts), matrix.toarray(), atol=1e-6)
    model = LogisticRegression(C=10, max_iter=10_000, tol=1e-8).fit(matrix, labels)
    weights = logistic_regression(ours.matrix(texts), labels, 10)
    coefficients = weights[:-1].T - weights[:-1].T.mean(0)
    np.testing.assert_allclose(coefficients, model.coef_ - model.coef_.mean(0), atol=2e-2)
    np.testing.assert_array_equal(predicted(weights, ours.matrix(texts)), model.predict(matrix))
