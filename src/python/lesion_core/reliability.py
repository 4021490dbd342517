"""Scores of calibration: do probabilities of 70 % come true 70 times in 100?"""

# N images · K classes

from __future__ import annotations

import attrs
import numpy as np
from numpy.typing import NDArray

from lesion_core.metrics import Labels, Probabilities


@attrs.frozen(kw_only=True)
class ReliabilityBin:
    """Images whose probability lies in ``[lower, upper)``: their mean probability, and how often it came true."""

    lower: float
    upper: float
    count: int
    mean_probability: float
    observed: float


def reliability_table(
    probability: NDArray[np.floating], is_true: NDArray[np.bool_], *, bins: int = 15
) -> tuple[ReliabilityBin, ...]:
    """What a reliability diagram draws; bins without an image are left out.

    Args:
        probability: float ``(N,)`` in [0, 1], of an event.
        is_true: bool ``(N,)``, whether it happened.
        bins: equal-width bins over [0, 1]; the last includes 1.
    Source: Murphy & Winkler 1977.
    """
    bin_of = np.minimum((np.asarray(probability) * bins).astype(int), bins - 1)
    return tuple(
        ReliabilityBin(
            lower=index / bins,
            upper=(index + 1) / bins,
            count=int((bin_of == index).sum()),
            mean_probability=float(probability[bin_of == index].mean()),
            observed=float(is_true[bin_of == index].mean()),
        )
        for index in np.unique(bin_of).tolist()
    )


def _gap(probability: NDArray[np.floating], is_true: NDArray[np.bool_], bins: int) -> float:
    table = reliability_table(probability, is_true, bins=bins)
    return sum(row.count * abs(row.observed - row.mean_probability) for row in table) / len(probability)


def expected_calibration_error(probabilities: Probabilities, labels: Labels, *, bins: int = 15) -> float:
    """Weighted gap between confidence and accuracy.

    Args:
        probabilities: float ``(N, K)``; rows sum to 1.
        labels: int ``(N,)`` in ``[0, K)``.
        bins: equal-width bins over [0, 1].
    Returns:
        ECE in [0, 1]; 0 is best.
    Source: Guo et al. 2017, eq. 3.
    """
    return _gap(probabilities.max(axis=1), probabilities.argmax(axis=1) == labels, bins)


def classwise_calibration_error(probabilities: Probabilities, labels: Labels, *, bins: int = 15) -> float:
    """Mean over the K classes of the gap between the probability of the class and its frequency.

    Args and returns: as for ``expected_calibration_error``, which looks at the most probable class only.
    Source: Kull et al. 2019, "Beyond temperature scaling", eq. 3.
    """
    gaps = [_gap(probabilities[:, label], labels == label, bins) for label in range(probabilities.shape[1])]
    return float(np.mean(gaps))


def negative_log_likelihood(probabilities: Probabilities, labels: Labels) -> float:
    """Mean of minus the log of the probability of the true class, at least 0; 0 is best.

    A probability of 0 counts as the smallest number above it, so that one image cannot make the mean infinite.
    """
    own = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(own, np.finfo(np.float64).tiny)).mean())


def brier_score(probabilities: Probabilities, labels: Labels) -> float:
    """Mean squared distance to the truth, summed over the classes: in [0, 2]; 0 is best.

    Source: Brier 1950.
    """
    truth = np.eye(probabilities.shape[1])[labels]
    return float(((probabilities - truth) ** 2).sum(axis=1).mean())
