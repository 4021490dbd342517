"""Malignancy risk and the operating point it is compared with."""

# N images · K trained classes

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lesion_core.taxonomy import Malignancy, Taxonomy


def malignant_classes(taxonomy: Taxonomy) -> NDArray[np.bool_]:
    """Which trained classes are malignant: bool ``(K,)``."""
    return np.asarray([diagnosis.malignancy is Malignancy.MALIGNANT for diagnosis in taxonomy.trained])


def malignancy_risk(probabilities: NDArray[np.floating], taxonomy: Taxonomy) -> NDArray[np.float64]:
    """Summed probability of the malignant trained classes: float ``(N, K)`` → float64 ``(N,)`` in [0, 1].

    Takes the probabilities *before* any share is given to none of the above: an image that is unlike the training
    images must not look safer for it.
    """
    return np.asarray(probabilities[:, malignant_classes(taxonomy)].sum(axis=1), dtype=np.float64).clip(0.0, 1.0)


def threshold_for_sensitivity(
    risk: NDArray[np.floating], is_malignant: NDArray[np.bool_], *, sensitivity: float
) -> float:
    """The largest threshold at which at least ``sensitivity`` of the malignant images have ``risk >= threshold``.

    Args:
        risk: float ``(N,)`` in [0, 1].
        is_malignant: bool ``(N,)``.
        sensitivity: in (0, 1].
    Returns:
        A threshold in [0, 1]; 0 (every image is high-risk) where no image is malignant.
    """
    malignant = np.sort(np.asarray(risk)[is_malignant])[::-1]
    if len(malignant) == 0:
        return 0.0
    needed = int(np.ceil(sensitivity * len(malignant) - 1e-9))
    return float(malignant[needed - 1])
