"""Out-of-distribution detection: how unlike the training images is an image?

A detector is two functions: ``fit`` turns what the network said about the training part into a few tensors (the
*reference*, stored in the bundle), ``score`` turns logits and embeddings into one number an image; larger is stranger.
Each backbone names its default. ``benchmarks/ood_detectors.py`` measures all of them side by side, and a test holds
each against the same detector of pytorch-ood.
"""

# N images · K trained classes · D features · B neighbours kept

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs
import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logsumexp, softmax

from lesion_core.decision.parameters import OodDetector

Array = NDArray[np.floating]
Reference = Mapping[str, NDArray[np.float32]]

NEIGHBOURS_KEPT = 2000
NEIGHBOUR = 10
GEN_EXPONENT = 0.1


@attrs.frozen(kw_only=True, eq=False)
class NetworkOutput:
    """What a network says about N images: ``logits`` float ``(N, K)`` and ``embeddings`` float ``(N, D)``."""

    logits: Array
    embeddings: Array


@attrs.frozen(kw_only=True, eq=False)
class LinearHead:
    """The last layer, which makes logits of embeddings: ``weight`` float ``(K, D)``, ``bias`` float ``(K,)``."""

    weight: Array
    bias: Array


@attrs.frozen(kw_only=True)
class Detector:
    """A way to tell strange images from those of the training part."""

    fit: Callable[[NetworkOutput, NDArray[np.integer], LinearHead], dict[str, Array]]
    score: Callable[[NetworkOutput, Reference], Array]


def fit_reference(
    detector: OodDetector, output: NetworkOutput, labels: NDArray[np.integer], head: LinearHead
) -> dict[str, NDArray[np.float32]]:
    """Fit a detector on the training part.

    Args:
        detector: which one.
        output: of the training part.
        labels: int ``(N,)``; classes without an image are left out.
        head: that made these logits.
    Returns:
        The tensors that ``strangeness`` needs, float32; none for the detectors that look at logits only.
    """
    tensors = DETECTORS[detector].fit(output, labels, head)
    return {name: np.ascontiguousarray(value, dtype=np.float32) for name, value in tensors.items()}


def strangeness(detector: OodDetector, output: NetworkOutput, reference: Reference) -> NDArray[np.float64]:
    """How unlike the training images each image is: float64 ``(N,)`` on the detector's scale; larger is stranger."""
    return np.asarray(DETECTORS[detector].score(output, reference), dtype=np.float64)


def none_of_the_above_probability(score: Array, *, median: float, threshold: float) -> NDArray[np.float64]:
    """A logistic curve over the score: 0.01 at the validation ``median``, 0.5 at the ``threshold``.

    ISIC 2019 has no training image of *none of the above*, so this is a declared prior, not a calibrated frequency:
    it says how unlike the training images this one is. It is on the scale of the other classes' probabilities, so the
    largest of all of them is the answer. float ``(N,)`` → float64 ``(N,)`` in [0, 1].
    """
    scale = max(threshold - median, 1e-9) / np.log(99.0)
    return np.asarray(expit((np.asarray(score, dtype=np.float64) - threshold) / scale))


# --- detectors over embeddings ---------------------------------------------------------------------------------------


def _unit(embeddings: Array) -> Array:
    values = np.asarray(embeddings, dtype=np.float64)
    return np.asarray(values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12))


def _class_statistics(embeddings: Array, labels: NDArray[np.integer]) -> dict[str, Array]:
    """Means of the classes ``(K, D)`` and the precision ``(D, D)`` of what is left."""
    classes, index = np.unique(labels, return_inverse=True)
    means = np.stack([embeddings[labels == label].mean(axis=0) for label in classes])
    return {"class_means": means, "precision": _shrunk_precision(embeddings - means[index])}


def _shrunk_precision(centred: Array) -> Array:
    """Inverse of the shrunk covariance: float ``(N, D)`` → float64 ``(D, D)``. Source: Ledoit & Wolf 2004."""
    from sklearn.covariance import LedoitWolf

    return np.asarray(LedoitWolf(assume_centered=True).fit(centred).precision_)


def _squared_mahalanobis(embeddings: Array, means: Array, precision: Array) -> Array:
    """Squared distance to the nearest of the means: float ``(N, D)`` → float64 ``(N,)``."""
    squared = []
    for mean in np.asarray(means, dtype=np.float64):
        offset = embeddings - mean
        squared.append(np.einsum("nd,nd->n", offset @ np.asarray(precision, dtype=np.float64), offset))
    return np.asarray(np.maximum(np.min(squared, axis=0), 0.0))


def _fit_mahalanobis(output: NetworkOutput, labels: NDArray[np.integer], head: LinearHead) -> dict[str, Array]:
    return _class_statistics(_unit(output.embeddings), labels)


def _score_mahalanobis(output: NetworkOutput, reference: Reference) -> Array:
    """Distance to the nearest class mean, on embeddings of unit length.

    Source: Lee et al. 2018, "A Simple Unified Framework for Detecting Out-of-Distribution Samples"; the scaling
    follows Müller & Hein 2025, "Mahalanobis++".
    """
    unit = _unit(output.embeddings)
    return np.asarray(np.sqrt(_squared_mahalanobis(unit, reference["class_means"], reference["precision"])))


def _fit_relative(output: NetworkOutput, labels: NDArray[np.integer], head: LinearHead) -> dict[str, Array]:
    embeddings = np.asarray(output.embeddings, dtype=np.float64)
    mean = embeddings.mean(axis=0)
    return {
        **_class_statistics(embeddings, labels),
        "background_mean": mean[None],
        "background_precision": _shrunk_precision(embeddings - mean),
    }


def _score_relative(output: NetworkOutput, reference: Reference) -> Array:
    """Squared distance to the nearest class less that to all images. Source: Ren et al. 2021, arXiv:2106.09022."""
    embeddings = np.asarray(output.embeddings, dtype=np.float64)
    nearest = _squared_mahalanobis(embeddings, reference["class_means"], reference["precision"])
    return nearest - _squared_mahalanobis(embeddings, reference["background_mean"], reference["background_precision"])


def _fit_neighbours(output: NetworkOutput, labels: NDArray[np.integer], head: LinearHead) -> dict[str, Array]:
    unit = _unit(output.embeddings)
    kept = np.random.default_rng(0).permutation(len(unit))[:NEIGHBOURS_KEPT]
    return {"neighbours": unit[np.sort(kept)]}


def _score_neighbours(output: NetworkOutput, reference: Reference) -> Array:
    """Distance to the 10th nearest training embedding, at unit length. Source: Sun et al. 2022, arXiv:2204.06507."""
    cosine = _unit(output.embeddings) @ np.asarray(reference["neighbours"], dtype=np.float64).T
    position = max(cosine.shape[1] - NEIGHBOUR, 0)
    return np.asarray(np.sqrt(np.maximum(2.0 - 2.0 * np.partition(cosine, position, axis=1)[:, position], 0.0)))


def _fit_vim(output: NetworkOutput, labels: NDArray[np.integer], head: LinearHead) -> dict[str, Array]:
    embeddings, features = np.asarray(output.embeddings, dtype=np.float64), output.embeddings.shape[1]
    origin = -np.linalg.pinv(np.asarray(head.weight, dtype=np.float64)) @ np.asarray(head.bias, dtype=np.float64)
    principal = min(512, features // 2)  # the paper's choice for embeddings of this length, half of shorter ones
    centred = embeddings - origin
    _, vectors = np.linalg.eigh(centred.T @ centred)  # ascending
    residual = vectors[:, : features - principal]
    alpha = output.logits.max(axis=1).mean() / np.linalg.norm(centred @ residual, axis=1).mean()
    return {"origin": origin, "scaled_residual": alpha * residual}


def _score_vim(output: NetworkOutput, reference: Reference) -> Array:
    """Length outside the principal subspace, as a logit, against the energy. Source: Wang et al. 2022, "ViM"."""
    centred = np.asarray(output.embeddings, dtype=np.float64) - reference["origin"]
    virtual_logit = np.linalg.norm(centred @ np.asarray(reference["scaled_residual"], dtype=np.float64), axis=1)
    return np.asarray(virtual_logit + _score_energy(output, reference))


# --- detectors over logits -------------------------------------------------------------------------------------------


def _nothing_to_fit(output: NetworkOutput, labels: NDArray[np.integer], head: LinearHead) -> dict[str, Array]:
    return {}


def _score_msp(output: NetworkOutput, reference: Reference) -> Array:
    """Minus the largest probability. Source: Hendrycks & Gimpel 2017."""
    return -np.asarray(softmax(np.asarray(output.logits, dtype=np.float64), axis=1).max(axis=1))


def _score_max_logit(output: NetworkOutput, reference: Reference) -> Array:
    """Minus the largest logit. Source: Hendrycks et al. 2022, arXiv:1911.11132."""
    return np.asarray(-np.asarray(output.logits, dtype=np.float64).max(axis=1))


def _score_energy(output: NetworkOutput, reference: Reference) -> Array:
    """Minus the log of the summed exponentials of the logits. Source: Liu et al. 2020, arXiv:2010.03759."""
    return -np.asarray(logsumexp(np.asarray(output.logits, dtype=np.float64), axis=1))


def _score_gen(output: NetworkOutput, reference: Reference) -> Array:
    """Generalised entropy of the probabilities. Source: Liu et al. 2023, "GEN"."""
    probabilities = softmax(np.asarray(output.logits, dtype=np.float64), axis=1)
    return np.asarray(((probabilities * (1.0 - probabilities)) ** GEN_EXPONENT).sum(axis=1))


DETECTORS: Mapping[OodDetector, Detector] = {
    OodDetector.MAHALANOBIS: Detector(fit=_fit_mahalanobis, score=_score_mahalanobis),
    OodDetector.RELATIVE_MAHALANOBIS: Detector(fit=_fit_relative, score=_score_relative),
    OodDetector.KNN: Detector(fit=_fit_neighbours, score=_score_neighbours),
    OodDetector.VIM: Detector(fit=_fit_vim, score=_score_vim),
    OodDetector.MSP: Detector(fit=_nothing_to_fit, score=_score_msp),
    OodDetector.MAX_LOGIT: Detector(fit=_nothing_to_fit, score=_score_max_logit),
    OodDetector.ENERGY: Detector(fit=_nothing_to_fit, score=_score_energy),
    OodDetector.GEN: Detector(fit=_nothing_to_fit, score=_score_gen),
}
