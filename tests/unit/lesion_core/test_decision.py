"""The decision layer."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lesion_core.decision.calibration import calibrated_probabilities, fit_temperature
from lesion_core.decision.conformal import conformal_sets, fit_conformal_quantile
from lesion_core.decision.decide import decide, fit_decision
from lesion_core.decision.ood import EmbeddingReference, distances, fit_reference, none_of_the_above_probability
from lesion_core.decision.triage import malignancy_risk, threshold_for_sensitivity
from lesion_core.taxonomy import ISIC_2019

CLASSES, FEATURES = 8, 12


def case(seed: int, images: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits that are right about 3 times in 4, embeddings in clusters, labels."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, images)
    centres = np.random.default_rng(99).normal(0, 3, (CLASSES, FEATURES))
    embeddings = centres[labels] + random.normal(0, 1, (images, FEATURES))
    logits = random.normal(0, 1, (images, CLASSES))
    logits[np.arange(images), labels] += 2
    return logits, embeddings, labels


@given(st.integers(0, 1000), st.floats(-20, 20), st.floats(0.01, 1e4))
def test_probabilities_sum_to_one_at_any_logit_scale(seed: int, shift: float, scale: float) -> None:
    """Also where a naive softmax overflows."""
    logits, embeddings, labels = case(seed, 40)
    reference = fit_reference(embeddings, labels)
    parameters = fit_decision(logits, embeddings, labels, reference=reference, taxonomy=ISIC_2019)

    decisions = decide(
        logits * scale + shift, embeddings, parameters=parameters, reference=reference, taxonomy=ISIC_2019
    )

    assert decisions.probabilities.shape == (40, CLASSES + 1)
    np.testing.assert_allclose(decisions.probabilities.sum(axis=1), 1, atol=1e-9)
    assert decisions.probabilities.min() >= 0
    assert decisions.conformal.any(axis=1).all()


@pytest.mark.parametrize("true_temperature", [0.5, 1.0, 3.0])
def test_temperature_is_recovered(true_temperature: float) -> None:
    """Labels are drawn from the softmax of the logits, which are then scaled."""
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (20_000, 5))
    probabilities = calibrated_probabilities(logits, 1.0)
    labels = (probabilities.cumsum(axis=1) > random.random((20_000, 1))).argmax(axis=1)

    assert fit_temperature(logits * true_temperature, labels) == pytest.approx(true_temperature, rel=0.05)


def test_conformal_sets_cover_new_images_at_the_stated_rate() -> None:
    """Fitted on one sample, counted on another."""
    logits, _, labels = case(1, 4000)
    probabilities = calibrated_probabilities(logits, 1.0)
    quantile = fit_conformal_quantile(probabilities[:2000], labels[:2000], coverage=0.9)

    sets = conformal_sets(probabilities[2000:], quantile)

    assert sets[np.arange(2000), labels[2000:]].mean() == pytest.approx(0.9, abs=0.025)


def test_too_few_images_give_sets_of_every_class() -> None:
    """Five images cannot support 90 %."""
    logits, _, labels = case(1, 5)

    assert fit_conformal_quantile(calibrated_probabilities(logits, 1.0), labels, coverage=0.9) == 1.0


def test_embeddings_far_from_all_clusters_are_strange() -> None:
    """And get nearly all of their probability as none of the above."""
    logits, embeddings, labels = case(2)
    reference = fit_reference(embeddings, labels)
    parameters = fit_decision(logits, embeddings, labels, reference=reference, taxonomy=ISIC_2019)
    strange = np.random.default_rng(5).normal(0, 5, (100, FEATURES))

    inside = decide(logits, embeddings, parameters=parameters, reference=reference, taxonomy=ISIC_2019)
    outside = decide(logits[:100], strange, parameters=parameters, reference=reference, taxonomy=ISIC_2019)

    assert np.median(inside.probabilities[:, -1]) == pytest.approx(0.01, abs=0.002)
    assert np.median(outside.probabilities[:, -1]) > 0.9


def test_distance_does_not_depend_on_the_length_of_the_embedding() -> None:
    """Only its direction counts."""
    _, embeddings, labels = case(3)
    reference = fit_reference(embeddings, labels)

    np.testing.assert_allclose(distances(embeddings * 7, reference), distances(embeddings, reference), rtol=1e-6)


def test_the_reference_survives_its_file() -> None:
    """Round trip through safetensors."""
    _, embeddings, labels = case(4)
    reference = fit_reference(embeddings, labels)

    again = EmbeddingReference.from_bytes(reference.to_bytes())

    np.testing.assert_array_equal(again.class_means, reference.class_means)
    np.testing.assert_array_equal(again.precision, reference.precision)


def test_none_of_the_above_is_one_in_a_hundred_at_the_median_and_one_in_two_at_the_threshold() -> None:
    """The two declared points of the curve."""
    values = none_of_the_above_probability(np.array([2.0, 5.0]), median=2.0, threshold=5.0)

    np.testing.assert_allclose(values, [0.01, 0.5], atol=1e-9)


@given(st.integers(0, 1000), st.floats(0.5, 1.0))
def test_triage_threshold_reaches_its_sensitivity_and_no_higher_one_does(seed: int, sensitivity: float) -> None:
    """By definition of the operating point."""
    random = np.random.default_rng(seed)
    risk, malignant = random.random(60), random.random(60) < 0.4
    malignant[0] = True

    threshold = threshold_for_sensitivity(risk, malignant, sensitivity=sensitivity)

    assert (risk[malignant] >= threshold).mean() >= sensitivity - 1e-9
    higher = risk[malignant & (risk > threshold)]
    assert len(higher) / malignant.sum() < sensitivity


def test_risk_does_not_fall_when_an_image_is_strange() -> None:
    """A share given to none of the above must not make a lesion look safer."""
    logits, embeddings, labels = case(6)
    reference = fit_reference(embeddings, labels)
    parameters = fit_decision(logits, embeddings, labels, reference=reference, taxonomy=ISIC_2019)
    stranger = attrs.evolve(parameters, ood_threshold=parameters.ood_median + 1e-6)

    before = decide(logits, embeddings, parameters=parameters, reference=reference, taxonomy=ISIC_2019)
    after = decide(logits, embeddings, parameters=stranger, reference=reference, taxonomy=ISIC_2019)

    np.testing.assert_array_equal(before.risk, after.risk)
    expected = malignancy_risk(calibrated_probabilities(logits, parameters.temperature), ISIC_2019)
    np.testing.assert_allclose(before.risk, expected)
