"""Detectors of strange images; tests/golden holds them against pytorch-ood."""

from __future__ import annotations

import numpy as np
import pytest
import safetensors.numpy
from numpy.typing import NDArray

from lesion_core.decision.ood import (
    DETECTORS,
    LinearHead,
    NetworkOutput,
    fit_reference,
    none_of_the_above_probability,
    strangeness,
)
from lesion_core.decision.parameters import OodDetector

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


@pytest.mark.parametrize("detector", OodDetector)
def test_strange_embeddings_score_higher(
    detector: OodDetector,
    head: LinearHead,
    train: tuple[NetworkOutput, NDArray[np.int64]],
    strange: NetworkOutput,
) -> None:
    """By every detector, after a round trip of its reference through the bundle's file."""
    reference = safetensors.numpy.load(safetensors.numpy.save(fit_reference(detector, *train, head)))

    inside, outside = (strangeness(detector, said, reference) for said in (train[0], strange))

    assert inside.shape == (IMAGES,)
    assert np.median(outside) > np.quantile(inside, 0.8)


@pytest.mark.parametrize("detector", OodDetector)
def test_a_batch_scores_as_its_images_one_by_one(
    detector: OodDetector,
    head: LinearHead,
    train: tuple[NetworkOutput, NDArray[np.int64]],
    strange: NetworkOutput,
) -> None:
    """So that serving one image gives what evaluation found."""
    reference = fit_reference(detector, *train, head)
    single = [
        strangeness(detector, NetworkOutput(logits=strange.logits[n, None], embeddings=strange.embeddings[n, None]),
                    reference)
        for n in range(20)
    ]  # fmt: skip

    np.testing.assert_allclose(np.concatenate(single), strangeness(detector, strange, reference)[:20], rtol=1e-9)


def test_mahalanobis_does_not_depend_on_the_length_of_the_embedding(
    head: LinearHead, train: tuple[NetworkOutput, NDArray[np.int64]], strange: NetworkOutput
) -> None:
    """Only its direction counts."""
    reference = fit_reference(OodDetector.MAHALANOBIS, *train, head)
    longer = NetworkOutput(logits=strange.logits, embeddings=7 * strange.embeddings)

    expected = strangeness(OodDetector.MAHALANOBIS, strange, reference)
    np.testing.assert_allclose(strangeness(OodDetector.MAHALANOBIS, longer, reference), expected, rtol=1e-6)


def test_a_class_without_an_image_is_left_out(head: LinearHead, train: tuple[NetworkOutput, NDArray[np.int64]]) -> None:
    """Instead of getting a mean of nothing."""
    said, labels = train
    seen = labels != 2
    fewer = NetworkOutput(logits=said.logits[seen], embeddings=said.embeddings[seen])

    reference = fit_reference(OodDetector.MAHALANOBIS, fewer, labels[seen], head)

    assert reference["class_means"].shape == (CLASSES - 1, FEATURES)
    assert np.isfinite(strangeness(OodDetector.MAHALANOBIS, said, reference)).all()


def test_every_detector_that_can_be_named_exists() -> None:
    """And none that cannot."""
    assert set(DETECTORS) == set(OodDetector)


def test_none_of_the_above_is_one_in_a_hundred_at_the_median_and_one_in_two_at_the_threshold() -> None:
    """The two declared points of the curve."""
    values = none_of_the_above_probability(np.array([2.0, 5.0]), median=2.0, threshold=5.0)

    np.testing.assert_allclose(values, [0.01, 0.5], atol=1e-9)
