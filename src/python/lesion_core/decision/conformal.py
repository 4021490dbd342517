"""Class-conditional conformal sets: the diagnoses that cannot be ruled out, with a promise for *each* class.

A marginal set keeps its promise over all images and breaks it for the rare classes; here each class has a quantile of
its own. The score is ``1 - probability`` (LAC): ``benchmarks/conformal_methods.py`` shows APS and RAPS beside it, which
gave larger sets at the same coverage of the worst class.

Source: Sadinle et al. 2019, "Least Ambiguous Set-Valued Classifiers"; class-conditional: Vovk 2012.
"""

# N images · K classes

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lesion_core.decision.calibration import calibrated_probabilities
from lesion_core.decision.parameters import ConformalParameters
from lesion_core.interval import Interval, share_interval

TEMPERATURE_FACTORS = (1.0, 0.5, 0.7, 1.4, 2.0)
FOLDS, HALVES, REPEATS = 10, 2, 5


def fit_conformal(
    logits: NDArray[np.floating],
    labels: NDArray[np.integer],
    units: NDArray[np.str_],
    *,
    coverage: float,
    temperature: float,
    codes: Sequence[str],
) -> ConformalParameters:
    """Fit on the validation part.

    The promise, ``coverage`` for each class, holds for new images exchangeable with these, so exactly only where each
    image shows a lesion of its own. Where some lesions have several images, it is a promise for images drawn in the
    same way, whose quantiles are less certain than their number says. The sets' own temperature is the multiple of the
    calibrating one that gives the smallest sets of one half with the quantiles of the other. It is chosen among five,
    by size and on all these images, so neither the promise nor ``measured`` is quite free of that choice; what the sets
    cover in a test part is.

    Args:
        logits: float ``(N, K)``.
        labels: int ``(N,)`` in ``[0, K)``.
        units: str ``(N,)``, of ``splits.units_of``; images of one are never on both sides of a cross-fit.
        coverage: in (0, 1).
        temperature: that calibrates.
        codes: of the K classes.
    """
    halves = [half for seed in range(REPEATS) for half in _cross_fits(labels, units, HALVES, seed=seed)]
    own, fewest = temperature, np.inf
    for factor in TEMPERATURE_FACTORS:
        probabilities = calibrated_probabilities(logits, factor * temperature)
        held_out = _held_out(probabilities, labels, halves, coverage=coverage)
        size = float(np.mean([one.sets.sum(axis=1).mean() for one in held_out])) if held_out else 0.0
        if size < fewest:
            own, fewest = factor * temperature, size
    probabilities = calibrated_probabilities(logits, own)
    quantiles = fit_class_quantiles(probabilities, labels, coverage=coverage)
    held_out = _held_out(probabilities, labels, _cross_fits(labels, units, FOLDS), coverage=coverage)
    return ConformalParameters(
        coverage=coverage,
        temperature=own,
        quantiles=quantiles,
        measured=_measured_coverage(held_out, labels, units, quantiles=quantiles, codes=codes),
    )


def fit_class_quantiles(
    probabilities: NDArray[np.floating], labels: NDArray[np.integer], *, coverage: float
) -> tuple[float, ...]:
    """For each class the score at or below which its images lie with probability ``coverage``.

    Args:
        probabilities: float ``(N, K)``; rows sum to 1.
        labels: int ``(N,)`` in ``[0, K)``.
        coverage: in (0, 1).
    Returns:
        K quantiles of ``1 - probability of the true class``, in [0, 1], with the finite-sample correction; 1 (always
        a member) where the class has too few images to promise anything.
    """
    quantiles = []
    for label in range(probabilities.shape[1]):
        scores = np.sort(1.0 - probabilities[labels == label, label])
        rank = int(np.ceil((len(scores) + 1) * coverage))
        quantiles.append(float(scores[rank - 1]) if rank <= len(scores) else 1.0)
    return tuple(quantiles)


def conformal_sets(probabilities: NDArray[np.floating], quantiles: Sequence[float]) -> NDArray[np.bool_]:
    """Membership of each class: bool ``(N, K)``. The most probable class is always a member: no set is empty."""
    members = (1.0 - probabilities) <= np.asarray(quantiles)
    members[np.arange(len(members)), probabilities.argmax(axis=1)] = True
    return np.asarray(members)


_Fold = tuple[NDArray[np.int64], NDArray[np.int64]]


class _HeldOut(NamedTuple):
    """The rows of a fold, int ``(n,)``; their sets, bool ``(n, K)``; the K quantiles of the other folds."""

    rows: NDArray[np.int64]
    sets: NDArray[np.bool_]
    quantiles: tuple[float, ...]


def _cross_fits(labels: NDArray[np.integer], units: NDArray[np.str_], number: int, *, seed: int = 0) -> list[_Fold]:
    """Folds that share no unit, of the images of classes that have at least two units."""
    from sklearn.model_selection import StratifiedGroupKFold

    several = [label for label in np.unique(labels) if len(np.unique(units[labels == label])) > 1]
    rows = np.flatnonzero(np.isin(labels, several))
    if len(rows) == 0:
        return []
    number = min(number, len(np.unique(units[rows])), int(np.bincount(labels[rows]).max()))
    folding = StratifiedGroupKFold(number, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")  # it is then in fewer folds
        folds = list(folding.split(rows, labels[rows], groups=units[rows]))
    return [(rows[fitted], rows[held_out]) for fitted, held_out in folds]


def _held_out(
    probabilities: NDArray[np.floating], labels: NDArray[np.integer], folds: Sequence[_Fold], *, coverage: float
) -> list[_HeldOut]:
    """The sets of each fold, with the quantiles of the others."""
    found = []
    for fitted, rows in folds:
        quantiles = fit_class_quantiles(probabilities[fitted], labels[fitted], coverage=coverage)
        found.append(_HeldOut(rows, conformal_sets(probabilities[rows], quantiles), quantiles))
    return found


def _measured_coverage(
    held_out: Sequence[_HeldOut],
    labels: NDArray[np.integer],
    units: NDArray[np.str_],
    *,
    quantiles: Sequence[float],
    codes: Sequence[str],
) -> dict[str, Interval]:
    """Coverage of each class in the folds; the interval counts units.

    A class that has just enough images for a quantile, and without a fold too few, is left out: it would be a member
    of every set of the folds, and so look better than it is.
    """
    measured = {}
    for label in np.unique(np.concatenate([labels[one.rows] for one in held_out])) if held_out else ():
        is_always_held = any(one.quantiles[label] == 1 for one in held_out)
        if is_always_held and quantiles[label] < 1:
            continue
        hits = np.concatenate([one.sets[labels[one.rows] == label, label] for one in held_out])
        measured[codes[label]] = share_interval(float(hits.mean()), len(np.unique(units[labels == label])))
    return measured
