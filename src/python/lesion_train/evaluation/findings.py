"""What a reader should not overlook: promises that these images do not bear out, in sentences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lesion_core.decision.triage import MALIGNANT
from lesion_core.interval import Interval
from lesion_train.evaluation.values import ConformalResult, Evaluation, OperatingResult

WITH_METADATA = "With age, sex and site"
CALLED_OUTSIDE = 0.5  # of strange images; where fewer are, the detector misses most
MILD_SEVERITY = 2
LOST_SENSITIVITY = 0.10  # that a mild corruption may cost


def findings(evaluation: Evaluation) -> tuple[str, ...]:
    """Sentences, the gravest first; none where every promise is kept.

    A promise counts as broken where its whole 95 % interval lies below it. With many groups and classes one or two do
    so by chance.
    """
    return (
        *_sensitivities(evaluation),
        *_groups(evaluation),
        *_coverages(evaluation),
        *_strange_images(evaluation),
        *_mild_corruptions(evaluation),
    )


def _sensitivities(e: Evaluation) -> Iterator[str]:
    yield from _missed_sensitivities("The threshold", e.operating_points)
    if e.decision_with_metadata is not None:
        yield from _missed_sensitivities(f"{WITH_METADATA}, the threshold", e.decision_with_metadata.operating_points)


def _missed_sensitivities(threshold: str, points: Iterable[OperatingResult]) -> Iterator[str]:
    for point in points:
        if point.sensitivity is not None and point.sensitivity.high < point.wanted_sensitivity:
            yield (
                f"{threshold} for {point.target} was set for a sensitivity of "
                f"{_percent(point.wanted_sensitivity)} and reaches {_shown(point.sensitivity)}."
            )


def _groups(e: Evaluation) -> Iterator[str]:
    point = e.operating_result(MALIGNANT)
    if point is None:
        return
    for group in e.subgroups:
        if group.sensitivity is not None and group.sensitivity.high < point.wanted_sensitivity:
            yield (
                f"Group {group.grouping} {group.group}: {_shown(group.sensitivity)} of the malignant images are found, "
                f"of {group.malignant_lesions} lesions; the threshold was set for "
                f"{_percent(point.wanted_sensitivity)}."
            )


def _coverages(e: Evaluation) -> Iterator[str]:
    yield from _missed_coverages("Conformal", e, [item.coverage for item in e.classes], e.conformal)
    if (told := e.decision_with_metadata) is not None:
        yield from _missed_coverages(f"{WITH_METADATA}, conformal", e, told.coverage, told.conformal)


def _missed_coverages(
    conformal: str, e: Evaluation, coverages: Iterable[Interval | None], sets: ConformalResult
) -> Iterator[str]:
    for code, coverage in zip(e.codes, coverages, strict=True):
        if coverage is not None and coverage.high < sets.promised:
            yield (
                f"{conformal} sets hold {code} in {_shown(coverage)} of its images; "
                f"{_percent(sets.promised)} were promised."
            )


def _strange_images(e: Evaluation) -> Iterator[str]:
    for group in e.outside.groups:
        if group.called_outside is not None and group.called_outside.high < CALLED_OUTSIDE:
            yield f"Of the strange images “{group.name}” only {_shown(group.called_outside)} are called outside."


def _mild_corruptions(e: Evaluation) -> Iterator[str]:
    if e.robustness is None or e.robustness.clean.sensitivity is None:
        return
    clean = e.robustness.clean.sensitivity.value
    for item in e.robustness.results:
        if item.severity == MILD_SEVERITY and item.sensitivity and item.sensitivity.high < clean - LOST_SENSITIVITY:
            yield (
                f"With {item.corruption} of severity {item.severity} of 5, {_shown(item.sensitivity)} of the malignant "
                f"images are found instead of {_percent(clean)}."
            )


def _percent(value: float) -> str:
    return f"{100 * value:.0f}\u00a0%"


def _shown(interval: Interval) -> str:
    return f"{_percent(interval.value)} ({100 * interval.low:.0f}–{100 * interval.high:.0f})"
