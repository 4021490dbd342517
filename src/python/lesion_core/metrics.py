"""Scores, with bootstrap confidence intervals grouped by lesion."""

# N images · K classes

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from lesion_core.interval import Interval

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
    highest = probabilities.max(axis=1, keepdims=True)
    is_unique = (probabilities == highest).sum(axis=1) == 1
    is_right = (probabilities.argmax(axis=1) == labels) & is_unique
    return float(np.mean([is_right[labels == label].mean() for label in np.unique(labels)]))


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
    """Sensitivity of each class that occurs, by class index; each in [0, 1]."""
    predicted = probabilities.argmax(axis=1)
    return {int(label): float((predicted[labels == label] == label).mean()) for label in np.unique(labels)}


def expected_calibration_error(probabilities: Probabilities, labels: Labels, *, bins: int = 15) -> float:
    """Weighted gap between confidence and accuracy.

    Args:
        probabilities: float ``(N, K)``; rows sum to 1.
        labels: int ``(N,)`` in ``[0, K)``.
        bins: equal-width bins over [0, 1].
    Returns:
        ECE in [0, 1]; 0 is best.
    Source: Guo et al. 2017, eq. 3.
    """
    confidence = probabilities.max(axis=1)
    is_right = probabilities.argmax(axis=1) == labels
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        (bin_of == b).mean() * abs(is_right[bin_of == b].mean() - confidence[bin_of == b].mean())
        for b in np.unique(bin_of)
    ]
    return float(np.sum(gaps))


def bootstrap_interval(
    metric: Callable[[Probabilities, Labels], float],
    probabilities: Probabilities,
    labels: Labels,
    lesions: NDArray[np.str_],
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """A metric with its percentile bootstrap interval; whole lesions are resampled, within each class.

    Drawing within the class of a lesion's first image keeps every class in every resample.

    Args:
        metric: takes probabilities and labels.
        probabilities: float ``(N, K)``.
        labels: int ``(N,)``.
        lesions: str ``(N,)``; images of one lesion are drawn together.
    Source: Efron & Tibshirani 1993, ch. 13; grouped as in Field & Welsh 2007.
    """
    rows_of: dict[str, list[int]] = {}
    for row, lesion in enumerate(lesions):
        rows_of.setdefault(str(lesion), []).append(row)
    strata: dict[int, list[NDArray[np.int64]]] = {}
    for rows in rows_of.values():
        strata.setdefault(int(labels[rows[0]]), []).append(np.asarray(rows, dtype=np.int64))
    random = np.random.default_rng(seed)
    values = []
    for _ in range(resamples):
        drawn = np.concatenate(
            [groups[pick] for groups in strata.values() for pick in random.integers(0, len(groups), len(groups))]
        )
        values.append(metric(probabilities[drawn], labels[drawn]))
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(values, [tail, 1 - tail])
    return Interval(value=metric(probabilities, labels), low=float(low), high=float(high), confidence=confidence)
