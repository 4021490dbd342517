"""An evaluation as lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from lesion_core.interval import Interval
from lesion_train.evaluation.choice import Role
from lesion_train.evaluation.findings import findings
from lesion_train.evaluation.values import Evaluation

ROLES = {
    Role.TEST: "nothing was fitted on it",
    Role.VALIDATION: "it also set the decision parameters",
    Role.FOREIGN: "other data than the model's",
}


def describe(evaluation: Evaluation) -> str:
    """What a person wants to know first; the report has the rest."""
    return "\n".join(_lines(evaluation))


def _lines(e: Evaluation) -> Iterator[str]:
    data, points = e.data, e.operating_points
    yield f"{e.model.name} ({e.model.backbone}) on {data.dataset}, part {data.part}: {ROLES[data.role]}"
    yield f"  images        {data.images:,} of {data.lesions:,} lesions" + (
        f"; {data.left_out:,} left out, since the model's run knows them" if data.left_out else ""
    )
    if not data.is_history_known:
        yield "  ! the model may have been trained on some of them: give --split FILE, the split.csv of its run"
    yield f"  BMA           {_shown(e.headline.bma)}"
    yield f"    with none   {_shown(e.headline.bma_with_none)}"
    if e.with_metadata is not None:
        yield f"    with age, sex, site  {_shown(e.with_metadata.bma)}"
    yield f"  macro AUROC   {_shown(e.headline.macro_auroc)}"
    yield f"  ECE           {_shown(e.after_temperature.ece)}"
    yield f"    before temperature   {_shown(e.before_temperature.ece)}"
    told = e.decision_with_metadata
    if told is not None:
        yield f"    with age, sex, site  {_shown(told.reliability.ece)}"
    for point in points:
        yield f"  {point.target} at the threshold for sensitivity {point.wanted_sensitivity:.2f}"
        yield f"    sensitivity {_shown(point.sensitivity)}"
        yield f"    specificity {_shown(point.specificity)}"
    yield f"  conformal     coverage {_shown(e.conformal.coverage)}, promised {e.conformal.promised:.2f}"
    yield f"    set size    {_shown(e.conformal.set_size)}"
    if told is not None:
        yield f"    with age, sex, site  coverage {_shown(told.conformal.coverage)}"
    yield f"  outside       {_shown(e.outside.called_outside)} of these images, wrongly"
    for group in e.outside.groups:
        yield f"    {group.name}: {_shown(group.called_outside)} called outside, AUROC {_shown(group.auroc)}"
    if e.robustness is not None and e.robustness.relative_bma is not None:
        yield f"  corruptions   leave {e.robustness.relative_bma:.0%} of the BMA, on average"
    yield "  per class     images  sensitivity                   AUROC"
    for item in e.classes:
        yield f"    {item.code:12} {item.images:5}  {_shown(item.sensitivity):28}  {_shown(item.auroc)}"
    yield from (f"  ! {sentence}" for sentence in findings(e))


def _shown(interval: Interval | None) -> str:
    return "not measured" if interval is None else str(interval)
