"""The scores that a manifest holds."""

from __future__ import annotations

import attrs
import numpy as np
import pytest

from lesion_core.bootstrap import bootstrap_interval
from lesion_core.interval import proportion_interval
from lesion_core.metrics import balanced_multiclass_accuracy
from lesion_core.taxonomy import ISIC_2019
from lesion_train.evaluation.headline import measure


def test_a_sensitivity_of_one_is_not_said_to_be_certain() -> None:
    """Three images of two lesions, all of them found: a bootstrap would see no uncertainty."""
    labels = np.array([0, 0, 0, 1, 1])
    lesions = np.array(["a", "a", "b", "c", "d"])
    probabilities = np.eye(8)[[0, 0, 0, 1, 0]]

    scores = measure(probabilities, labels, lesions, ISIC_2019, prefix="val", resamples=50)

    assert scores["val_sensitivity_MEL"] == proportion_interval(2, 2)
    assert scores["val_sensitivity_MEL"].low < 0.5
    assert scores["val_sensitivity_NV"].value == 0.5


def test_answers_of_none_count_as_wrong_where_they_are_an_answer() -> None:
    """As the slow way has it, interval and all; where nobody asks for it, there is no such score."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 8, 60)
    lesions = random.integers(0, 30, 60).astype(str)
    nine = (random.dirichlet([1.0] * 8 + [4.0], 60) + 0.3 * np.eye(9)[labels]) / 1.3
    eight = nine[:, :8] / nine[:, :8].sum(axis=1, keepdims=True)

    scores = measure(eight, labels, lesions, ISIC_2019, prefix="test", with_none=nine, resamples=50)

    slow = bootstrap_interval(balanced_multiclass_accuracy, nine, labels, lesions, resamples=50)
    assert attrs.astuple(scores["test_bma_with_none"]) == pytest.approx(attrs.astuple(slow))
    assert scores["test_bma_with_none"].value < scores["test_bma"].value
    assert "test_bma_with_none" not in measure(eight, labels, lesions, ISIC_2019, prefix="test", resamples=50)
