"""The report: one HTML file that needs nothing else, for light and dark screens, wide and narrow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib import resources
from itertools import groupby

import attrs
import jinja2

from lesion_core.decision.triage import MALIGNANT
from lesion_core.interval import Interval
from lesion_train.evaluation.figures import (
    Picture,
    classes_picture,
    confusion_picture,
    reliability_picture,
    robustness_picture,
    roc_picture,
)
from lesion_train.evaluation.findings import findings
from lesion_train.evaluation.part import AnsweredPart
from lesion_train.evaluation.values import Evaluation, Robustness

UNDEFINED = "–"


@attrs.frozen(kw_only=True)
class Pictures:
    """The figures of one evaluation."""

    confusion: Picture
    roc: Picture
    reliability: Picture
    classes: Picture
    robustness: tuple[Picture, ...]


def draw_pictures(evaluation: Evaluation, part: AnsweredPart) -> Pictures:
    """Draw every figure; the curves need the answers themselves."""
    robust = evaluation.robustness
    metrics = (("bma", "BMA"), ("sensitivity", "Sensitivity for malignant lesions"))
    return Pictures(
        confusion=confusion_picture(evaluation.confusion, evaluation.codes),
        roc=roc_picture(part, evaluation.classes),
        reliability=reliability_picture(evaluation.before_temperature, evaluation.after_temperature),
        classes=classes_picture(evaluation.classes),
        robustness=tuple(robustness_picture(robust, metric, what) for metric, what in metrics) if robust else (),
    )


def render_report(evaluation: Evaluation, pictures: Pictures, thumbnails: Mapping[str, str]) -> str:
    """The HTML of a report.

    Args:
        evaluation: the numbers.
        pictures: the figures.
        thumbnails: data URIs of the mistakes by image; empty for a report without images of patients.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(percent=percent, fixed=fixed)
    source = resources.files(__package__).joinpath("report.html.j2").read_text(encoding="utf-8")
    return environment.from_string(source).render(
        e=evaluation,
        pictures=pictures,
        thumbnails=thumbnails,
        findings=findings(evaluation),
        made_at=datetime.fromisoformat(evaluation.created_at).strftime("%d %B %Y, %H:%M %Z"),
        malignant=evaluation.operating_result(MALIGNANT),
        groupings=[(name, list(items)) for name, items in groupby(evaluation.subgroups, lambda item: item.grouping)],
        corruption_means=corruption_means(evaluation.robustness) if evaluation.robustness else [],
    )


def percent(value: float | None, digits: int = 0) -> str:
    """``0.734`` → ``73 %``, with a space that does not break."""
    return UNDEFINED if value is None else f"{100 * value:.{digits}f}\u00a0%"


def fixed(value: float, digits: int) -> str:
    """``0.7342`` with 2 digits → ``0.73``."""
    return f"{value:.{digits}f}"


def corruption_means(robustness: Robustness) -> list[tuple[str, list[float | None]]]:
    """For each corruption the means over its severities: BMA, sensitivity for malignant lesions, called outside."""
    means = []
    for name, items in groupby(robustness.results, lambda item: item.corruption):
        rows = [(item.bma, item.sensitivity, item.called_outside) for item in items]
        means.append((name, [_mean(column) for column in zip(*rows, strict=True)]))
    return means


def _mean(found: Sequence[Interval | None]) -> float | None:
    values = [interval.value for interval in found if interval is not None]
    return sum(values) / len(values) if len(values) == len(found) else None
