"""Class-conditional conformal sets: the diagnoses that cannot be ruled out, with a promise for *each* class.

A marginal set keeps its promise over all images and breaks it for the rare classes; here each class has a quantile of
its own. The score is ``1 - probability`` (LAC): ``benchmarks/conformal_methods.py`` shows APS and RAPS beside it, which
gave larger sets at the same coverage of the worst class.

Source: Sadinle et al. 2019, "Least Ambiguous Set-Valued Classifiers"; class-conditional: Vovk 2012.
"""

# N images · K classes

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lesion_core.decision.calibration import calibrated_probabilities
from lesion_core.decision.parameters import ConformalParameters
from lesion_core.interval import Interval, share_interval

TEMPERATURE_FACTORS = (1.0, 0.5, 0.7, 1.4, 2.0)
CROSS_FITS = 5
_FOLDS = 2


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
    calibrating one that gives the smallest sets under cross-fitting. It is chosen among five, by size and on all these
    images, so neither the promise nor ``measured`` is quite free of that choice; what the sets cover in a test part is.

    Args:
        logits: float ``(N, K)``.
        labels: int ``(N,)`` in ``[0, K)``.
        units: str ``(N,)``, of ``splits.units_of``; images of one are never on both sides of a cross-fit.
        coverage: in (0, 1).
        temperature: that calibrates.
        codes: of the K classes.
    """
    folds = _cross_fits(labels, units)
    own, fewest = temperature, np.inf
    for factor in TEMPERATURE_FACTORS:
        members = _held_out_members(logits, labels, folds, coverage=coverage, temperature=factor * temperature)
        size = float(np.mean([sets.sum(axis=1).mean() for sets in members])) if members else 0.0
        if size < fewest:
            own, fewest = factor * temperature, size
    probabilities = calibrated_probabilities(logits, own)
    return ConformalParameters(
        coverage=coverage,
        temperature=own,
        quantiles=fit_class_quantiles(probabilities, labels, coverage=coverage),
        measured=_measured_coverage(logits, labels, units, folds, coverage=coverage, temperature=own, codes=codes),
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


def _cross_fits(labels: NDArray[np.integer], units: NDArray[np.str_]) -> list[_Fold]:
    """Halves that share no unit, several times over, of the images of classes that have a unit for each half."""
    from sklearn.model_selection import StratifiedGroupKFold

    halved = [label for label in np.unique(labels) if len(np.unique(units[labels == label])) >= _FOLDS]
    rows = np.flatnonzero(np.isin(labels, halved))
    if len(rows) == 0:
        return []
    halves = (StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=seed) for seed in range(CROSS_FITS))
    folds = (fold for half in halves for fold in half.split(rows, labels[rows], groups=units[rows]))
    return [(rows[fitted], rows[held_out]) for fitted, held_out in folds]


def _held_out_members(
    logits: NDArray[np.floating],
    labels: NDArray[np.integer],
    folds: Sequence[_Fold],
    *,
    coverage: float,
    temperature: float,
) -> list[NDArray[np.bool_]]:
    """The sets of each fold's second half, with the quantiles of its first."""
    probabilities = calibrated_probabilities(logits, temperature)
    return [
        conformal_sets(
            probabilities[held_out], fit_class_quantiles(probabilities[fitted], labels[fitted], coverage=coverage)
        )
        for fitted, held_out in folds
    ]


def _measured_coverage(
    logits: NDArray[np.floating],
    labels: NDArray[np.integer],
    units: NDArray[np.str_],
    folds: Sequence[_Fold],
    *,
    coverage: float,
    temperature: float,
    codes: Sequence[str],
) -> dict[str, Interval]:
    """Mean over the cross-fits; the interval counts units, once each."""
    hits: dict[int, list[float]] = {}
    members = _held_out_members(logits, labels, folds, coverage=coverage, temperature=temperature)
    for (_, held_out), sets in zip(folds, members, strict=True):
        is_hit = sets[np.arange(len(held_out)), labels[held_out]]
        for label in np.unique(labels[held_out]):
            hits.setdefault(int(label), []).extend(is_hit[labels[held_out] == label])
    measured = {}
    for label, values in sorted(hits.items()):
        measured[codes[label]] = share_interval(float(np.mean(values)), len(np.unique(units[labels == label])))
    return measured
