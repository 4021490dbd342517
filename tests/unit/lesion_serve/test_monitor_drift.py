"""Drift: nothing is found where nothing is, and what is there is found."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
from scipy.stats import ks_2samp
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict

from lesion_core.drift_reference import DriftSample
from lesion_core.monitoring import Check
from lesion_core.taxonomy import ISIC_2019
from lesion_serve.monitor.drift import FEWEST_IMAGES, compare
from lesion_serve.monitor.permutation import (
    classifier_auc,
    draw_members,
    excess,
    judge,
    kolmogorov_smirnov,
    mean_discrepancy,
    population_stability,
)
from support.samples import draw_sample

DRAWS = 400


def checks_of(window: DriftSample, *, reference: DriftSample | None = None, **options: object) -> dict[str, Check]:
    """By name and statistic."""
    given = {"codes": ISIC_2019.codes, "outside_threshold": 2.0, "draws": DRAWS, "level": 0.05, **options}
    found = compare(reference or draw_sample(120, seed=1), window, **given)  # type: ignore[arg-type]
    return {f"{check.name} {check.statistic}": check for check in found}


def test_reports_without_drift_alarm_as_rarely_as_stated() -> None:
    """A hundred windows and references from one source, at 5 %: up to 12 alarms happen once in four hundred times."""
    alarms = 0
    for seed in range(100):
        reference, window = draw_sample(40, seed=2 * seed), draw_sample(40, seed=2 * seed + 1)
        alarms += any(check.is_alarm for check in checks_of(window, reference=reference, draws=200).values())

    assert alarms <= 12


def test_small_level_never_alarms_more_often_than_the_draws_can_tell() -> None:
    """With fewer draws than the level needs there is no alarm at all, and no threshold."""
    found = checks_of(draw_sample(60, seed=2, shift=5.0), level=0.001, draws=100)

    assert not any(check.is_alarm for check in found.values())
    assert all(check.threshold is None for check in found.values())


def test_moved_embeddings_are_found_by_both_of_their_tests_and_by_no_other() -> None:
    """The classifier says how well it tells them."""
    found = checks_of(draw_sample(120, seed=3, shift=1.5))

    assert {"embedding auc", "embedding mmd"} == {name for name, check in found.items() if check.is_alarm}
    assert found["embedding auc"].value is not None
    assert found["embedding auc"].value > 0.75
    assert "AUC of 0." in found["embedding auc"].sentence


def test_a_changed_measure_of_quality_is_named() -> None:
    """With both medians, for people."""
    window = draw_sample(120, seed=3)
    blurred = attrs.evolve(window, quality={**window.quality, "focus": window.quality["focus"] * 0.3})

    found = checks_of(blurred)

    assert {"quality.focus ks"} == {name for name, check in found.items() if check.is_alarm}
    assert found["quality.focus ks"].sentence.startswith("Median of sharpness: 0.1")


def test_another_mix_of_answers_is_named() -> None:
    """By the class that changed most."""
    window = draw_sample(120, seed=3)
    probabilities = np.roll(np.sort(window.probabilities, axis=1), 1, axis=1)  # the largest goes to the first class
    found = checks_of(attrs.evolve(window, probabilities=probabilities))

    assert {"class_mix psi"} == {name for name, check in found.items() if check.is_alarm}
    assert "MEL: 100% in the window" in found["class_mix psi"].sentence


def test_stranger_images_are_found() -> None:
    """Their rate, and the shift of the scores."""
    window = draw_sample(120, seed=3)
    found = checks_of(attrs.evolve(window, strangeness=window.strangeness + 2))

    assert {"outside_rate difference", "strangeness ks"} == {name for name, check in found.items() if check.is_alarm}


def test_fewer_strange_images_than_expected_are_no_alarm() -> None:
    """The rate has one bad direction."""
    window, reference = draw_sample(120, seed=3), draw_sample(120, seed=1)
    strange = attrs.evolve(reference, strangeness=reference.strangeness + 1.5)

    assert not checks_of(window, reference=strange)["outside_rate difference"].is_alarm


def test_an_alarm_begins_at_the_threshold() -> None:
    """What lies at or above it is one, and nothing else."""
    for shift in (0.0, 0.4, 0.8, 1.6):
        for check in checks_of(draw_sample(90, seed=3, shift=shift)).values():
            assert check.value is not None
            assert check.threshold is not None
            assert check.is_alarm == (check.value >= check.threshold)


def test_too_few_images_are_no_verdict() -> None:
    """All checks are named, none has a value."""
    few = checks_of(draw_sample(FEWEST_IMAGES - 1, seed=2, shift=9.0))

    assert set(few) == set(checks_of(draw_sample(FEWEST_IMAGES, seed=2)))
    assert all(check.value is None and not check.is_alarm for check in few.values())
    assert f"{FEWEST_IMAGES - 1} in the window" in few["class_mix psi"].sentence


def test_a_measure_that_no_image_of_the_window_has_is_a_change() -> None:
    """As when all images become too small for it."""
    window = draw_sample(60, seed=2)
    small = attrs.evolve(window, quality={**window.quality, "hair": np.full(60, np.nan, dtype=np.float32)})

    check = checks_of(small)["quality.hair ks"]

    assert check.is_alarm
    assert check.value == pytest.approx(1.0)
    assert "unknown in the window" in check.sentence


def test_equal_images_are_nothing_to_tell_apart() -> None:
    """A feature, a class and a measure that are the same everywhere."""
    one = draw_sample(1, seed=1)
    same = one.take(np.zeros(50, dtype=np.int64))

    assert not any(check.is_alarm for check in checks_of(same, reference=same).values())


def test_statistics_are_those_of_the_libraries() -> None:
    """Kolmogorov-Smirnov as in SciPy, with ties; the classifier's AUC about that of a logistic regression."""
    random = np.random.default_rng(0)
    reference, window = random.normal(size=(200, 6)), random.normal(size=(150, 6)) + np.array([0.7, 0, 0, 0, 0, 0])
    order, members = draw_members(200, 150, draws=3, seed=0)
    pool = np.concatenate([reference, window])[order]
    coarse = pool[:, 0].round(1)

    ks = kolmogorov_smirnov(coarse, members)
    auc = classifier_auc(pool, members)

    is_window = members[:, 0] == 1
    assert ks[0] == pytest.approx(ks_2samp(coarse[is_window], coarse[~is_window]).statistic, abs=1e-6)
    scores = cross_val_predict(LogisticRegression(), pool, is_window, cv=5, method="decision_function")
    assert auc[0] == pytest.approx(roc_auc_score(is_window, scores), abs=0.02)
    assert auc[0] > 0.6


def test_statistics_of_a_draw_are_what_its_members_have() -> None:
    """Each column stands for itself: computed alone it is the same."""
    random = np.random.default_rng(0)
    features, classes = random.normal(size=(80, 4)), random.integers(0, 3, 80)
    _, members = draw_members(50, 30, draws=6, seed=0)

    for statistic in (
        lambda drawn: population_stability(classes, drawn),
        lambda drawn: kolmogorov_smirnov(features[:, 0], drawn),
        lambda drawn: excess(classes == 1, drawn),
        lambda drawn: classifier_auc(features, drawn),
        lambda drawn: mean_discrepancy(features, drawn),
    ):
        together = statistic(members)
        alone = [statistic(members[:, [draw]])[0] for draw in range(6)]
        np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)


def test_the_smallest_p_value_decides_for_all() -> None:
    """Copies of one statistic alarm as often as it alone; independent ones share the rate."""
    random = np.random.default_rng(0)
    one = np.concatenate([[10.0], random.normal(size=999)])
    copies = judge({"a": one, "b": one}, level=0.05)
    shared = judge({"a": one, **{str(n): random.normal(size=1000) for n in range(9)}}, level=0.05)

    assert copies["a"].is_alarm
    assert copies["b"].is_alarm
    assert copies["a"].p_value == pytest.approx(1 / 1000)
    assert copies["a"].threshold is not None
    assert shared["a"].threshold is not None
    assert copies["a"].threshold < shared["a"].threshold
    assert judge({}, level=0.05) == {}
