"""The bootstrap: how far a metric would move with other patients. Apart from ``interval``, since it needs numpy."""

# N images · R resamples

from __future__ import annotations

from collections.abc import Callable, Iterator

import attrs
import numpy as np
from numpy.typing import NDArray

from lesion_core.interval import FEWEST_FOR_A_BOOTSTRAP, Interval


@attrs.frozen(kw_only=True)
class PairedDifference:
    """A metric of two models on the same images, and by how much the second has more than the first."""

    first: Interval
    second: Interval
    difference: Interval


def bootstrap_interval(
    metric: Callable[[NDArray[np.floating], NDArray[np.integer]], float],
    probabilities: NDArray[np.floating],
    labels: NDArray[np.integer],
    lesions: NDArray[np.str_],
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """A metric with its percentile bootstrap interval; whole lesions are resampled, within each class.

    Drawing within the rarest class of a lesion (or patient), and once more where a class was lost all the same, keeps
    every class in every resample. Of a class of few lesions (``few_units``) the interval knows too little.

    Args:
        metric: takes probabilities and labels.
        probabilities: float ``(N, K)``.
        labels: int ``(N,)``.
        lesions: str ``(N,)``; images of one lesion are drawn together.
    Source: Efron & Tibshirani 1993, ch. 13; grouped as in Field & Welsh 2007.
    """
    values = [
        metric(probabilities[drawn], labels[drawn]) for drawn in _resampled_rows(labels, lesions, resamples, seed)
    ]
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(values, [tail, 1 - tail])
    return Interval(value=metric(probabilities, labels), low=float(low), high=float(high), confidence=confidence)


def resampled_counts(
    labels: NDArray[np.integer], lesions: NDArray[np.str_], *, resamples: int = 1000, seed: int = 0
) -> NDArray[np.uint16]:
    """How often each image is drawn in each resample: uint16 ``(R, N)``.

    They are the resamples of ``bootstrap_interval``. A metric that takes the counts as weights measures all of them at
    once, some hundred times faster.

    Args:
        labels: int ``(N,)``.
        lesions: str ``(N,)``; images of one lesion are drawn together.
        resamples: R.
        seed: as for ``bootstrap_interval``.
    """
    counts = np.zeros((resamples, len(labels)), dtype=np.uint16)
    for row, drawn in enumerate(_resampled_rows(labels, lesions, resamples, seed)):
        counts[row] = np.bincount(drawn, minlength=len(labels))
    return counts


def paired_bootstrap_difference(
    metric: Callable[[NDArray[np.floating], NDArray[np.integer]], float],
    first: NDArray[np.floating],
    second: NDArray[np.floating],
    labels: NDArray[np.integer],
    lesions: NDArray[np.str_],
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> PairedDifference:
    """Compare two models on the same images: each resample measures both on the same lesions.

    What is hard about a lesion is hard for both, so the interval of the difference is narrower than the intervals of
    the two suggest. With equal ``seed`` and ``resamples``, ``first`` and ``second`` are what ``bootstrap_interval``
    gives.

    Args:
        metric: takes probabilities and labels.
        first: float ``(N, K)``, probabilities of the first model.
        second: float ``(N, K)``, of the second, in the same order.
        labels: int ``(N,)``.
        lesions: str ``(N,)``; images of one lesion are drawn together.
    Source: Efron & Tibshirani 1993, ch. 8 and 13; grouped as in Field & Welsh 2007.
    """
    drawn = _resampled_rows(labels, lesions, resamples, seed)
    values = np.array([(metric(first[rows], labels[rows]), metric(second[rows], labels[rows])) for rows in drawn])
    one, two = metric(first, labels), metric(second, labels)
    tail = (1 - confidence) / 2

    def interval(value: float, resampled: NDArray[np.float64]) -> Interval:
        low, high = np.nanquantile(resampled, [tail, 1 - tail])
        return Interval(value=value, low=float(low), high=float(high), confidence=confidence)

    return PairedDifference(
        first=interval(one, values[:, 0]),
        second=interval(two, values[:, 1]),
        difference=interval(two - one, values[:, 1] - values[:, 0]),
    )


def few_units(labels: NDArray[np.integer], units: NDArray[np.str_]) -> dict[int, int]:
    """The classes of so few units that a bootstrap calls their scores too certain: the number of units by class.

    A single unit is the same in every resample, and so is all that depends on it. For such classes a Wilson interval
    (``lesion_core.interval.share_interval``) of so many observations is honest.
    """
    counts = {int(label): len(np.unique(units[labels == label])) for label in np.unique(labels)}
    return {label: count for label, count in counts.items() if count < FEWEST_FOR_A_BOOTSTRAP}


def _resampled_rows(
    labels: NDArray[np.integer], lesions: NDArray[np.str_], resamples: int, seed: int
) -> Iterator[NDArray[np.int64]]:
    """Rows of each resample. All rows of a lesion stand side by side, so that drawing needs no loop over lesions."""
    _, group = np.unique(lesions, return_inverse=True)
    rows = np.argsort(group, kind="stable")
    sizes = np.bincount(group)
    starts = np.cumsum(sizes) - sizes
    classes, class_of = np.unique(labels, return_inverse=True)
    holds = np.zeros((len(sizes), len(classes)), dtype=bool)  # which classes a lesion has images of
    holds[group, class_of] = True
    rarest = np.where(holds, np.bincount(class_of), len(labels) + 1).argmin(axis=1)
    strata = [np.flatnonzero(rarest == index) for index in np.unique(rarest)]
    random = np.random.default_rng(seed)
    while resamples > 0:
        drawn = np.concatenate([stratum[random.integers(0, len(stratum), len(stratum))] for stratum in strata])
        if not holds[drawn].any(axis=0).all():
            continue  # the sample itself is one of the draws, so this ends
        resamples -= 1
        length = sizes[drawn]
        offset = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
        yield rows[np.repeat(starts[drawn], length) + offset]
