"""Measure a network on held-out images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from lesion_core.interval import Interval
from lesion_core.metrics import Labels, Probabilities, recall_per_class
from lesion_core.taxonomy import Taxonomy
from lesion_train.evaluation import weighted
from lesion_train.evaluation.part import Resamples


def measure(
    probabilities: Probabilities,
    labels: Labels,
    lesions: NDArray[np.str_],
    taxonomy: Taxonomy,
    *,
    prefix: str,
    with_none: Probabilities | None = None,
    resamples: int = 1000,
) -> dict[str, Interval]:
    """Scores with 95 % bootstrap intervals grouped by lesion; one that is not defined is left out.

    A bootstrap never sees what did not happen: the interval of a sensitivity of 0 or 1 is Wilson's, of lesions.

    Args:
        probabilities: float ``(N, K)`` over the trained classes; rows sum to 1.
        labels: int ``(N,)``.
        lesions: str ``(N,)``.
        prefix: ``"val"`` or ``"test"``: the part, and the start of every name.
        with_none: the same with a column for *none of the above*, ``(N, K + 1)``; adds the BMA of its answers.
    """
    draw = Resamples.draw(labels, lesions, resamples)

    def accuracy(answers: Probabilities) -> Interval | None:
        return draw.interval(
            partial(weighted.balanced_accuracy, is_right=answers.argmax(axis=1) == labels, labels=labels)
        )

    is_right = probabilities.argmax(axis=1) == labels
    auroc = partial(weighted.macro_average, metric=weighted.area_under_roc, probabilities=probabilities, labels=labels)
    scores = {
        "bma": accuracy(probabilities),
        "bma_with_none": None if with_none is None else accuracy(with_none),
        "macro_auroc": draw.interval(auroc),
        "ece": draw.interval(
            partial(weighted.calibration_gap, probability=probabilities.max(axis=1), is_true=is_right)
        ),
    }
    for index in np.unique(labels):
        scores[f"sensitivity_{taxonomy.trained_codes[index]}"] = draw.share(is_right, labels == index)
    return {f"{prefix}_{name}": score for name, score in scores.items() if score is not None}


def sensitivity_of(index: int) -> Callable[[Probabilities, Labels], float]:
    """A metric: the recall of one class."""
    return lambda probabilities, labels: recall_per_class(probabilities, labels).get(index, float("nan"))


def summary(scores: Mapping[str, Interval], prefix: str, part: str) -> str:
    """The scores of one part as lines for a terminal."""
    names = {"bma": "BMA", "bma_with_none": "  with none", "macro_auroc": "macro AUROC", "ece": "ECE"}
    shown = {label: scores.get(f"{prefix}_{name}") for name, label in names.items()}
    lines = [f"  {label:12} {interval}" for label, interval in shown.items() if interval is not None]
    return "\n".join([f"{part}:", *lines])
