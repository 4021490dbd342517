"""The decision layer in one call."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lesion_core.decision.calibration import calibrated_probabilities, fit_temperature
from lesion_core.decision.decide import Decisions, decide, fit_decision
from lesion_core.decision.ood import LinearHead, NetworkOutput, Reference, fit_reference
from lesion_core.decision.parameters import DecisionParameters, OodDetector
from lesion_core.decision.triage import malignancy_risk
from lesion_core.taxonomy import ISIC_2019, Malignancy

CLASSES, FEATURES = 8, 12
DETECTOR = OodDetector.MAHALANOBIS
NO_HEAD = LinearHead(weight=np.zeros((CLASSES, FEATURES)), bias=np.zeros(CLASSES))


def case(seed: int, images: int = 400) -> tuple[NetworkOutput, NDArray[np.int64]]:
    """Logits that are right about 3 times in 4, embeddings in clusters; labels."""
    random = np.random.default_rng(seed)
    labels = random.permutation(np.arange(images) % CLASSES)
    centres = np.random.default_rng(99).normal(0, 3, (CLASSES, FEATURES))
    logits = random.normal(0, 1, (images, CLASSES))
    logits[np.arange(images), labels] += 2
    return NetworkOutput(logits=logits, embeddings=centres[labels] + random.normal(0, 1, (images, FEATURES))), labels


def fitted(seed: int) -> tuple[NetworkOutput, DecisionParameters, Reference]:
    output, labels = case(seed)
    reference = fit_reference(DETECTOR, output, labels, NO_HEAD)
    lesions = np.array([f"lesion-{n}" for n in range(len(labels))])
    parameters = fit_decision(output, labels, lesions, detector=DETECTOR, reference=reference, taxonomy=ISIC_2019)
    return output, parameters, reference


@pytest.fixture(scope="module")
def model() -> tuple[NetworkOutput, DecisionParameters, Reference]:
    return fitted(0)


def apply(output: NetworkOutput, parameters: DecisionParameters, reference: Reference) -> Decisions:
    return decide(output, parameters=parameters, reference=reference, taxonomy=ISIC_2019)


@given(seed=st.integers(0, 1000), shift=st.floats(-20, 20), scale=st.floats(0.01, 1e4))
def test_probabilities_sum_to_one_at_any_logit_scale(
    model: tuple[NetworkOutput, DecisionParameters, Reference], seed: int, shift: float, scale: float
) -> None:
    """Also where a naive softmax overflows."""
    output, _ = case(seed, 40)
    scaled = attrs.evolve(output, logits=output.logits * scale + shift)

    decisions = apply(scaled, *model[1:])

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


def test_the_largest_of_all_nine_is_none_of_the_above_for_strange_images_only(
    model: tuple[NetworkOutput, DecisionParameters, Reference],
) -> None:
    """Its probability is on the scale of the others."""
    output, parameters, reference = model
    strange = attrs.evolve(output, embeddings=np.random.default_rng(5).normal(0, 5, output.embeddings.shape))

    inside, outside = (apply(said, parameters, reference).probabilities.argmax(axis=1) for said in (output, strange))

    assert (inside == CLASSES).mean() < 0.05
    assert (outside == CLASSES).mean() > 0.9


def test_half_of_the_validation_images_get_less_than_one_percent_none_of_the_above(
    model: tuple[NetworkOutput, DecisionParameters, Reference],
) -> None:
    """As declared."""
    output, parameters, reference = model

    none = apply(output, parameters, reference).probabilities[:, -1]

    assert np.median(none) == pytest.approx(0.01, abs=0.002)


def test_the_most_probable_trained_class_is_known_of_the_strangest_image(
    model: tuple[NetworkOutput, DecisionParameters, Reference],
) -> None:
    """Where every trained class has no probability left, the first is not taken for the largest."""
    output, parameters, reference = model
    ood = attrs.evolve(parameters.ood, median=-1e9 - 1, threshold=-1e9)

    decisions = apply(output, attrs.evolve(parameters, ood=ood), reference)

    assert not decisions.probabilities[:, :-1].any()
    np.testing.assert_array_equal(decisions.top_trained, output.logits.argmax(axis=1))


def test_risk_does_not_fall_when_an_image_is_strange(
    model: tuple[NetworkOutput, DecisionParameters, Reference],
) -> None:
    """A share given to none of the above must not make a lesion look safer."""
    output, parameters, reference = model
    ood = attrs.evolve(parameters.ood, threshold=parameters.ood.median + 1e-6)

    before = apply(output, parameters, reference)
    after = apply(output, attrs.evolve(parameters, ood=ood), reference)

    np.testing.assert_array_equal(before.risk, after.risk)
    expected = malignancy_risk(calibrated_probabilities(output.logits, parameters.temperature), ISIC_2019)
    np.testing.assert_allclose(before.risk, expected)


def test_every_malignant_class_has_an_operating_point_and_the_risk_the_first(
    model: tuple[NetworkOutput, DecisionParameters, Reference],
) -> None:
    """Melanoma among them, at 95 % sensitivity."""
    points = {point.target: point for point in model[1].operating_points}

    assert list(points) == ["malignant", "MEL", "BCC", "SCC"]
    assert points["MEL"].wanted_sensitivity == 0.95
    assert points["MEL"].sensitivity.value >= 0.95
    assert [band.name for band in model[1].triage] == ["low", "intermediate", "high"]
    assert model[1].triage[1].lower == points["malignant"].threshold.value


def test_without_a_malignant_class_there_is_no_triage() -> None:
    """Instead of a risk of nothing."""
    output, labels = case(1)
    benign = attrs.evolve(
        ISIC_2019, trained=tuple(attrs.evolve(d, malignancy=Malignancy.BENIGN) for d in ISIC_2019.trained)
    )
    reference = fit_reference(DETECTOR, output, labels, NO_HEAD)
    lesions = np.array([f"lesion-{n}" for n in range(len(labels))])

    parameters = fit_decision(output, labels, lesions, detector=DETECTOR, reference=reference, taxonomy=benign)

    assert (parameters.operating_points, parameters.triage) == ((), ())
    assert decide(output, parameters=parameters, reference=reference, taxonomy=benign).risk.max() == 0.0
