"""Measure a network on held-out images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lesion_core.bootstrap import bootstrap_interval
from lesion_core.interval import Interval, proportion_interval
from lesion_core.metrics import (
    Labels,
    Probabilities,
    balanced_multiclass_accuracy,
    macro_auroc,
    recall_per_class,
)
from lesion_core.reliability import expected_calibration_error
from lesion_core.taxonomy import Taxonomy


def measure(
    probabilities: Probabilities,
    labels: Labels,
    lesions: NDArray[np.str_],
    taxonomy: Taxonomy,
    *,
    prefix: str,
    resamples: int = 1000,
) -> dict[str, Interval]:
    """Scores with 95 % bootstrap intervals grouped by lesion.

    A bootstrap never sees what did not happen: the interval of a sensitivity of 0 or 1 is Wilson's, of lesions.

    Args:
        probabilities: float ``(N, K)`` over the trained classes; rows sum to 1.
        labels: int ``(N,)``.
        lesions: str ``(N,)``.
        prefix: ``"val"`` or ``"test"``: the part, and the start of every name.
    """
    metrics = {
        "bma": balanced_multiclass_accuracy,
        "macro_auroc": macro_auroc,
        "ece": expected_calibration_error,
    }
    scores = {
        f"{prefix}_{name}": bootstrap_interval(metric, probabilities, labels, lesions, resamples=resamples)
        for name, metric in metrics.items()
    }
    for index in sorted(set(labels.tolist())):
        code = taxonomy.trained_codes[index]
        found = bootstrap_interval(sensitivity_of(index), probabilities, labels, lesions, resamples=resamples)
        if found.value in (0.0, 1.0):
            count = len(np.unique(lesions[labels == index]))
            found = proportion_interval(round(found.value) * count, count)
        scores[f"{prefix}_sensitivity_{code}"] = found
    return scores


def sensitivity_of(index: int) -> Callable[[Probabilities, Labels], float]:
    """A metric: the recall of one class."""
    return lambda probabilities, labels: recall_per_class(probabilities, labels).get(index, float("nan"))


def summary(scores: dict[str, Interval], prefix: str, part: str) -> str:
    """The scores of one part as lines for a terminal."""
    names = {"bma": "BMA", "bma_with_none": "  with none", "macro_auroc": "macro AUROC", "ece": "ECE"}
    shown = {label: scores.get(f"{prefix}_{name}") for name, label in names.items()}
    lines = [f"  {label:12} {interval}" for label, interval in shown.items() if interval is not None]
    return "\n".join([f"{part}:", *lines])
