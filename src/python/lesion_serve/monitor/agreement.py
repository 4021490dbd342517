"""How answers agree with what was found out later: with diagnoses, and with a challenger's answers to the same images.

Who gives feedback chooses on which answers, so these scores are of the reviewed answers and of no others: a clinic that
looks at doubtful ones only sees worse scores than the model has.
"""

# N reviewed answers · M images answered by both

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from lesion_core.interval import Interval, proportion_interval, reflected
from lesion_core.monitoring import ClassFeedback, Comparison, FeedbackScores
from lesion_serve.monitor.reading import Seen
from lesion_serve.store import Source

FEWEST_REVIEWS = 30
MOST_DISAGREEMENTS = 200
ECE_BINS = 10
_RESAMPLES = 1000


def feedback_scores(seen: Sequence[Seen], *, minimum: int = FEWEST_REVIEWS) -> FeedbackScores:
    """Scores on the answers that were reviewed.

    Args:
        seen: answers of one version; those without a review count for nothing.
        minimum: reviews that a score needs; of malignant ones for the sensitivity, of a class for its own.
    """
    reviewed = [(one, one.review.diagnosis) for one in seen if one.review is not None]
    right = [one.top == diagnosis for one, diagnosis in reviewed]
    malignant = [one for one, diagnosis in reviewed if diagnosis in one.malignant and one.band is not None]
    found = sum(one.band != "low" for one in malignant)
    wrong = sorted(
        (one for one, diagnosis in reviewed if one.top != diagnosis), key=lambda one: (-one.probability, one.position)
    )
    called = Counter(diagnosis for _, diagnosis in reviewed)
    called_right = Counter(diagnosis for (_, diagnosis), is_right in zip(reviewed, right, strict=True) if is_right)
    return FeedbackScores(
        reviewed=len(reviewed),
        histology=sum(one.review is not None and one.review.source is Source.HISTOLOGY for one in seen),
        accuracy=_share(sum(right), len(right), minimum),
        malignant_sensitivity=_share(found, len(malignant), minimum),
        ece=_calibration(np.array([one.probability for one, _ in reviewed]), np.array(right), minimum),
        classes=tuple(
            ClassFeedback(code=code, images=images, sensitivity=_share(called_right[code], images, minimum))
            for code, images in sorted(called.items(), key=lambda item: (-item[1], item[0]))
        ),
        minimum=minimum,
        disagreements=tuple(one.request_id for one in wrong[:MOST_DISAGREEMENTS]),
    )


def compare_with_shadow(
    champion: Sequence[Seen], challenger: Sequence[Seen], *, minimum: int = FEWEST_REVIEWS
) -> Comparison | None:
    """Two models on the same images; ``None`` where there is none.

    Args:
        champion: answers that left, with their reviews.
        challenger: what one other version said in the shadow.
        minimum: images, or reviews, that a number needs.
    """
    answered = {one.request_id: one for one in champion}
    pairs = [(answered[one.request_id], one) for one in challenger if one.request_id in answered]
    if not pairs:
        return None
    reviews = [(one.top, other.top, one.review.diagnosis) for one, other in pairs if one.review is not None]
    gains = np.array([(other == truth) - (one == truth) for one, other, truth in reviews], dtype=np.float64)
    risks = np.array([other.risk - one.risk for one, other in pairs if one.risk is not None and other.risk is not None])
    return Comparison(
        challenger=challenger[0].version,
        images=len(pairs),
        agreement=_share(sum(one.top == other.top for one, other in pairs), len(pairs), minimum),
        reviewed=len(reviews),
        accuracy_difference=_mean(gains, minimum),
        risk_difference=_mean(risks, minimum),
    )


def _share(part: int, whole: int, minimum: int) -> Interval | None:
    return proportion_interval(part, whole) if whole >= max(minimum, 1) else None


def _mean(values: NDArray[np.float64], minimum: int) -> Interval | None:
    return _bootstrap(lambda rows: float(values[rows].mean()), len(values), minimum)


def _calibration(confidence: NDArray[np.float64], right: NDArray[np.bool_], minimum: int) -> Interval | None:
    """ECE of the most probable class, in bins of equal width."""

    def error(rows: NDArray[np.int64]) -> float:
        bins = np.minimum((confidence[rows] * ECE_BINS).astype(np.int64), ECE_BINS - 1)
        gaps = np.bincount(bins, confidence[rows] - right[rows], minlength=ECE_BINS)
        return float(np.abs(gaps).sum() / len(rows))

    found = _bootstrap(error, len(confidence), minimum)
    return None if found is None else reflected(found)


def _bootstrap(metric: Callable[[NDArray[np.int64]], float], count: int, minimum: int) -> Interval | None:
    """Percentile interval; every answer is drawn by itself, since nobody tells which show one lesion."""
    if count < max(minimum, 1):
        return None
    random = np.random.default_rng(0)
    values = [metric(random.integers(0, count, count)) for _ in range(_RESAMPLES)]
    low, high = np.quantile(values, [0.025, 0.975])
    return Interval(value=metric(np.arange(count)), low=float(low), high=float(high))
