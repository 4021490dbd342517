"""Measure a network on held-out images."""

from __future__ import annotations

import numpy as np
from lesion_core.bundle import Interval
from lesion_core.metrics import (
    Labels,
    Probabilities,
    balanced_multiclass_accuracy,
    bootstrap_interval,
    expected_calibration_error,
    macro_auroc,
    recall_per_class,
)
from lesion_core.taxonomy import Taxonomy
from numpy.typing import NDArray


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
        scores[f"{prefix}_sensitivity_{code}"] = bootstrap_interval(
            lambda p, y, i=index: recall_per_class(p, y).get(i, float("nan")),
            probabilities,
            labels,
            lesions,
            resamples=resamples,
        )
    return scores


def summary(scores: dict[str, Interval], prefix: str, part: str) -> str:
    """The scores of one part as lines for a terminal."""
    names = {"bma": "BMA", "macro_auroc": "macro AUROC", "ece": "ECE"}
    lines = [f"  {label:12} {scores[f'{prefix}_{name}']}" for name, label in names.items()]
    return "\n".join([f"{part}:", *lines])


