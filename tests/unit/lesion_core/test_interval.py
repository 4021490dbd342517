"""Intervals: wide where little was seen."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binomtest, norm

from lesion_core.bootstrap import bootstrap_interval, resampled_counts
from lesion_core.interval import proportion_interval, share_interval
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
