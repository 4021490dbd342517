"""Intervals: wide where little was seen."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binomtest, norm

from lesion_core.bootstrap import bootstrap_interval, few_units, resampled_counts
from lesion_core.interval import Interval, difference_interval, proportion_interval, share_interval, widened
from lesion_core.metrics import balanced_multiclass_accuracy


def random_case(seed: int, images: int, classes: int = 5) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    random = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), random.integers(0, classes, images)])
    return random.dirichlet(np.ones(classes), len(labels)), labels


def test_interval_holds_the_value_and_narrows_with_more_lesions() -> None:
    """The bootstrap behaves."""
    widths = []
    for images in (100, 1600):
        probabilities, labels = random_case(1, images)
        lesions = np.arange(len(labels)).astype(str)
        interval = bootstrap_interval(balanced_multiclass_accuracy, probabilities, labels, lesions, resamples=200)
        assert interval.low <= interval.value <= interval.high
        widths.append(interval.high - interval.low)

    assert widths[1] < widths[0] / 2


def test_images_of_one_lesion_count_as_one_observation() -> None:
    """Copies of every image, wherever they stand, leave the interval as wide as it was."""
    probabilities, labels = random_case(2, 100)
    lesions = np.arange(len(labels)).astype(str)

    def width(copies: int) -> float:
        rows = np.random.default_rng(0).permutation(np.repeat(np.arange(len(labels)), copies))
        interval = bootstrap_interval(
            balanced_multiclass_accuracy, probabilities[rows], labels[rows], lesions[rows], resamples=300
        )
        return interval.high - interval.low

    assert width(8) == pytest.approx(width(1), rel=0.15)


def test_every_resample_draws_whole_lesions_and_keeps_each_class() -> None:
    """Seen by a metric that looks at the rows it is given."""
    labels = np.array([0, 1, 0, 1, 1, 0])
    lesions = np.array(["a", "b", "a", "c", "b", "d"])
    row_number = np.arange(6.0)[:, None]

    def look(rows: NDArray[np.floating], drawn: NDArray[np.integer]) -> float:
        seen = lesions[rows[:, 0].astype(int)]
        counts = {lesion: int((seen == lesion).sum()) for lesion in np.unique(lesions)}
        assert counts["a"] % 2 == counts["b"] % 2 == 0
        assert counts["a"] // 2 + counts["d"] == 2
        assert counts["b"] // 2 + counts["c"] == 2
        np.testing.assert_array_equal(drawn, labels[rows[:, 0].astype(int)])
        return 0.0

    bootstrap_interval(look, row_number, labels, lesions, resamples=50)


def test_counts_are_those_of_the_resamples_that_a_metric_sees() -> None:
    """So that a metric which takes weights gives the same interval."""
    labels = np.array([0, 1, 0, 1, 1, 0])
    lesions = np.array(["a", "b", "a", "c", "b", "d"])
    seen: list[list[int]] = []

    def look(rows: NDArray[np.floating], drawn: NDArray[np.integer]) -> float:
        seen.append(np.bincount(rows[:, 0].astype(int), minlength=6).tolist())
        return 0.0

    bootstrap_interval(look, np.arange(6.0)[:, None], labels, lesions, resamples=20)

    assert resampled_counts(labels, lesions, resamples=20).tolist() == seen[:20]


@given(st.integers(1, 60), st.data())
def test_a_proportion_has_the_interval_that_scipy_finds(trials: int, data: st.DataObject) -> None:
    """At any confidence, none and all included."""
    successes, confidence = data.draw(st.integers(0, trials)), data.draw(st.sampled_from([0.5, 0.9, 0.95, 0.99]))
    expected = binomtest(successes, trials).proportion_ci(confidence, method="wilson")

    interval = proportion_interval(successes, trials, confidence=confidence)

    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


@given(st.floats(0, 1), st.integers(1, 1000))
def test_a_share_stays_what_it_is(share: float, observations: int) -> None:
    """Whatever the number of lesions: 20 of 21 images of 7 lesions are 0.952, not 7 of 7."""
    interval = share_interval(share, observations)

    assert interval.value == share
    assert 0 <= interval.low <= share <= interval.high <= 1


def test_a_proportion_has_wilsons_interval() -> None:
    """Against the formula."""
    z, n, p = norm.ppf(0.975), 40, 0.9
    centre, half = (p + z**2 / (2 * n)) / (1 + z**2 / n), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))

    interval = proportion_interval(36, 40)

    assert interval.value == 0.9
    assert share_interval(0.9, 40) == interval
    assert (interval.low, interval.high) == pytest.approx(
        (centre - half / (1 + z**2 / n), centre + half / (1 + z**2 / n))
    )


def test_classes_of_few_lesions_are_known() -> None:
    """Ten are enough; their images do not count."""
    labels = np.repeat([0, 1, 2], [10, 40, 9])
    units = np.array([f"L{row}" for row in range(10)] + ["M1"] * 20 + ["M2"] * 20 + [f"N{row}" for row in range(9)])

    assert few_units(labels, units) == {1: 2, 2: 9}


def test_a_difference_of_proportions_has_newcombes_interval() -> None:
    """His own example: 56 of 70 against 48 of 80 (Newcombe 1998, table II)."""
    found = difference_interval(proportion_interval(48, 80), proportion_interval(56, 70))

    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


def test_what_is_not_known_of_terms_widens_their_mean() -> None:
    """By squares, each end on its own side; without such terms nothing changes."""
    mean = Interval(value=0.5, low=0.47, high=0.53)
    terms = [Interval(value=1.0, low=0.84, high=1.0), Interval(value=0.5, low=0.5, high=0.66)]

    found = widened(mean, terms, terms=4)

    assert (found.low, found.high) == pytest.approx((0.45, 0.55))
    assert widened(mean, [], terms=4) == mean
    certain = attrs.evolve(mean, value=1.0, low=1.0, high=1.0)
    assert widened(certain, [attrs.evolve(terms[1], value=0.5, low=0.0, high=1.0)], terms=4).high == 1


def test_a_class_that_only_comes_second_in_its_patients_stays_in_every_resample() -> None:
    """Patients are drawn, who have several diagnoses: class 2 stands last in three of forty."""
    labels = np.concatenate([np.tile([0, 1], 40), [2, 2, 2]])
    patients = np.array([f"P{row // 2}" for row in range(80)] + ["P0", "P1", "P2"])

    counts = resampled_counts(labels, patients, resamples=300)

    assert (counts[:, labels == 2].sum(axis=1) > 0).all()
    assert (counts[:, labels == 0].sum(axis=1) == 40).all(), "as many patients as there are"
    assert np.std(counts[:, labels == 2].sum(axis=1)) == 0, "drawn as a stratum of their own"


def test_a_resample_that_lost_a_class_is_drawn_anew() -> None:
    """Class 1 is nobody's rarest: it stands beside a rarer one in one patient of two."""
    labels = np.array([2, 1, 1, 1, 2, 0, 0, 0, 0])
    patients = np.array(["a", "a", "a", "a", "b", "c", "d", "e", "f"])

    counts = resampled_counts(labels, patients, resamples=200)

    assert (counts[:, 1] > 0).all()
    assert (counts[:, 4] == 0).any(), "and is not simply the sample"
