"""Temperature scaling. Source: Guo et al. 2017, "On Calibration of Modern Neural Networks"."""

# N images · K classes

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax

_LOG_RANGE = (np.log(0.05), np.log(20.0))


def calibrated_probabilities(logits: NDArray[np.floating], temperature: float) -> NDArray[np.float64]:
    """Softmax of ``logits / temperature``: float ``(N, K)`` → float64 ``(N, K)``; rows sum to 1."""
    return np.asarray(softmax(np.asarray(logits, dtype=np.float64) / temperature, axis=1))


def fit_temperature(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """The temperature in [0.05, 20] that minimises the negative log-likelihood.

    Args:
        logits: float ``(N, K)``.
        labels: int ``(N,)`` in ``[0, K)``.
    """
    from scipy.optimize import minimize_scalar

    values = np.asarray(logits, dtype=np.float64)
    rows = np.arange(len(labels))

    def negative_log_likelihood(log_temperature: float) -> float:
        return float(-log_softmax(values / np.exp(log_temperature), axis=1)[rows, labels].mean())

    result = minimize_scalar(negative_log_likelihood, bounds=_LOG_RANGE, method="bounded")
    return float(np.exp(result.x))
