"""Membership in our conformal sets is what MAPIE finds."""

from __future__ import annotations

import numpy as np
import pytest
from mapie.classification import SplitConformalClassifier
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin

from lesion_core.decision.calibration import calibrated_probabilities
from lesion_core.decision.conformal import fit_class_quantiles

CLASSES = 4


def case(seed: int, images: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Logits for classes of very different frequency, the last of which is mostly taken for the first."""
    random = np.random.default_rng(seed)
    labels = random.choice(CLASSES, images, p=[0.6, 0.2, 0.12, 0.08])
    logits = random.normal(0, 1, (images, CLASSES))
    logits[np.arange(images), labels] += np.array([3.0, 2.0, 1.5, 0.5])[labels]
    logits[:, 0] += 1.0
    return logits, labels


class Answers(ClassifierMixin, BaseEstimator):
    """An estimator whose features are its own probabilities: MAPIE wants one."""

    classes_ = np.arange(CLASSES)

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def fit(self, features: NDArray[np.float64], labels: NDArray[np.int64]) -> Answers:
        """Nothing to do."""
        return self

    def predict_proba(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """The features."""
        return features

    def predict(self, features: NDArray[np.float64]) -> NDArray[np.int64]:
        """The most probable class."""
        return np.asarray(features.argmax(axis=1))


@pytest.mark.filterwarnings("ignore:WARNING. your conformalization dataset has less labels")  # as it should
@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_membership_of_each_class_is_what_mapie_finds_on_its_images(coverage: float) -> None:
    """Split conformal, LAC, calibrated on the images of one class at a time."""
    logits, labels = case(3, 2000)
    probabilities = calibrated_probabilities(logits, 1.0)
    fitted, new = slice(0, 1000), slice(1000, None)
    members = (1.0 - probabilities[new]) <= np.array(
        fit_class_quantiles(probabilities[fitted], labels[fitted], coverage=coverage)
    )
    for label in range(CLASSES):
        of_class = labels[fitted] == label
        mapie = SplitConformalClassifier(Answers(), confidence_level=coverage, conformity_score="lac", prefit=True)
        mapie.conformalize(probabilities[fitted][of_class], labels[fitted][of_class])
        _, sets = mapie.predict_set(probabilities[new])

        np.testing.assert_array_equal(members[:, label], sets[:, label, 0])
