"""metrics: numbers done by hand."""

import numpy as np
import pytest

from gpt2_tools.finetune.classification.metrics import accuracy, confusion_of, macro_f1, report

# 6 hams, of which 5 are found; 4 spams, of which 2 are.
MAILS = np.array([[5, 1], [2, 2]])


def test_the_pairs_are_counted():
    truth, predicted = np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 1, 2, 0, 2])
    assert confusion_of(truth, predicted, 4).tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [1, 0, 2, 0], [0, 0, 0, 0]]


def test_accuracy_and_f1_by_hand():
    assert accuracy(MAILS) == pytest.approx(7 / 10)
    # ham: precision 5/7, recall 5/6, F1 10/13; spam: precision 2/3, recall 2/4, F1 4/7.
    assert macro_f1(MAILS) == pytest.approx((10 / 13 + 4 / 7) / 2)
    ham, spam = report(MAILS, ["ham", "spam"])["labels"]
    assert ham == {"label": "ham", "precision": 5 / 7, "recall": 5 / 6, "f1": 10 / 13, "texts": 6}
    assert spam == {"label": "spam", "precision": 2 / 3, "recall": 0.5, "f1": 4 / 7, "texts": 4}


def test_a_label_that_does_not_occur_does_not_count_and_one_never_found_counts_as_nought():
    assert macro_f1(np.array([[3, 0, 0], [2, 0, 0], [0, 0, 0]])) == pytest.approx((6 / 8 + 0) / 2)
    assert macro_f1(np.zeros((2, 2), int)) == accuracy(np.zeros((2, 2), int)) == 0


def test_the_report_has_counts_that_add_up():
    found = report(MAILS, ["ham", "spam"])
    assert found["texts"] == sum(map(sum, found["confusion"])) == 10
    assert found["accuracy"] == accuracy(MAILS)


@pytest.mark.extras("sklearn")
def test_scikit_learn_finds_the_same():
    from sklearn.metrics import accuracy_score, f1_score  # noqa: PLC0415

    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(0, 6, 200), rng.integers(1, 7, 200)
    confusion = confusion_of(truth, predicted, 8)
    assert accuracy(confusion) == pytest.approx(accuracy_score(truth, predicted))
    assert macro_f1(confusion) == pytest.approx(f1_score(truth, predicted, average="macro", zero_division=0))
