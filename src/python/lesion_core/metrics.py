"""Scores of discrimination: is the right class found? ``reliability`` asks whether probabilities can be believed."""

# N images · K classes

from __future__ import annotations

import attrs
import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Probabilities = NDArray[np.floating]
Labels = NDArray[np.integer]


def balanced_multiclass_accuracy(probabilities: Probabilities, labels: Labels) -> float:
    """Mean of the recalls of the classes that occur in ``labels`` (BMA); a tie for the maximum is wrong.

    Args:
        probabilities: float ``(N, K)``.
        labels: int ``(N,)`` in ``[0, K)``.
    Returns:
        BMA in [0, 1]; 1 is best.
    Source: ISIC 2019 challenge; ``isic-challenge-scoring``.
    """
    return float(np.mean(list(recall_per_class(probabilities, labels).values())))


def area_under_roc(scores: NDArray[np.floating], is_positive: NDArray[np.bool_]) -> float:
    """Probability that a positive scores above a negative, ties counting half: in [0, 1]; 0.5 is chance.

    Source: Mann & Whitney 1947. NaN where one of the groups is empty.
    """
    positives = int(is_positive.sum())
    negatives = len(is_positive) - positives
    if positives == 0 or negatives == 0:
        return float("nan")
    rank_sum = rankdata(scores)[is_positive].sum()
    return float((rank_sum - positives * (positives + 1) / 2) / (positives * negatives))


def macro_auroc(probabilities: Probabilities, labels: Labels) -> float:
    """Mean one-against-rest area under the ROC curve over the classes that occur: in [0, 1]; 0.5 is chance.

    Args:
        probabilities: float ``(N, K)``.
        labels: int ``(N,)`` in ``[0, K)``.
    """
    areas = [area_under_roc(probabilities[:, label], labels == label) for label in np.unique(labels)]
    return float(np.mean(areas))


def recall_per_class(probabilities: Probabilities, labels: Labels) -> dict[int, float]:
    """Sensitivity of each class that occurs, by class index; each in [0, 1]. A tie for the maximum is wrong."""
    highest = probabilities.max(axis=1, keepdims=True)
    is_unique = (probabilities == highest).sum(axis=1) == 1
    is_right = (probabilities.argmax(axis=1) == labels) & is_unique
    return {int(label): float(is_right[labels == label].mean()) for label in np.unique(labels)}


@attrs.frozen(kw_only=True)
class BinaryCounts:
    """One class against the rest, at a decision. A share whose denominator is 0 is NaN."""

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int

    @property
    def sensitivity(self) -> float:
        """Share of the class that was called so, in [0, 1]."""
        return _share(self.true_positives, self.false_negatives)

    @property
    def specificity(self) -> float:
        """Share of the others that were not, in [0, 1]."""
        return _share(self.true_negatives, self.false_positives)

    @property
    def ppv(self) -> float:
        """Share of the class among those called so, in [0, 1]; at the prevalence of these images."""
        return _share(self.true_positives, self.false_positives)

    @property
    def npv(self) -> float:
        """Share of the others among those not called so, in [0, 1]; at the prevalence of these images."""
        return _share(self.true_negatives, self.false_negatives)

    def ppv_at(self, prevalence: float) -> float:
        """PPV where ``prevalence``, in [0, 1], of the images are of the class. Source: Bayes' rule."""
        right, wrong = prevalence * self.sensitivity, (1 - prevalence) * (1 - self.specificity)
        return right / (right + wrong) if right + wrong else float("nan")

    def npv_at(self, prevalence: float) -> float:
        """NPV where ``prevalence``, in [0, 1], of the images are of the class. Source: Bayes' rule."""
        right, wrong = (1 - prevalence) * self.specificity, prevalence * (1 - self.sensitivity)
        return right / (right + wrong) if right + wrong else float("nan")


def binary_counts(is_called: NDArray[np.bool_], is_class: NDArray[np.bool_]) -> BinaryCounts:
    """Count decisions against the truth: bool ``(N,)`` and bool ``(N,)``."""
    return BinaryCounts(
        true_positives=int((is_called & is_class).sum()),
        false_positives=int((is_called & ~is_class).sum()),
        false_negatives=int((~is_called & is_class).sum()),
        true_negatives=int((~is_called & ~is_class).sum()),
    )


def _share(part: int, rest: int) -> float:
    return part / (part + rest) if part + rest else float("nan")
