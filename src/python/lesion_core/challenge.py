"""The scoring of the ISIC 2019 challenge, number by number as its official package computes it.

``tests/golden/test_challenge_scoring.py`` holds every number against ``isic-challenge-scoring`` 5.6.0, on random and
on degenerate submissions. Its rules differ from what a textbook would do:

- The predicted class is the one with the highest probability; a tie for the highest is wrong, whatever is tied.
- Sensitivity, specificity, PPV, NPV, Dice and accuracy of a class ask whether *its own* probability exceeds 0.5.
- A ratio whose denominator is 0 counts as 1.0.
- The partial area under the ROC curve, from 80 % sensitivity on, is not normalised.

Where a class has no image, or no image is of another class, the official package stops with an error. Here the areas
and the average precision of such a class are NaN and left out of the mean: a part of the data can be scored too.

Source: https://github.com/ImageMarkup/isic-challenge-scoring (Apache-2.0).
"""

# N images · K classes

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import attrs
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import auc, average_precision_score, roc_auc_score, roc_curve

from lesion_core.metrics import Labels, Probabilities, balanced_multiclass_accuracy

DECISION_THRESHOLD = 0.5
PARTIAL_AREA_ABOVE_SENSITIVITY = 0.80


@attrs.frozen(kw_only=True)
class ClassScores:
    """Scores of one class against the rest, each in [0, 1], or NaN where it is undefined.

    The first six are at the threshold of 0.5; ``auc_sens_80`` is the area of ``area_above_sensitivity``.
    """

    accuracy: float
    sensitivity: float
    specificity: float
    dice: float
    ppv: float
    npv: float
    auc: float
    auc_sens_80: float
    ap: float


@attrs.frozen(kw_only=True)
class ChallengeScores:
    """What the challenge reports.

    Attributes:
        balanced_accuracy: the metric that ranks; the mean of the recalls of the classes that occur.
        per_class: scores by code.
        macro_average: the mean over the classes where a score is defined.
    """

    balanced_accuracy: float
    per_class: Mapping[str, ClassScores]
    macro_average: ClassScores


def challenge_scores(probabilities: Probabilities, labels: Labels, codes: Sequence[str]) -> ChallengeScores:
    """Score a submission as ISIC 2019 does.

    Args:
        probabilities: float ``(N, K)`` in [0, 1]; rows need not sum to 1. Columns in the order of ``codes``.
        labels: int ``(N,)`` in ``[0, K)``.
        codes: names of the K classes: eight of them, or nine with *none of the above*.
    Raises:
        ValueError: the shapes do not fit each other, or there is no image.
    """
    if probabilities.shape != (len(labels), len(codes)) or not len(labels):
        raise ValueError(
            f"Expected probabilities of shape ({len(labels)}, {len(codes)}) with at least one image, "
            f"got {probabilities.shape}."
        )
    per_class = {code: class_scores(probabilities[:, k], labels == k) for k, code in enumerate(codes)}
    return ChallengeScores(
        balanced_accuracy=balanced_multiclass_accuracy(probabilities, labels),
        per_class=per_class,
        macro_average=_mean_where_defined(tuple(per_class.values())),
    )


def balanced_accuracies(probabilities: Probabilities, labels: Labels) -> tuple[float, float]:
    """BMA without and with *none of the above*, side by side.

    The first leaves its column and its images out, as a classifier of the trained classes alone is scored;
    the second keeps both, so that a known diagnosis which is called *none of the above* counts as missed.

    Args:
        probabilities: float ``(N, K + 1)``, *none of the above* last.
        labels: int ``(N,)`` in ``[0, K]``.
    """
    trained = labels < probabilities.shape[1] - 1
    return (
        balanced_multiclass_accuracy(probabilities[trained, :-1], labels[trained]),
        balanced_multiclass_accuracy(probabilities, labels),
    )


def class_scores(probability: NDArray[np.floating], is_class: NDArray[np.bool_]) -> ClassScores:
    """Score one class against the rest: float ``(N,)`` and bool ``(N,)``."""
    is_predicted = probability > DECISION_THRESHOLD
    true_positives = int((is_predicted & is_class).sum())
    false_positives = int((is_predicted & ~is_class).sum())
    false_negatives = int((~is_predicted & is_class).sum())
    true_negatives = len(is_class) - true_positives - false_positives - false_negatives
    is_defined = bool(is_class.any() and not is_class.all())
    return ClassScores(
        accuracy=_ratio(true_positives + true_negatives, len(is_class)),
        sensitivity=_ratio(true_positives, true_positives + false_negatives),
        specificity=_ratio(true_negatives, true_negatives + false_positives),
        dice=_ratio(2 * true_positives, 2 * true_positives + false_positives + false_negatives),
        ppv=_ratio(true_positives, true_positives + false_positives),
        npv=_ratio(true_negatives, true_negatives + false_negatives),
        auc=float(roc_auc_score(is_class, probability)) if is_defined else math.nan,
        auc_sens_80=area_above_sensitivity(probability, is_class) if is_defined else math.nan,
        ap=float(average_precision_score(is_class, probability)) if is_class.any() else math.nan,
    )


def area_above_sensitivity(
    probability: NDArray[np.floating],
    is_class: NDArray[np.bool_],
    *,
    sensitivity: float = PARTIAL_AREA_ABOVE_SENSITIVITY,
) -> float:
    """Area under that part of the ROC curve where the sensitivity is at least the given one, not normalised.

    Args:
        probability: float ``(N,)``.
        is_class: bool ``(N,)``, with both values.
        sensitivity: in (0, 1].
    Returns:
        Area down to the axis, over the false positive rates from where the curve reaches that height: in [0, 1].
    """
    false_positive_rates, true_positive_rates, _ = roc_curve(is_class, probability, drop_intermediate=False)
    first = int(true_positive_rates.searchsorted(sensitivity, side="left"))
    around = slice(first - 1, first + 1)
    start = np.interp(sensitivity, true_positive_rates[around], false_positive_rates[around])
    rates = np.concatenate([[start], false_positive_rates[first:]])
    return float(auc(rates, np.concatenate([[sensitivity], true_positive_rates[first:]])))


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 1.0


def _mean_where_defined(scores: Sequence[ClassScores]) -> ClassScores:
    def mean(name: str) -> float:
        values = [getattr(score, name) for score in scores]
        defined = [value for value in values if not math.isnan(value)]
        return float(np.mean(defined)) if defined else math.nan

    return ClassScores(**{field.name: mean(field.name) for field in attrs.fields(ClassScores)})
