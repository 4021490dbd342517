"""The few scores that a run, a bundle and MLflow state of a held-out part: names, and how to take them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from lesion_core.interval import Interval
from lesion_core.metrics import Labels, Probabilities, recall_per_class
from lesion_core.taxonomy import Taxonomy
from lesion_train.evaluation import weighted
from lesion_train.evaluation.resamples import Resamples
from lesion_train.evaluation.scores import answered_rightly
from lesion_train.evaluation.values import Evaluation


def measure(
    probabilities: Probabilities,
    labels: Labels,
    units: NDArray[np.str_],
    taxonomy: Taxonomy,
    *,
    prefix: str,
    resamples: int = 1000,
) -> dict[str, Interval]:
    """Scores with 95 % bootstrap intervals that draw whole units; one that is not defined is left out.

    What of few units cannot be known from resamples is in the intervals all the same, see ``Resamples``.

    Args:
        probabilities: float ``(N, K)`` over the trained classes; rows sum to 1.
        labels: int ``(N,)``.
        units: str ``(N,)``, see ``lesion_core.splits.units_of``.
        prefix: the part, ``"val"``, ``"test"`` or ``"out_of_fold"``: the start of every name.
    """
    draw = Resamples.draw(labels, units, resamples)
    is_right, is_most_probable = answered_rightly(probabilities, labels), probabilities.argmax(axis=1) == labels
    scores = {
        "bma": draw.balanced_accuracy(is_right, labels),
        "macro_auroc": draw.macro_area(weighted.area_under_roc, probabilities, labels),
        "ece": draw.gap(
            partial(weighted.calibration_gap, probability=probabilities.max(axis=1), is_true=is_most_probable)
        ),
    }
    for index in np.unique(labels):
        scores[f"sensitivity_{taxonomy.trained_codes[index]}"] = draw.share(is_most_probable, labels == index)
    return _defined(scores, prefix)


def headline_metrics(evaluation: Evaluation, *, prefix: str) -> dict[str, Interval]:
    """What ``measure`` gives, of an evaluation; and the BMA of nine answers, with *none of the above*."""
    scores = {
        "bma": evaluation.headline.bma,
        "bma_with_none": evaluation.headline.bma_with_none,
        "macro_auroc": evaluation.headline.macro_auroc,
        "ece": evaluation.after_temperature.ece,
        **{f"sensitivity_{result.code}": result.sensitivity for result in evaluation.classes},
    }
    return _defined(scores, prefix)


def sensitivity_of(index: int) -> Callable[[Probabilities, Labels], float]:
    """A metric: the recall of one class."""
    return lambda probabilities, labels: recall_per_class(probabilities, labels).get(index, float("nan"))


def summary(scores: Mapping[str, Interval], prefix: str, part: str) -> str:
    """The scores of one part as lines for a terminal."""
    names = {"bma": "BMA", "bma_with_none": "  with none", "macro_auroc": "macro AUROC", "ece": "ECE"}
    shown = {label: scores.get(f"{prefix}_{name}") for name, label in names.items()}
    lines = [f"  {label:12} {interval}" for label, interval in shown.items() if interval is not None]
    return "\n".join([f"{part}:", *lines])


def _defined(scores: Mapping[str, Interval | None], prefix: str) -> dict[str, Interval]:
    return {f"{prefix}_{name}": score for name, score in scores.items() if score is not None}
