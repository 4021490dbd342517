"""Scores of calibration, against hand-made cases and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss

from lesion_core.reliability import (
    brier_score,
    classwise_calibration_error,
    expected_calibration_error,
    negative_log_likelihood,
    reliability_table,
)


def random_case(seed: int, images: int = 200, classes: int = 5) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    random = np.random.default_rng(seed)
    return random.dirichlet(np.ones(classes), images), random.integers(0, classes, images)


def test_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    """Ten answers at 80 % of which half are right: 0.3."""
    probabilities = np.tile([0.8, 0.2], (10, 1))

    assert expected_calibration_error(probabilities, np.array([0, 1] * 5)) == pytest.approx(0.3)


def test_classwise_error_sees_what_the_most_probable_class_hides() -> None:
    """The confidence of 60 % is right, the split of the other 40 % is not."""
    probabilities = np.tile([0.6, 0.4, 0.0], (10, 1))
    labels = np.array([0] * 6 + [2] * 4)

    assert expected_calibration_error(probabilities, labels) == pytest.approx(0.0)
    assert classwise_calibration_error(probabilities, labels) == pytest.approx((0.0 + 0.4 + 0.4) / 3)


@given(st.integers(0, 10_000))
def test_likelihood_and_brier_score_equal_scikit_learns(seed: int) -> None:
    """A second implementation agrees; it halves the Brier score of several classes."""
    probabilities, labels = random_case(seed)
    classes = np.arange(5)

    assert negative_log_likelihood(probabilities, labels) == pytest.approx(
        log_loss(labels, probabilities, labels=classes)
    )
    expected = brier_score_loss(labels, probabilities, labels=classes, scale_by_half=False)
    assert brier_score(probabilities, labels) == pytest.approx(expected)


@given(st.integers(0, 10_000))
def test_the_table_equals_scikit_learns_calibration_curve(seed: int) -> None:
    """And its counts add up."""
    probabilities, labels = random_case(seed)
    observed, predicted = calibration_curve(labels == 0, probabilities[:, 0], n_bins=15)

    table = reliability_table(probabilities[:, 0], labels == 0)

    assert [row.observed for row in table] == pytest.approx(observed)
    assert [row.mean_probability for row in table] == pytest.approx(predicted)
    assert sum(row.count for row in table) == len(labels)


@given(st.integers(0, 10_000))
def test_scores_lie_in_their_range_and_do_not_depend_on_the_order(seed: int) -> None:
    """Of the images."""
    probabilities, labels = random_case(seed, 50)
    order = np.random.default_rng(seed + 1).permutation(50)

    for score, highest in (
        (expected_calibration_error, 1.0),
        (classwise_calibration_error, 1.0),
        (brier_score, 2.0),
        (negative_log_likelihood, np.inf),
    ):
        value = score(probabilities, labels)
        assert 0.0 <= value <= highest
        assert score(probabilities[order], labels[order]) == pytest.approx(value)


def test_one_impossible_answer_does_not_make_the_mean_infinite() -> None:
    """But very bad."""
    assert 100 < negative_log_likelihood(np.array([[0.0, 1.0]]), np.array([0])) < np.inf
