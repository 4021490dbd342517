"""Is the model as good for every group of patients?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from lesion_core.bundle import BundleManifest
from lesion_core.decision.triage import MALIGNANT
from lesion_core.interval import Interval
from lesion_core.subgroups import FEWEST_LESIONS, UNKNOWN, groupings
from lesion_train.evaluation import weighted
from lesion_train.evaluation.decisions import scores_of, target_of
from lesion_train.evaluation.part import AnsweredPart
from lesion_train.evaluation.scores import answered_rightly
from lesion_train.evaluation.values import SubgroupResult

FEWEST_IN_A_SHARE = 10  # lesions: below, a sensitivity of 0.9 cannot even occur


def subgroup_results(part: AnsweredPart, manifest: BundleManifest) -> tuple[SubgroupResult, ...]:
    """Scores by sex, age, site, source and, where the data tell it, skin type.

    Groups differ in their mix of diagnoses, which BMA feels most; macro AUROC is over the diagnoses that occur in the
    group. Sensitivity and specificity are for malignant lesions, at the bundle's operating point. A group of fewer than
    ``FEWEST_LESIONS`` gets no score.

    Args:
        part: that is measured.
        manifest: of the bundle.
    """
    known = part.of_trained_classes()
    results = []
    for grouping, group_of in _groupings(known).items():
        names = sorted(set(group_of.tolist()), key=youngest_first)
        if names == [UNKNOWN]:
            continue
        results += [_result(known.only(group_of == name), grouping, name, manifest) for name in names]
    return tuple(results)


def _groupings(known: AnsweredPart) -> Mapping[str, NDArray[np.str_]]:
    skin = [f"type {record.fitzpatrick}" if record.fitzpatrick else UNKNOWN for record in known.records]
    return {**groupings(known.records), "skin (Fitzpatrick)": np.asarray(skin, dtype=np.str_)}


def youngest_first(group: str) -> tuple[bool, bool, str]:
    """Key that sorts groups by name, the youngest before other ages and the unknown last."""
    return group == UNKNOWN, not group.startswith("<"), group


def _result(group: AnsweredPart, grouping: str, name: str, manifest: BundleManifest) -> SubgroupResult:
    point = manifest.decision.operating_point(MALIGNANT)
    is_malignant = target_of(group, MALIGNANT, manifest.taxonomy)
    lesions = len(np.unique(group.lesions))
    bma = area = sensitivity = specificity = None
    if lesions >= FEWEST_LESIONS:
        is_right = answered_rightly(group.probabilities, group.labels)
        draw = group.resamples
        bma = draw.balanced_accuracy(is_right, group.labels)
        area = draw.macro_area(weighted.area_under_roc, group.probabilities, group.labels)
        if point is not None:
            is_above = scores_of(group, MALIGNANT, manifest.taxonomy) >= point.threshold.value
            sensitivity = _share_of_enough(group, is_above, is_malignant)
            specificity = _share_of_enough(group, ~is_above, ~is_malignant)
    return SubgroupResult(
        grouping=grouping,
        group=name,
        images=len(group.labels),
        lesions=lesions,
        malignant_lesions=len(np.unique(group.lesions[is_malignant])),
        macro_auroc=area,
        bma=bma,
        sensitivity=sensitivity,
        specificity=specificity,
    )


def _share_of_enough(group: AnsweredPart, is_hit: NDArray[np.bool_], is_counted: NDArray[np.bool_]) -> Interval | None:
    enough = len(np.unique(group.lesions[is_counted])) >= FEWEST_IN_A_SHARE
    return group.share(is_hit, is_counted) if enough else None
