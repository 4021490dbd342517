"""Out-of-distribution detection: how far is an embedding from those of the training images?

Mahalanobis distance to the nearest class mean, on embeddings scaled to unit length, with one shrunk covariance.
Source: Lee et al. 2018, "A Simple Unified Framework for Detecting Out-of-Distribution Samples"; the scaling follows
Müller & Hein 2025, "Mahalanobis++"; the shrinkage Ledoit & Wolf 2004.
"""

# N images · K classes · D features

from __future__ import annotations

import attrs
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save
from scipy.special import expit
from sklearn.covariance import LedoitWolf


@attrs.frozen(kw_only=True, eq=False)
class EmbeddingReference:
    """Statistics of the training embeddings: ``class_means`` float32 ``(K, D)``, ``precision`` float32 ``(D, D)``."""

    class_means: NDArray[np.float32]
    precision: NDArray[np.float32]

    def to_bytes(self) -> bytes:
        """As a safetensors file."""
        return save({"class_means": self.class_means, "precision": self.precision})

    @classmethod
    def from_bytes(cls, data: bytes) -> EmbeddingReference:
        """From a safetensors file."""
        tensors = load(data)
        return cls(class_means=tensors["class_means"], precision=tensors["precision"])


def _unit(embeddings: NDArray[np.floating]) -> NDArray[np.float64]:
    values = np.asarray(embeddings, dtype=np.float64)
    return np.asarray(values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12))


def fit_reference(embeddings: NDArray[np.floating], labels: NDArray[np.integer]) -> EmbeddingReference:
    """Fit on the training part.

    Args:
        embeddings: float ``(N, D)``.
        labels: int ``(N,)``; classes without an image get no mean.
    """
    unit = _unit(embeddings)
    classes, index = np.unique(labels, return_inverse=True)
    means = np.stack([unit[labels == label].mean(axis=0) for label in classes])
    covariance = LedoitWolf(assume_centered=True).fit(unit - means[index])
    return EmbeddingReference(
        class_means=np.ascontiguousarray(means, dtype=np.float32),
        precision=np.ascontiguousarray(covariance.precision_, dtype=np.float32),
    )


def distances(embeddings: NDArray[np.floating], reference: EmbeddingReference) -> NDArray[np.float64]:
    """Mahalanobis distance to the nearest class mean: float ``(N, D)`` → float64 ``(N,)``, at least 0."""
    unit = _unit(embeddings)
    precision = reference.precision.astype(np.float64)
    squared = []
    for mean in reference.class_means.astype(np.float64):
        offset = unit - mean
        squared.append(np.einsum("nd,nd->n", offset @ precision, offset))
    return np.asarray(np.sqrt(np.maximum(np.min(squared, axis=0), 0.0)))


def none_of_the_above_probability(
    distance: NDArray[np.floating], *, median: float, threshold: float
) -> NDArray[np.float64]:
    """A logistic curve over the distance: 0.01 at the validation ``median``, 0.5 at the ``threshold``.

    ISIC 2019 has no training image of *none of the above*, so this is a declared prior, not a calibrated frequency:
    it says how unlike the training images this one is. float ``(N,)`` → float64 ``(N,)`` in [0, 1].
    """
    scale = max(threshold - median, 1e-9) / np.log(99.0)
    return np.asarray(expit((np.asarray(distance, dtype=np.float64) - threshold) / scale))
