"""Operating points and triage bands."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lesion_core.decision.parameters import TriageBand
from lesion_core.decision.triage import (
    band_of,
    fit_bands,
    fit_operating_point,
    malignant_share,
    threshold_for_sensitivity,
)
from lesion_core.interval import share_interval

BANDS = (
    TriageBand(name="low", lower=0.0, malignant=10, not_malignant=500),
    TriageBand(name="intermediate", lower=0.2, malignant=40, not_malignant=100),
    TriageBand(name="high", lower=0.6, malignant=150, not_malignant=200),
)


@given(st.integers(0, 1000), st.floats(0.5, 1.0))
def test_a_threshold_reaches_its_sensitivity_and_no_higher_one_does(seed: int, sensitivity: float) -> None:
    """By definition of the operating point."""
    random = np.random.default_rng(seed)
    risk, malignant = random.random(60), random.random(60) < 0.4
    malignant[0] = True

    threshold = threshold_for_sensitivity(risk, malignant, sensitivity=sensitivity)

    assert (risk[malignant] >= threshold).mean() >= sensitivity - 1e-9
    higher = risk[malignant & (risk > threshold)]
    assert len(higher) / malignant.sum() < sensitivity


def test_an_operating_point_covers_the_threshold_of_the_population() -> None:
    """Its interval, in about 95 of 100 samples."""
    random = np.random.default_rng(0)
    covered = []
    for sample in range(60):
        probability = np.concatenate([random.beta(4, 2, 150), random.beta(2, 4, 300)])
        is_target = np.arange(450) < 150
        lesions = np.array([f"lesion-{n}" for n in range(450)])
        point = fit_operating_point(probability, is_target, lesions, target="MEL", sensitivity=0.9, seed=sample)
        covered.append(point.threshold.low <= 0.4161 <= point.threshold.high)  # 10 % quantile of beta(4, 2)

    assert np.mean(covered) >= 0.85


def test_an_operating_point_knows_less_when_its_images_show_few_lesions() -> None:
    """Ten images of one lesion are hardly more than one image."""
    random = np.random.default_rng(0)
    lesion_of = np.arange(600) // 10
    probability = np.clip(random.random(60)[lesion_of] + random.normal(0, 0.01, 600), 0, 1)
    is_target = (np.arange(60) < 30)[lesion_of]
    apart = np.array([f"lesion-{n}" for n in range(600)])
    together = np.array([f"lesion-{n}" for n in lesion_of])

    wide, narrow = (
        fit_operating_point(probability, is_target, lesions, target="MEL", sensitivity=0.9)
        for lesions in (together, apart)
    )

    assert wide.threshold.value == narrow.threshold.value
    for field in ("threshold", "sensitivity", "specificity"):
        assert (
            getattr(wide, field).high - getattr(wide, field).low
            > getattr(narrow, field).high - getattr(narrow, field).low
        )


def test_sensitivity_and_specificity_are_those_of_the_images() -> None:
    """20 of 21 and 19 of 22 images, though these show only 7 and 11 lesions."""
    is_target = np.arange(43) < 21
    probability = np.where(is_target, 0.9, 0.1)
    probability[0], probability[-3:] = 0.05, 0.9
    lesions = np.array([f"lesion-{n // 3 if n < 21 else 100 + (n - 21) // 2}" for n in range(43)])

    point = fit_operating_point(probability, is_target, lesions, target="MEL", sensitivity=0.95)

    assert point.threshold.value == 0.9
    assert point.sensitivity == share_interval(20 / 21, 7)
    assert point.specificity == share_interval(19 / 22, 11)


@given(st.integers(0, 1000), st.floats(0.0, 1.0))
def test_bands_hold_every_image_once(seed: int, threshold: float) -> None:
    """And the high one few that are not malignant."""
    random = np.random.default_rng(seed)
    malignant = random.random(200) < 0.3
    malignant[:2] = (True, False)
    risk = np.clip(random.normal(0.3 + 0.3 * malignant, 0.2), 0, 1)

    bands = fit_bands(risk, malignant, threshold=threshold, specificity=0.9)

    assert sum(band.malignant for band in bands) == malignant.sum()
    assert sum(band.not_malignant for band in bands) == (~malignant).sum()
    assert [band.lower for band in bands] == sorted(band.lower for band in bands)
    assert bands[2].not_malignant <= 0.1 * (~malignant).sum()
    for value in risk[:20]:
        assert band_of(value, bands).lower <= value


@pytest.mark.parametrize("others", [9, 10, 11, 20, 21, 100, 101])
def test_the_high_band_holds_as_many_of_the_others_as_it_may(others: int) -> None:
    """Not one more, where a tenth of them is a whole number."""
    risk = np.append(np.linspace(0.1, 0.8, others), 0.9)
    malignant = np.arange(others + 1) == others

    _, _, high = fit_bands(risk, malignant, threshold=0.0, specificity=0.9)

    assert (high.not_malignant, high.malignant) == (others // 10, 1)


def test_the_share_of_malignant_lesions_is_the_observed_one_unless_restated() -> None:
    """At the prevalence of the validation part, 20 %."""
    assert malignant_share(BANDS[2], BANDS) == pytest.approx(150 / 350)
    assert malignant_share(BANDS[2], BANDS, prevalence=0.2) == pytest.approx(150 / 350)
    # 1 of 100 is malignant: 0.75 of these and 0.25 of the others fall into the band
    assert malignant_share(BANDS[2], BANDS, prevalence=0.01) == pytest.approx(0.0075 / (0.0075 + 0.2475))
    assert 1 - malignant_share(BANDS[0], BANDS, prevalence=0.01) > 0.999


def test_an_empty_band_has_no_share() -> None:
    """Nothing was observed in it."""
    empty = TriageBand(name="intermediate", lower=0.2, malignant=0, not_malignant=0)

    assert np.isnan(malignant_share(empty, (BANDS[0], empty, BANDS[2])))
