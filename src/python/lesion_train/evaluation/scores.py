"""Is the right diagnosis found, and can its probability be believed?"""

# N images · K trained classes

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from lesion_core.challenge import PARTIAL_AREA_ABOVE_SENSITIVITY
from lesion_core.decision.calibration import calibrated_probabilities
from lesion_core.reliability import reliability_table
from lesion_core.taxonomy import Taxonomy
from lesion_train.evaluation import weighted
from lesion_train.evaluation.part import AnsweredPart
from lesion_train.evaluation.values import ClassResult, Headline, Reliability

RELIABILITY_BINS = 15

area = weighted.area_under_roc
area_above_80 = partial(weighted.area_above_sensitivity, sensitivity=PARTIAL_AREA_ABOVE_SENSITIVITY)


def answered_rightly(probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Whether the true class has the largest probability, alone: bool ``(N,)``, as the ISIC 2019 challenge counts.

    Args:
        probabilities: float ``(N, K)``, or ``(N, K + 1)`` with *none of the above*.
        labels: int ``(N,)``.
    """
    highest = probabilities.max(axis=1, keepdims=True)
    return (probabilities.argmax(axis=1) == labels) & ((probabilities == highest).sum(axis=1) == 1)


def headline(part: AnsweredPart) -> Headline:
    """The scores of all images."""
    known = part.of_trained_classes()
    probabilities, labels, draw = known.probabilities, known.labels, known.resamples
    is_right = answered_rightly(probabilities, labels)
    is_right_of_all = answered_rightly(part.decisions.probabilities, part.labels)
    return Headline(
        bma=draw.balanced_accuracy(is_right, labels),
        bma_with_none=part.resamples.balanced_accuracy(is_right_of_all, part.labels),
        macro_auroc=draw.macro_area(area, probabilities, labels),
        macro_auroc_above_80=draw.macro_area(area_above_80, probabilities, labels),
        accuracy=known.share(is_right),
    )


def reliability(part: AnsweredPart, temperature: float) -> Reliability:
    """Calibration of the images of trained classes, at a temperature."""
    known = part.of_trained_classes()
    probabilities = calibrated_probabilities(known.logits, temperature)
    confidence, is_right = probabilities.max(axis=1), probabilities.argmax(axis=1) == known.labels
    own = probabilities[np.arange(len(known.labels)), known.labels]
    log_loss = -np.log(np.maximum(own, np.finfo(np.float64).tiny))
    brier = ((probabilities - np.eye(probabilities.shape[1])[known.labels]) ** 2).sum(axis=1)
    draw = known.resamples
    return Reliability(
        temperature=temperature,
        ece=draw.gap(
            partial(weighted.calibration_gap, probability=confidence, is_true=is_right, bins=RELIABILITY_BINS)
        ),
        classwise_ece=draw.gap(
            partial(
                weighted.classwise_calibration_gap,
                probabilities=probabilities,
                labels=known.labels,
                bins=RELIABILITY_BINS,
            )
        ),
        log_loss=draw.interval(partial(weighted.mean, values=log_loss)),
        brier=draw.interval(partial(weighted.mean, values=brier)),
        bins=reliability_table(confidence, is_right, bins=RELIABILITY_BINS),
    )


def class_results(part: AnsweredPart, taxonomy: Taxonomy) -> tuple[ClassResult, ...]:
    """Each trained class against the others, in the order of the taxonomy."""
    known = part.of_trained_classes()
    predicted, sizes = known.probabilities.argmax(axis=1), known.decisions.conformal.sum(axis=1)
    results = []
    for index, diagnosis in enumerate(taxonomy.trained):
        is_class, is_called, scores = known.labels == index, predicted == index, known.probabilities[:, index]
        results.append(
            ClassResult(
                code=diagnosis.code,
                name=diagnosis.name,
                images=int(is_class.sum()),
                lesions=len(np.unique(known.lesions[is_class])),
                sensitivity=known.share(is_called, is_class),
                specificity=known.share(~is_called, ~is_class),
                ppv=known.share(is_class, is_called),
                npv=known.share(~is_class, ~is_called),
                auroc=known.resamples.area(area, scores, is_class),
                auroc_above_80=known.resamples.area(area_above_80, scores, is_class),
                coverage=known.share(known.decisions.conformal[:, index], is_class),
                set_size=known.resamples.mean(sizes, is_class, lowest=1, highest=len(taxonomy.trained)),
            )
        )
    return tuple(results)


def confusion(part: AnsweredPart) -> tuple[tuple[int, ...], ...]:
    """Images of trained classes by true class (row) and most probable one (column), K × K."""
    known = part.of_trained_classes()
    counts = np.zeros((known.probabilities.shape[1],) * 2, dtype=int)
    np.add.at(counts, (known.labels, known.probabilities.argmax(axis=1)), 1)
    return tuple(map(tuple, counts.tolist()))
