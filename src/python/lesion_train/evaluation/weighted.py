"""Metrics of weighed images, many resamples at once: ``weights`` float ``(R, N)`` in, one number each out.

A bootstrap that calls a metric a thousand times sorts a thousand times; here the images are sorted once. With weights
of 1 each number is that of ``lesion_core.metrics``, ``.reliability`` and ``.challenge``; tests hold them beside these.
"""

# R resamples · N images · U distinct scores

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float64]
PerResample = NDArray[np.float64]
_Bools = NDArray[np.bool_]


def share(weights: Weights, is_hit: _Bools, is_counted: _Bools) -> PerResample:
    """Share of hits among the counted images: float64 ``(R,)`` in [0, 1]; NaN where none is counted."""
    return _ratio(weights @ (is_hit & is_counted), weights @ is_counted.astype(np.float64))


def mean(weights: Weights, values: NDArray[np.floating], is_counted: _Bools | None = None) -> PerResample:
    """Mean of a number over the counted images, or over all: float64 ``(R,)``; NaN where none is counted."""
    counted = weights if is_counted is None else weights * is_counted
    return _ratio(counted @ values, counted.sum(axis=1))


def balanced_accuracy(weights: Weights, is_right: _Bools, labels: NDArray[np.integer]) -> PerResample:
    """Mean of the shares that are right, over the classes that occur: float64 ``(R,)`` in [0, 1]."""
    return np.asarray(np.nanmean([share(weights, is_right, labels == label) for label in np.unique(labels)], axis=0))


def area_under_roc(weights: Weights, scores: NDArray[np.floating], is_positive: _Bools) -> PerResample:
    """Probability that a positive scores above a negative, ties counting half: float64 ``(R,)`` in [0, 1].

    NaN where one of the groups is empty. Source: Mann & Whitney 1947.
    """
    positives, negatives = _by_descending_score(weights, scores, is_positive)
    negatives_below = negatives.sum(axis=1, keepdims=True) - negatives.cumsum(axis=1)
    won = (positives * (negatives_below + negatives / 2)).sum(axis=1)
    return _ratio(won, positives.sum(axis=1) * negatives.sum(axis=1))


def macro_average(
    weights: Weights,
    metric: Callable[..., PerResample],
    probabilities: NDArray[np.floating],
    labels: NDArray[np.integer],
) -> PerResample:
    """Mean of a metric of one class against the rest over the classes that occur: float64 ``(R,)``.

    Args:
        weights: float ``(R, N)``.
        metric: takes ``weights``, ``scores`` float ``(N,)`` and ``is_positive`` bool ``(N,)``.
        probabilities: float ``(N, K)``.
        labels: int ``(N,)`` in ``[0, K)``.
    """
    values = [metric(weights, probabilities[:, label], labels == label) for label in np.unique(labels)]
    return np.asarray(np.mean(values, axis=0))


def area_above_sensitivity(
    weights: Weights, scores: NDArray[np.floating], is_positive: _Bools, *, sensitivity: float
) -> PerResample:
    """Area under the part of the ROC curve from ``sensitivity`` on, down to the axis: float64 ``(R,)`` in [0, 1].

    As ``lesion_core.challenge.area_above_sensitivity``; NaN where one of the groups is empty.
    """
    positives, negatives = _by_descending_score(weights, scores, is_positive)
    start = np.zeros((len(weights), 1))
    found = np.hstack([start, _ratio(positives.cumsum(axis=1), positives.sum(axis=1, keepdims=True))])
    alarms = np.hstack([start, _ratio(negatives.cumsum(axis=1), negatives.sum(axis=1, keepdims=True))])
    pieces = np.diff(alarms, axis=1) * (found[:, 1:] + found[:, :-1]) / 2
    first = (found >= sensitivity).argmax(axis=1)  # 0 where the curve is NaN
    rows = np.arange(len(weights))
    before = np.maximum(first - 1, 0)
    rise = found[rows, first] - found[rows, before]
    way = _ratio(sensitivity - found[rows, before], rise)
    crossing = alarms[rows, before] + way * (alarms[rows, first] - alarms[rows, before])
    beyond = np.where(np.arange(pieces.shape[1]) >= first[:, None], pieces, 0.0).sum(axis=1)
    return beyond + (alarms[rows, first] - crossing) * (sensitivity + found[rows, first]) / 2


def calibration_gap(
    weights: Weights, probability: NDArray[np.floating], is_true: _Bools, *, bins: int = 15
) -> PerResample:
    """Weighted gap between probability and frequency over equal-width bins: float64 ``(R,)`` in [0, 1].

    Of the largest probability it is the expected calibration error. Source: Guo et al. 2017, eq. 3.
    """
    bin_of = np.minimum((probability * bins).astype(int), bins - 1)
    excess = np.zeros((len(probability), bins))
    excess[np.arange(len(probability)), bin_of] = is_true - probability
    return _ratio(np.abs(weights @ excess).sum(axis=1), weights.sum(axis=1))


def classwise_calibration_gap(
    weights: Weights, probabilities: NDArray[np.floating], labels: NDArray[np.integer], *, bins: int = 15
) -> PerResample:
    """Mean over the K classes of the gap between the probability of the class and its frequency: float64 ``(R,)``.

    Source: Kull et al. 2019, "Beyond temperature scaling", eq. 3.
    """
    classes = range(probabilities.shape[1])
    gaps = [calibration_gap(weights, probabilities[:, label], labels == label, bins=bins) for label in classes]
    return np.asarray(np.mean(gaps, axis=0))


def _by_descending_score(
    weights: Weights, scores: NDArray[np.floating], is_positive: _Bools
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weight of the positives and of the negatives at each distinct score, the highest first: ``(R, U)`` each."""
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    starts = np.concatenate([[0], np.flatnonzero(np.diff(ordered)) + 1])
    weighted, positive = weights[:, order], is_positive[order]
    return (
        np.add.reduceat(weighted * positive, starts, axis=1),
        np.add.reduceat(weighted * ~positive, starts, axis=1),
    )


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(whole > 0, part / whole, np.nan)
