"""Is a model as good for every group of patients? Scores by sex, age, site and source, with intervals."""

# N images · K classes

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs
import numpy as np
from numpy.typing import NDArray

from lesion_core.bootstrap import bootstrap_interval
from lesion_core.interval import Interval
from lesion_core.metrics import Labels, Probabilities
from lesion_core.records import ImageRecord

UNKNOWN = "unknown"
AGE_BANDS = (30, 45, 60, 75)
FEWEST_LESIONS = 20

Metric = Callable[[Probabilities, Labels], float]


@attrs.frozen(kw_only=True)
class SubgroupScore:
    """One group's score. ``score`` is ``None`` where the group has too few lesions for a number to mean anything."""

    grouping: str
    group: str
    images: int
    lesions: int
    score: Interval | None


def age_band(age_approx: float | None) -> str:
    """``"<30"``, ``"30–44"``, ``"45–59"``, ``"60–74"``, ``"75+"`` or ``"unknown"``; age in years."""
    if age_approx is None:
        return UNKNOWN
    if age_approx < AGE_BANDS[0]:
        return f"<{AGE_BANDS[0]}"
    lower = max(bound for bound in AGE_BANDS if age_approx >= bound)
    above = [bound for bound in AGE_BANDS if bound > lower]
    return f"{lower}–{above[0] - 1}" if above else f"{lower}+"


def groupings(records: Sequence[ImageRecord]) -> dict[str, NDArray[np.str_]]:
    """The groups of each image by sex, age band, site and source: str ``(N,)`` each."""
    columns = {
        "sex": [record.sex or UNKNOWN for record in records],
        "age": [age_band(record.age_approx) for record in records],
        "site": [record.anatom_site_general or UNKNOWN for record in records],
        "source": [record.source or UNKNOWN for record in records],
    }
    return {name: np.asarray(values, dtype=np.str_) for name, values in columns.items()}


def subgroup_scores(
    metric: Metric,
    probabilities: Probabilities,
    labels: Labels,
    lesions: NDArray[np.str_],
    groups: Mapping[str, NDArray[np.str_]],
    *,
    fewest_lesions: int = FEWEST_LESIONS,
    resamples: int = 1000,
) -> tuple[SubgroupScore, ...]:
    """A metric in every group of every grouping, in the order of the groupings and of the groups' names.

    Args:
        metric: takes probabilities and labels; over the classes that occur in the group.
        probabilities: float ``(N, K)``.
        labels: int ``(N,)``.
        lesions: str ``(N,)``.
        groups: by grouping, the group of each image: str ``(N,)``.
        fewest_lesions: a group with fewer gets no score.
        resamples: of the bootstrap, which draws lesions.
    """
    scores = []
    for grouping, group_of in groups.items():
        for group in np.unique(group_of):
            rows = np.flatnonzero(group_of == group)
            count = len(np.unique(lesions[rows]))
            score = None
            if count >= fewest_lesions:
                score = bootstrap_interval(
                    metric, probabilities[rows], labels[rows], lesions[rows], resamples=resamples
                )
            scores.append(
                SubgroupScore(grouping=grouping, group=str(group), images=len(rows), lesions=count, score=score)
            )
    return tuple(scores)
