"""Malignancy risk, the operating points it is compared with, and three triage bands with what was found in each."""

# N images · K trained classes

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lesion_core.decision.parameters import OperatingPoint, TriageBand
from lesion_core.interval import Interval, share_interval
from lesion_core.taxonomy import Malignancy, Taxonomy

MALIGNANT = "malignant"
RESAMPLES = 1000


def malignant_classes(taxonomy: Taxonomy) -> NDArray[np.bool_]:
    """Which trained classes are malignant: bool ``(K,)``."""
    return np.asarray([diagnosis.malignancy is Malignancy.MALIGNANT for diagnosis in taxonomy.trained])


def malignancy_risk(probabilities: NDArray[np.floating], taxonomy: Taxonomy) -> NDArray[np.float64]:
    """Summed probability of the malignant trained classes: float ``(N, K)`` → float64 ``(N,)`` in [0, 1].

    Takes the probabilities *before* any share is given to none of the above: an image that is unlike the training
    images must not look safer for it.
    """
    return np.asarray(probabilities[:, malignant_classes(taxonomy)].sum(axis=1), dtype=np.float64).clip(0.0, 1.0)


def threshold_for_sensitivity(
    probability: NDArray[np.floating], is_target: NDArray[np.bool_], *, sensitivity: float
) -> float:
    """The largest threshold at which at least ``sensitivity`` of the targets have ``probability >= threshold``.

    Args:
        probability: float ``(N,)`` in [0, 1].
        is_target: bool ``(N,)``.
        sensitivity: in (0, 1].
    Returns:
        A threshold in [0, 1]; 0 (every image is at or above it) where there is no target.
    """
    targets = np.sort(np.asarray(probability)[is_target])[::-1]
    if len(targets) == 0:
        return 0.0
    needed = int(np.ceil(sensitivity * len(targets) - 1e-9))
    return float(targets[needed - 1])


def fit_operating_point(
    probability: NDArray[np.floating],
    is_target: NDArray[np.bool_],
    units: NDArray[np.str_],
    *,
    target: str,
    sensitivity: float,
    seed: int = 0,
) -> OperatingPoint:
    """Set a threshold for a sensitivity, and say how well it is known.

    Args:
        probability: float ``(N,)`` in [0, 1].
        is_target: bool ``(N,)``, with both values.
        units: str ``(N,)``, of ``splits.units_of``; the bootstrap draws units of the target, not images.
        target: a class's code or ``MALIGNANT``.
        sensitivity: in (0, 1].
    """
    threshold = threshold_for_sensitivity(probability, is_target, sensitivity=sensitivity)
    _, index = np.unique(units[is_target], return_inverse=True)
    groups = [np.flatnonzero(index == group) for group in range(index.max() + 1)]
    targets, random = np.asarray(probability)[is_target], np.random.default_rng(seed)
    redrawn = []
    for _ in range(RESAMPLES):
        drawn = targets[np.concatenate([groups[pick] for pick in random.integers(0, len(groups), len(groups))])]
        redrawn.append(threshold_for_sensitivity(drawn, np.ones(len(drawn), bool), sensitivity=sensitivity))
    low, high = np.quantile(redrawn, [0.025, 0.975])
    is_above = np.asarray(probability) >= threshold
    return OperatingPoint(
        target=target,
        wanted_sensitivity=sensitivity,
        threshold=Interval(value=threshold, low=float(low), high=float(high)),
        sensitivity=_share_of_units(is_above[is_target], units[is_target]),
        specificity=_share_of_units(~is_above[~is_target], units[~is_target]),
    )


def _share_of_units(is_hit: NDArray[np.bool_], units: NDArray[np.str_]) -> Interval:
    """Share of images, with an interval that counts each unit once."""
    return share_interval(float(is_hit.mean()), len(np.unique(units)))


def fit_bands(
    risk: NDArray[np.floating], is_malignant: NDArray[np.bool_], *, threshold: float, specificity: float
) -> tuple[TriageBand, ...]:
    """Three bands: below ``threshold``, from there on, and from where at most ``1 - specificity`` of the others lie.

    Args:
        risk: float ``(N,)`` in [0, 1].
        is_malignant: bool ``(N,)``, with both values.
        threshold: of the operating point for sensitivity.
        specificity: in (0, 1), of the high band.
    Returns:
        ``low``, ``intermediate`` and ``high``; the second is empty where the classes are told apart that well.
    """
    others = np.sort(np.asarray(risk, dtype=np.float64)[~is_malignant])
    allowed = math.floor((1 - specificity) * len(others) + 1e-9)  # 0.1 * 20 is 2, whatever 1 - 0.9 is in binary
    upper = max(threshold, min(1.0, float(np.nextafter(others[-allowed - 1], np.inf))))
    lowers = {"low": 0.0, "intermediate": threshold, "high": upper}
    names = list(lowers)
    index = np.searchsorted(list(lowers.values()), risk, side="right") - 1
    return tuple(
        TriageBand(
            name=name,
            lower=lowers[name],
            malignant=int((is_malignant & (index == n)).sum()),
            not_malignant=int((~is_malignant & (index == n)).sum()),
        )
        for n, name in enumerate(names)
    )


def band_of(risk: float, bands: Sequence[TriageBand]) -> TriageBand:
    """The highest band whose lower end ``risk`` reaches."""
    return [band for band in bands if risk >= band.lower][-1]


def malignant_share(band: TriageBand, bands: Sequence[TriageBand], *, prevalence: float | None = None) -> float:
    """How many of the images in a band are malignant: the PPV of the high band; one less it is the NPV of the low one.

    Args:
        band: one of ``bands``.
        bands: all of them.
        prevalence: in (0, 1), share of malignant lesions among the images that will be asked about; ``None`` is that
            of the validation part, where the share is the observed one.
    Returns:
        In [0, 1]; NaN where nothing was observed in the band.
    Source: Bayes' rule, with the observed shares of each kind that fall into the band.
    """
    malignant, others = sum(b.malignant for b in bands), sum(b.not_malignant for b in bands)
    at = malignant / (malignant + others) if prevalence is None else prevalence
    of_malignant, of_others = at * band.malignant / malignant, (1 - at) * band.not_malignant / others
    return of_malignant / (of_malignant + of_others) if of_malignant + of_others else float("nan")
