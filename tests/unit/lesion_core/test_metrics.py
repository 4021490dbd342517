"""Scores, against hand-made cases and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from lesion_core.metrics import (
    balanced_multiclass_accuracy,
    bootstrap_interval,
    expected_calibration_error,
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


def test_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    """Ten answers at 80 % of which half are right: 0.3."""
    probabilities = np.tile([0.8, 0.2], (10, 1))

    assert expected_calibration_error(probabilities, np.array([0, 1] * 5)) == pytest.approx(0.3)


def test_interval_holds_the_value_and_narrows_with_more_lesions() -> None:
    """The bootstrap behaves."""
    widths = []
    for images in (100, 1600):
        probabilities, labels = random_case(1, images)
        lesions = np.arange(len(labels)).astype(str)
        interval = bootstrap_interval(balanced_multiclass_accuracy, probabilities, labels, lesions, resamples=200)
        assert interval.low <= interval.value <= interval.high
        widths.append(interval.high - interval.low)

    assert widths[1] < widths[0] / 2


def test_images_of_one_lesion_count_as_one_observation() -> None:
    """Copies of every image leave the interval as wide as it was."""
    probabilities, labels = random_case(2, 100)
    lesions = np.arange(len(labels)).astype(str)

    def width(copies: int) -> float:
        interval = bootstrap_interval(
            balanced_multiclass_accuracy,
            np.repeat(probabilities, copies, axis=0),
            np.repeat(labels, copies),
            np.repeat(lesions, copies),
            resamples=300,
        )
        return interval.high - interval.low

    assert width(8) == pytest.approx(width(1), rel=0.05)
