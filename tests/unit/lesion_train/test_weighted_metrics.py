"""Metrics over many resamples at once are the metrics of one sample, a thousand times."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lesion_core.challenge import area_above_sensitivity
from lesion_core.metrics import area_under_roc, balanced_multiclass_accuracy, macro_auroc
from lesion_core.reliability import classwise_calibration_error, expected_calibration_error
from lesion_train.evaluation import weighted
from lesion_train.evaluation.scores import answered_rightly

CLASSES = 3


def sample(seed: int, images: int = 60, levels: int = 12) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Probabilities with ties, and labels that hold every class."""
    random = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(CLASSES), random.integers(0, CLASSES, images - CLASSES)])
    probabilities = random.integers(1, levels, (images, CLASSES)) + 4 * np.eye(CLASSES)[labels]
    return probabilities / probabilities.sum(axis=1, keepdims=True), labels


def of_one_sample(metric: Callable[..., NDArray[np.float64]], **arguments: NDArray[Any]) -> float:
    images = len(next(iter(arguments.values())))
    return float(metric(np.ones((1, images)), **arguments)[0])


@given(st.integers(0, 200))
def test_with_weights_of_one_they_are_the_metrics_of_core(seed: int) -> None:
    """Ties included."""
    probabilities, labels = sample(seed)
    scores, is_class = probabilities[:, 0], labels == 0
    is_right = answered_rightly(probabilities, labels)
    confidence, is_top = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels

    pairs = [
        (
            of_one_sample(weighted.balanced_accuracy, is_right=is_right, labels=labels),
            balanced_multiclass_accuracy(probabilities, labels),
        ),
        (of_one_sample(weighted.area_under_roc, scores=scores, is_positive=is_class), area_under_roc(scores, is_class)),
        (
            of_one_sample(
                partial(weighted.area_above_sensitivity, sensitivity=0.8), scores=scores, is_positive=is_class
            ),
            area_above_sensitivity(scores, is_class),
        ),
        (
            of_one_sample(
                partial(weighted.macro_average, metric=weighted.area_under_roc),
                probabilities=probabilities,
                labels=labels,
            ),
            macro_auroc(probabilities, labels),
        ),
        (
            of_one_sample(weighted.calibration_gap, probability=confidence, is_true=is_top),
            expected_calibration_error(probabilities, labels),
        ),
        (
            of_one_sample(weighted.classwise_calibration_gap, probabilities=probabilities, labels=labels),
            classwise_calibration_error(probabilities, labels),
        ),
    ]

    for ours, theirs in pairs:
        assert ours == pytest.approx(theirs, abs=1e-12)


@given(st.integers(0, 200))
def test_an_image_that_weighs_two_counts_as_two_images(seed: int) -> None:
    """And one that weighs nothing is not there."""
    probabilities, labels = sample(seed)
    counts = np.random.default_rng(seed).integers(0, 3, len(labels))
    rows = np.repeat(np.arange(len(labels)), counts)
    scores, is_class = probabilities[:, 1], labels == 1
    if not is_class[rows].any():
        return

    for metric in (weighted.area_under_roc, partial(weighted.area_above_sensitivity, sensitivity=0.8)):
        weighed = metric(counts[None].astype(float), scores=scores, is_positive=is_class)
        repeated = metric(np.ones((1, len(rows))), scores=scores[rows], is_positive=is_class[rows])
        assert weighed == pytest.approx(repeated, abs=1e-12)
