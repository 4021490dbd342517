"""The scores that a manifest holds."""

from __future__ import annotations

import numpy as np

from lesion_core.interval import proportion_interval
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
