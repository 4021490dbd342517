"""Do the decision parameters keep what they promised? Sets, operating points, triage bands, strange images."""

# N images · K trained classes · M strange images

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lesion_core.bundle import BundleManifest
from lesion_core.decision.ood import NetworkOutput, Reference, strangeness
from lesion_core.decision.parameters import ConformalParameters, OperatingPoint, TriageBand
from lesion_core.decision.triage import MALIGNANT, malignant_classes, malignant_share
from lesion_core.taxonomy import Taxonomy
from lesion_train.evaluation import weighted
from lesion_train.evaluation.part import AnsweredPart
from lesion_train.evaluation.resamples import Resamples
from lesion_train.evaluation.values import (
    BandResult,
    ConformalResult,
    OperatingResult,
    OutsideGroup,
    OutsideResult,
)


def conformal_result(part: AnsweredPart, parameters: ConformalParameters) -> ConformalResult:
    """How often the sets hold the truth, and how large they are."""
    known = part.of_trained_classes()
    sets = known.decisions.conformal
    sizes = sets.sum(axis=1)
    return ConformalResult(
        promised=parameters.coverage,
        coverage=known.share(sets[np.arange(len(sets)), known.labels]),
        set_size=known.resamples.interval(partial(weighted.mean, values=sizes)),
        sets_of_one=known.share(sizes == 1),
    )


def operating_results(part: AnsweredPart, manifest: BundleManifest) -> tuple[OperatingResult, ...]:
    """Each operating point of the bundle, as it works on these images."""
    known = part.of_trained_classes()
    return tuple(_operating_result(known, point, manifest.taxonomy) for point in manifest.decision.operating_points)


def _operating_result(known: AnsweredPart, point: OperatingPoint, taxonomy: Taxonomy) -> OperatingResult:
    is_target = target_of(known, point.target, taxonomy)
    is_above = scores_of(known, point.target, taxonomy) >= point.threshold.value
    return OperatingResult(
        target=point.target,
        threshold=point.threshold.value,
        wanted_sensitivity=point.wanted_sensitivity,
        sensitivity_when_set=point.sensitivity.value,
        specificity_when_set=point.specificity.value,
        targets=int(is_target.sum()),
        sensitivity=known.share(is_above, is_target),
        specificity=known.share(~is_above, ~is_target),
        ppv=known.share(is_target, is_above),
        npv=known.share(~is_target, ~is_above),
    )


def target_of(known: AnsweredPart, target: str, taxonomy: Taxonomy) -> NDArray[np.bool_]:
    """Which images of trained classes are of an operating point's target: bool ``(N,)``."""
    if target == MALIGNANT:
        return malignant_classes(taxonomy)[known.labels]
    return known.labels == taxonomy.trained_codes.index(target)


def scores_of(known: AnsweredPart, target: str, taxonomy: Taxonomy) -> NDArray[np.float64]:
    """The probability that an operating point compares with its threshold: float64 ``(N,)``."""
    if target == MALIGNANT:
        return known.decisions.risk
    return known.probabilities[:, taxonomy.trained_codes.index(target)]


def band_results(part: AnsweredPart, manifest: BundleManifest) -> tuple[BandResult, ...]:
    """Who falls into each triage band."""
    known, bands = part.of_trained_classes(), manifest.decision.triage
    if not bands:
        return ()
    is_malignant = target_of(known, MALIGNANT, manifest.taxonomy)
    band_of_image = np.searchsorted([band.lower for band in bands], known.decisions.risk, side="right") - 1
    return tuple(
        _band_result(known, band, bands, is_malignant, band_of_image == index) for index, band in enumerate(bands)
    )


def _band_result(
    known: AnsweredPart,
    band: TriageBand,
    bands: tuple[TriageBand, ...],
    is_malignant: NDArray[np.bool_],
    is_in_band: NDArray[np.bool_],
) -> BandResult:
    when_set = malignant_share(band, bands)
    return BandResult(
        name=band.name,
        lower=band.lower,
        malignant=int((is_in_band & is_malignant).sum()),
        not_malignant=int((is_in_band & ~is_malignant).sum()),
        share_of_images=known.share(is_in_band),
        share_of_malignant=known.share(is_in_band, is_malignant),
        share_malignant=known.share(is_malignant, is_in_band),
        malignant_when_set=None if np.isnan(when_set) else when_set,
    )


def outside_result(
    part: AnsweredPart,
    strange: Mapping[str, NetworkOutput],
    *,
    manifest: BundleManifest,
    reference: Reference,
) -> OutsideResult:
    """How well strange images are told from those of the trained classes.

    Args:
        part: that is measured; its own images of *none of the above* are one more group.
        strange: what the network says of each group of strange images, by the group's name.
        manifest: of the bundle.
        reference: of its detector.
    """
    known, ood = part.of_trained_classes(), manifest.decision.ood
    is_none = part.labels == len(manifest.taxonomy.trained)
    groups = []
    if is_none.any():
        own = f"labelled {manifest.taxonomy.none_of_the_above.code}"
        groups.append(_Strange(own, part.decisions.strangeness[is_none], part.units[is_none]))
    for name, output in strange.items():
        scores = strangeness(ood.detector, output, reference)
        groups.append(_Strange(name, scores, np.array([f"strange image {number}" for number in range(len(scores))])))
    return OutsideResult(
        detector=ood.detector,
        threshold=ood.threshold,
        called_outside_when_set=1 - ood.quantile,
        called_outside=known.share(known.decisions.strangeness > ood.threshold),
        groups=tuple(_outside_group(known, group, ood.threshold) for group in groups),
    )


class _Strange(NamedTuple):
    """Images that are no trained class: float64 ``(N,)`` on the detector's scale, and str ``(N,)``."""

    name: str
    scores: NDArray[np.float64]
    units: NDArray[np.str_]


def _outside_group(known: AnsweredPart, group: _Strange, threshold: float) -> OutsideGroup:
    is_strange = np.repeat([False, True], [len(known.labels), len(group.scores)])
    of_both = np.concatenate([known.decisions.strangeness, group.scores])
    units = np.concatenate([known.units, group.units])
    draw = Resamples.draw(is_strange.astype(np.int64), units, known.resamples.number)
    return OutsideGroup(
        name=group.name,
        images=len(group.scores),
        auroc=draw.area(weighted.area_under_roc, of_both, is_strange),
        called_outside=draw.share(of_both > threshold, is_strange),
    )
