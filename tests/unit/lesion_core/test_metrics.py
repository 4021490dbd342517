"""Scores, against hand-made cases and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, roc_auc_score

from lesion_core.metrics import (
    BinaryCounts,
    balanced_multiclass_accuracy,
    binary_counts,
    macro_auroc,
    recall_per_class,
)


def random_case(seed: int, images: int = 200, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), random.integers(0, classes, images)])
    probabilities = random.dirichlet(np.ones(classes), len(labels))
    return probabilities, labels


@given(st.integers(0, 10_000))
def test_bma_equals_scikit_learns_balanced_accuracy_without_ties(seed: int) -> None:
    """A second implementation agrees."""
    probabilities, labels = random_case(seed)

    expected = balanced_accuracy_score(labels, probabilities.argmax(axis=1))

    assert balanced_multiclass_accuracy(probabilities, labels) == pytest.approx(expected)


def test_a_tie_for_the_maximum_is_wrong() -> None:
    """As in the challenge's own scoring."""
    probabilities = np.array([[0.5, 0.5], [0.1, 0.9]])

    assert balanced_multiclass_accuracy(probabilities, np.array([0, 1])) == 0.5
    assert recall_per_class(probabilities, np.array([0, 1])) == {0: 0.0, 1: 1.0}


@given(st.integers(0, 10_000))
def test_macro_auroc_equals_scikit_learns(seed: int) -> None:
    """A second implementation agrees."""
    probabilities, labels = random_case(seed)

    expected = roc_auc_score(labels, probabilities, multi_class="ovr", average="macro")

    assert macro_auroc(probabilities, labels) == pytest.approx(expected)


def test_recall_is_counted_per_class() -> None:
    """Two of three, and one of one."""
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.3, 0.7]])

    assert recall_per_class(probabilities, np.array([0, 0, 0, 1])) == {0: pytest.approx(2 / 3), 1: 1.0}


@given(st.integers(0, 10_000), st.floats(0, 1))
def test_shares_of_a_decision_equal_those_of_scikit_learns_confusion_matrix(seed: int, threshold: float) -> None:
    """Sensitivity, specificity, PPV and NPV; NaN where nothing is in the denominator."""
    probabilities, labels = random_case(seed, 40)
    is_called, is_class = probabilities[:, 0] >= threshold, labels == 0
    (tn, fp), (fn, tp) = confusion_matrix(is_class, is_called, labels=[False, True])

    counts = binary_counts(is_called, is_class)

    ours = [counts.sensitivity, counts.specificity, counts.ppv, counts.npv]
    with np.errstate(invalid="ignore"):
        expected = [np.divide(*pair) for pair in ((tp, tp + fn), (tn, tn + fp), (tp, tp + fp), (tn, tn + fn))]
    assert ours == pytest.approx(expected, nan_ok=True)


def test_predictive_values_depend_on_the_prevalence() -> None:
    """90 % sensitivity and specificity find 1 in 12 where 1 in 100 is ill, and 9 in 10 where half are."""
    counts = BinaryCounts(true_positives=90, false_positives=10, false_negatives=10, true_negatives=90)

    assert counts.ppv_at(0.5) == counts.ppv == pytest.approx(0.9)
    assert counts.ppv_at(0.01) == pytest.approx(0.009 / (0.009 + 0.099))
    assert counts.npv_at(0.01) == pytest.approx(0.891 / (0.891 + 0.001))
