"""Split conformal sets. Source: Sadinle et al. 2019, "Least Ambiguous Set-Valued Classifiers" (LAC)."""

# N images · K classes

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def fit_conformal_quantile(
    probabilities: NDArray[np.floating], labels: NDArray[np.integer], *, coverage: float
) -> float:
    """Score at or below which the true class lies with probability ``coverage``, with the finite-sample correction.

    The guarantee is marginal and holds for new images exchangeable with these.

    Args:
        probabilities: float ``(N, K)``; rows sum to 1.
        labels: int ``(N,)`` in ``[0, K)``.
        coverage: in (0, 1).
    Returns:
        A quantile of ``1 - probability of the true class``, in [0, 1]; 1 (every class) where N is too small.
    """
    scores = np.sort(1.0 - probabilities[np.arange(len(labels)), labels])
    rank = int(np.ceil((len(scores) + 1) * coverage))
    return float(scores[rank - 1]) if rank <= len(scores) else 1.0


def conformal_sets(probabilities: NDArray[np.floating], quantile: float) -> NDArray[np.bool_]:
    """Membership of each class: bool ``(N, K)``. The most probable class is always a member: no set is empty."""
    members = (1.0 - probabilities) <= quantile
    members[np.arange(len(members)), probabilities.argmax(axis=1)] = True
    return np.asarray(members)
