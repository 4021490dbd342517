"""Age, sex and site as an optional second input."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from lesion_core.decision.decide import decide, fit_decision
from lesion_core.decision.metadata import (
    PENALTY,
    PatientMetadata,
    adjusted_logits,
    encode_metadata,
    fit_metadata,
    fit_weights,
)
from lesion_core.decision.ood import LinearHead, NetworkOutput, fit_reference
from lesion_core.decision.parameters import OodDetector
from lesion_core.taxonomy import ISIC_2019

SITES = ("anterior torso", "head/neck")
PATIENTS = st.builds(
    PatientMetadata,
    age_approx=st.none() | st.floats(0, 120),
    sex=st.sampled_from([None, "female", "male"]),
    anatom_site_general=st.sampled_from([None, "oral/genital", *SITES]),
)


def case(images: int = 1200) -> tuple[NDArray[np.float64], list[PatientMetadata], NDArray[np.int64]]:
    """Eight classes; the logits cannot tell the first two apart, age can."""
    random = np.random.default_rng(0)
    labels = np.arange(images) % 8
    logits = random.normal(0, 1, (images, 8))
    logits[np.arange(images), labels] += 2
    logits[labels < 2, :2] = 2.0
    ages = np.where(labels == 0, random.normal(70, 10, images), random.normal(35, 10, images)).clip(0, 100)
    patients = [
        PatientMetadata(age_approx=None if n % 10 == 0 else float(age), sex=("male", "female", None)[n % 3],
                        anatom_site_general=SITES[n % 2])
        for n, age in enumerate(ages)
    ]  # fmt: skip
    return logits, patients, labels


def each_its_own(count: int) -> NDArray[np.str_]:
    return np.array([f"lesion-{n}" for n in range(count)])


def loss(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    return float(-log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean())


@given(st.lists(PATIENTS, max_size=8))
def test_features_are_finite_and_one_row_a_patient(patients: list[PatientMetadata]) -> None:
    """Whatever is missing; exactly one of the sites or "missing" is marked."""
    features = encode_metadata(patients, SITES)

    assert features.shape == (len(patients), 6 + len(SITES))
    assert np.isfinite(features).all()
    np.testing.assert_array_equal(features[:, 5:].sum(axis=1), 1)


def test_a_missing_age_is_not_an_age_of_zero() -> None:
    """Nor is a newborn a patient of unknown age."""
    missing, newborn = encode_metadata([PatientMetadata(), PatientMetadata(age_approx=0.0)], SITES)

    assert (missing[0], missing[2]) == (0.0, 1.0)
    assert (newborn[0], newborn[2]) == (-2.5, 0.0)


@pytest.mark.parametrize("changes", [{"age_approx": -1.0}, {"age_approx": 121.0}, {"sex": "x"}])
def test_impossible_metadata_is_refused(changes: dict[str, object]) -> None:
    """When it is made, not when it is used."""
    with pytest.raises(ValueError, match=next(iter(changes))):
        PatientMetadata(**changes)  # type: ignore[arg-type]


def test_the_fit_is_that_of_scikit_learn_where_the_image_says_nothing() -> None:
    """A multinomial logistic regression with the same penalty."""
    _, patients, labels = case()
    features = encode_metadata(patients, SITES)
    theirs = LogisticRegression(C=1 / (2 * PENALTY * len(labels)), fit_intercept=False, tol=1e-8, max_iter=5000)
    theirs.fit(features, labels)

    ours = fit_weights(np.zeros((len(labels), 8)), features, labels)

    np.testing.assert_allclose(ours, theirs.coef_.T, atol=1e-3)


def test_age_tells_apart_what_the_image_cannot() -> None:
    """On images that did not set the weights."""
    logits, patients, labels = case()

    adjustment, held_out = fit_metadata(logits, patients, labels, each_its_own(len(labels)))

    assert loss(held_out, labels) < loss(logits, labels) - 0.05
    old, young = adjusted_logits(
        np.zeros((2, 8)), [PatientMetadata(age_approx=80.0), PatientMetadata(age_approx=20.0)], adjustment
    )
    assert old[0] > old[1]
    assert young[1] > young[0]


def test_decisions_with_metadata_need_both_the_parameters_and_the_metadata() -> None:
    """And differ from those without."""
    logits, patients, labels = case()
    random = np.random.default_rng(1)
    output = NetworkOutput(logits=logits, embeddings=random.normal(0, 1, (len(labels), 4)) + labels[:, None])
    head = LinearHead(weight=np.zeros((8, 4)), bias=np.zeros(8))
    reference = fit_reference(OodDetector.MAHALANOBIS, output, labels, head)
    options = {"detector": OodDetector.MAHALANOBIS, "reference": reference, "taxonomy": ISIC_2019}
    lesions = each_its_own(len(labels))
    alone = fit_decision(output, labels, lesions, **options)  # type: ignore[arg-type]
    together = fit_decision(output, labels, lesions, metadata=patients, **options)  # type: ignore[arg-type]
    shared = {"reference": reference, "taxonomy": ISIC_2019}

    without = decide(output, parameters=alone, **shared)  # type: ignore[arg-type]
    given = decide(output, parameters=together, metadata=patients, **shared)  # type: ignore[arg-type]

    hits = [(d.probabilities[:, :8].argmax(axis=1) == labels).mean() for d in (without, given)]
    assert hits[1] > hits[0] + 0.05
    for parameters, metadata in ((alone, patients), (together, None)):
        with pytest.raises(ValueError, match="goes with parameters"):
            decide(output, parameters=parameters, metadata=metadata, **shared)  # type: ignore[arg-type]
    assert attrs.evolve(together, metadata=None) != alone
