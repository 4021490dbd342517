"""Our detectors of strange images give the numbers of pytorch-ood's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from lesion_core.decision.ood import NEIGHBOUR, LinearHead, NetworkOutput, fit_reference, strangeness
from lesion_core.decision.parameters import OodDetector
from lesion_plugins.torchvision_remedy import apply as mend_torchvision

mend_torchvision()

from pytorch_ood.detector import GEN, KNN, RMD, EnergyBased, Mahalanobis, MaxLogit, MaxSoftmax, ViM  # noqa: E402

CLASSES, FEATURES, IMAGES = 5, 32, 900


@pytest.fixture(scope="module")
def head() -> LinearHead:
    random = np.random.default_rng(7)
    return LinearHead(weight=random.normal(0, 0.3, (CLASSES, FEATURES)), bias=random.normal(0, 0.2, CLASSES))


def output(head: LinearHead, embeddings: NDArray[np.float64]) -> NetworkOutput:
    return NetworkOutput(logits=embeddings @ head.weight.T + head.bias, embeddings=embeddings)


@pytest.fixture(scope="module")
def train(head: LinearHead) -> tuple[NetworkOutput, NDArray[np.int64]]:
    """Clusters along the head's own directions, with noise that is wider in some features."""
    random = np.random.default_rng(0)
    labels = random.integers(0, CLASSES, IMAGES)
    noise = random.normal(0, 1, (IMAGES, FEATURES)) * np.linspace(0.2, 1.0, FEATURES)
    return output(head, 6 * head.weight[labels] + noise), labels


@pytest.fixture(scope="module")
def strange(head: LinearHead) -> NetworkOutput:
    return output(head, np.random.default_rng(1).normal(0, 1.5, (200, FEATURES)))


def as_tensor(values: NDArray[np.floating]) -> torch.Tensor:
    return torch.from_numpy(np.asarray(values, dtype=np.float32))


@pytest.mark.parametrize(
    ("detector", "theirs"),
    [
        (OodDetector.MSP, MaxSoftmax(None)),
        (OodDetector.MAX_LOGIT, MaxLogit(None)),
        (OodDetector.ENERGY, EnergyBased(None)),
        (OodDetector.GEN, GEN(None)),
    ],
)
def test_detectors_over_logits_equal_those_of_pytorch_ood(
    detector: OodDetector, theirs: MaxSoftmax | MaxLogit | EnergyBased | GEN, strange: NetworkOutput
) -> None:
    """Number by number; theirs takes the mean over the classes in GEN, ours the paper's sum."""
    expected = theirs.predict_logits(as_tensor(strange.logits)).numpy()
    factor = CLASSES if detector is OodDetector.GEN else 1

    np.testing.assert_allclose(strangeness(detector, strange, {}), factor * expected, rtol=1e-4)


def test_mahalanobis_with_the_covariance_of_pytorch_ood_equals_it(
    head: LinearHead, train: tuple[NetworkOutput, NDArray[np.int64]], strange: NetworkOutput
) -> None:
    """Which is not shrunk; both on embeddings of unit length."""
    unit = [said.embeddings / np.linalg.norm(said.embeddings, axis=1, keepdims=True) for said in (train[0], strange)]
    theirs = Mahalanobis(None).fit_features(as_tensor(unit[0]), torch.from_numpy(train[1]))
    reference = {"class_means": theirs.mu.numpy(), "precision": theirs.precision.numpy()}

    ours = strangeness(OodDetector.MAHALANOBIS, strange, reference)

    # pytorch-ood gives half the squared distance.
    np.testing.assert_allclose(ours**2 / 2, theirs.predict_features(as_tensor(unit[1])).numpy(), rtol=1e-4)
    fitted = strangeness(OodDetector.MAHALANOBIS, strange, fit_reference(OodDetector.MAHALANOBIS, *train, head))
    assert spearmanr(fitted, ours).statistic > 0.95  # shrinkage changes the scale, hardly the order


def test_relative_mahalanobis_with_the_covariances_of_pytorch_ood_equals_it(
    head: LinearHead, train: tuple[NetworkOutput, NDArray[np.int64]], strange: NetworkOutput
) -> None:
    """Nearest class less the background."""
    theirs = RMD(None).fit_features(as_tensor(train[0].embeddings), torch.from_numpy(train[1]))
    reference = {
        "class_means": theirs.mu.numpy(),
        "precision": theirs.precision.numpy(),
        "background_mean": theirs.background_mu.numpy()[None],
        "background_precision": theirs.background_precision.numpy(),
    }
    ours = strangeness(OodDetector.RELATIVE_MAHALANOBIS, strange, reference)

    np.testing.assert_allclose(ours, theirs.predict_features(as_tensor(strange.embeddings)).numpy(), rtol=1e-4)
    reference = fit_reference(OodDetector.RELATIVE_MAHALANOBIS, *train, head)
    assert spearmanr(strangeness(OodDetector.RELATIVE_MAHALANOBIS, strange, reference), ours).statistic > 0.85


def test_knn_equals_that_of_pytorch_ood(
    head: LinearHead, train: tuple[NetworkOutput, NDArray[np.int64]], strange: NetworkOutput
) -> None:
    """Where all training embeddings are kept."""
    theirs = KNN(None, k=NEIGHBOUR).fit_features(as_tensor(train[0].embeddings), torch.from_numpy(train[1]))
    reference = fit_reference(OodDetector.KNN, *train, head)

    ours = strangeness(OodDetector.KNN, strange, reference)

    np.testing.assert_allclose(ours, theirs.predict_features(as_tensor(strange.embeddings)).numpy(), rtol=1e-4)


def test_vim_equals_that_of_pytorch_ood(
    head: LinearHead, train: tuple[NetworkOutput, NDArray[np.int64]], strange: NetworkOutput
) -> None:
    """With the same number of principal directions."""
    theirs = ViM(None, d=FEATURES // 2, w=torch.from_numpy(head.weight), b=torch.from_numpy(head.bias))
    theirs.fit_features(as_tensor(train[0].embeddings), torch.from_numpy(train[1]))
    reference = fit_reference(OodDetector.VIM, *train, head)

    expected = theirs.predict_features(as_tensor(strange.embeddings)).numpy()

    np.testing.assert_allclose(strangeness(OodDetector.VIM, strange, reference), expected, rtol=1e-3, atol=1e-3)
