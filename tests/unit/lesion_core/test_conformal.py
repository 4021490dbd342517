"""Conformal sets: the promise to each class. tests/golden holds them against MAPIE."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lesion_core.decision.calibration import calibrated_probabilities
from lesion_core.decision.conformal import conformal_sets, fit_class_quantiles, fit_conformal
from lesion_core.interval import share_interval

CODES = ("A", "B", "C", "D")


def case(seed: int, images: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Logits for classes of very different frequency, the last of which is mostly taken for the first."""
    random = np.random.default_rng(seed)
    labels = random.choice(len(CODES), images, p=[0.6, 0.2, 0.12, 0.08])
    logits = random.normal(0, 1, (images, len(CODES)))
    logits[np.arange(images), labels] += np.array([3.0, 2.0, 1.5, 0.5])[labels]
    logits[:, 0] += 1.0
    return logits, labels


def lesions(labels: NDArray[np.int64]) -> NDArray[np.str_]:
    """Two images a lesion."""
    return np.array([f"lesion-{label}-{n // 2}" for n, label in enumerate(np.sort(labels))])[
        np.argsort(np.argsort(labels, kind="stable"))
    ]


def test_each_class_is_covered_at_the_stated_rate() -> None:
    """Also the rare one that is mostly taken for another, where a quantile over all images covers it far less."""
    logits, labels = case(0, 40_000)
    fitted, new = slice(0, 20_000), slice(20_000, None)
    few = np.array([f"{label}-{n % 100}" for n, label in enumerate(labels[fitted])])
    parameters = fit_conformal(logits[fitted], labels[fitted], few, coverage=0.9, temperature=1.0, codes=CODES)
    sets = conformal_sets(calibrated_probabilities(logits[new], parameters.temperature), parameters.quantiles)

    is_hit = sets[np.arange(20_000), labels[new]]
    per_class = [is_hit[labels[new] == label].mean() for label in range(len(CODES))]
    assert per_class[1:] == pytest.approx([0.9] * 3, abs=0.025)
    assert per_class[0] >= 0.9 - 0.025  # the most probable class is always a member, which adds to it
    own = 1.0 - calibrated_probabilities(logits, 1.0)[np.arange(40_000), labels]
    marginal = own[new] <= np.quantile(own[fitted], 0.9)
    assert marginal[labels[new] == 3].mean() < 0.7


def test_the_measured_coverage_comes_with_its_interval() -> None:
    """For each class by its code, from lesions that did not set it."""
    logits, labels = case(2, 1000)
    parameters = fit_conformal(logits, labels, lesions(labels), coverage=0.9, temperature=1.0, codes=CODES)

    assert tuple(parameters.measured) == CODES
    for interval in parameters.measured.values():
        assert interval.high > 0.9
        assert interval.low < interval.value < interval.high


def test_a_class_with_too_few_images_is_in_every_set() -> None:
    """Five images cannot support 90 %."""
    logits, labels = case(1, 5)

    assert fit_class_quantiles(calibrated_probabilities(logits, 1.0), labels, coverage=0.9) == (1.0,) * len(CODES)


def test_the_measured_coverage_is_that_of_the_images() -> None:
    """Not rounded to a number of lesions: ten images a lesion, all with logits of their own."""
    logits, labels = case(2, 400)
    few = np.array([f"{label}-{n % 7}" for n, label in enumerate(labels)])

    parameters = fit_conformal(logits, labels, few, coverage=0.9, temperature=1.0, codes=CODES)

    for label, code in enumerate(CODES):
        images, found = int((labels == label).sum()), parameters.measured[code]
        assert found.value * images == pytest.approx(round(found.value * images)), "each image is held out once"
        assert found == share_interval(found.value, 7)
    assert any(found.value * 7 % 1 > 1e-9 for found in parameters.measured.values())


@pytest.mark.parametrize(("images", "samples"), [(9, 5), (12, 60), (18, 60)])
def test_the_measured_coverage_of_a_rare_class_is_that_of_the_quantile_that_ships(images: int, samples: int) -> None:
    """Of half of 9 to 17 images no quantile follows; so they were called always held, which the sets do not do."""
    measured, deployed = [], []
    for seed in range(samples):
        logits, labels = case(seed, 400)
        rare = np.flatnonzero(labels == 3)
        kept = np.concatenate([np.flatnonzero(labels != 3)[:50], rare[:images]])
        found = fit_conformal(logits[kept], labels[kept], kept.astype(str), coverage=0.9, temperature=1.0, codes=CODES)
        others = calibrated_probabilities(logits[rare[images:]], found.temperature)
        deployed.append(conformal_sets(others, found.quantiles)[:, 3].mean())
        assert ("D" in found.measured) == (images > 9)
        measured += [found.measured["D"].value] if images > 9 else []

    if measured:
        assert np.mean(measured) == pytest.approx(np.mean(deployed), abs=0.03)


def test_a_class_with_a_single_lesion_stops_nothing() -> None:
    """It is not measured itself, and in every set; the others are measured as they are without it."""
    logits, labels = case(4, 300)
    labels = np.where(labels == 3, 0, labels)
    labels[7:9] = 3
    names = lesions(labels)
    assert len(set(names[labels == 3])) == 1

    parameters = fit_conformal(logits, labels, names, coverage=0.9, temperature=1.3, codes=CODES)

    assert parameters.quantiles[3] == 1.0
    assert tuple(parameters.measured) == ("A", "B", "C")


def test_a_single_lesion_a_class_measures_nothing() -> None:
    """There is no cross-fit then, and the temperature stays that which calibrates."""
    logits, labels = case(4, 40)

    parameters = fit_conformal(logits, labels, labels.astype(str), coverage=0.9, temperature=1.3, codes=CODES)

    assert (parameters.measured, parameters.temperature) == ({}, 1.3)


@given(st.integers(0, 1000), st.floats(0.05, 0.99), st.floats(0.05, 20))
def test_no_set_is_empty_and_more_coverage_never_takes_a_diagnosis_away(
    seed: int, coverage: float, temperature: float
) -> None:
    """At any temperature."""
    logits, labels = case(seed, 200)
    probabilities = calibrated_probabilities(logits, temperature)
    smaller, larger = (
        conformal_sets(probabilities, fit_class_quantiles(probabilities, labels, coverage=level))
        for level in (coverage * 0.9, coverage)
    )

    assert smaller.any(axis=1).all()
    assert (larger | ~smaller).all()
