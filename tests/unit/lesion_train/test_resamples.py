"""Intervals: those of the bootstrap, and honest ones where a bootstrap sees too little."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray

from lesion_core.bootstrap import bootstrap_interval
from lesion_core.interval import proportion_interval, share_interval
from lesion_core.metrics import balanced_multiclass_accuracy
from lesion_train.evaluation import weighted
from lesion_train.evaluation.resamples import Resamples
from lesion_train.evaluation.scores import answered_rightly

CLASSES = 3


def sample(seed: int, images: int = 60) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    random = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(CLASSES), random.integers(0, CLASSES, images - CLASSES)])
    probabilities = random.integers(1, 12, (images, CLASSES)) + 4 * np.eye(CLASSES)[labels]
    return probabilities / probabilities.sum(axis=1, keepdims=True), labels


def each_by_itself(labels: NDArray[np.int64], resamples: int = 200) -> Resamples:
    return Resamples.draw(labels, np.arange(len(labels)).astype(str), resamples)


def test_the_intervals_are_those_of_the_bootstrap_of_core() -> None:
    """The same lesions are drawn; only the way to the number differs."""
    probabilities, labels = sample(5, images=90)
    lesions = np.array([f"L{row // 2}" for row in range(len(labels))])
    draw = Resamples.draw(labels, lesions, 200)
    is_right = answered_rightly(probabilities, labels)

    fast = draw.interval(partial(weighted.balanced_accuracy, is_right=is_right, labels=labels))
    slow = bootstrap_interval(balanced_multiclass_accuracy, probabilities, labels, lesions, resamples=200)

    assert fast is not None
    assert (fast.value, fast.low, fast.high) == pytest.approx((slow.value, slow.low, slow.high), abs=1e-12)
    assert fast.low < fast.high


def test_images_of_one_lesion_are_drawn_together() -> None:
    """So that ten photographs of one spot are not ten patients."""
    lesions = np.repeat(["a", "b", "c", "d"], 5)
    counts = Resamples.draw(np.zeros(20, dtype=int), lesions, 50).counts

    assert (counts.reshape(51, 4, 5) == counts.reshape(51, 4, 5)[:, :, :1]).all()
    assert set(counts[0].tolist()) == {1}
    assert (counts[1:] != 1).any()


def test_a_share_of_everything_has_an_interval_with_width() -> None:
    """A bootstrap cannot draw a miss that never happened; Wilson's interval counts lesions."""
    lesions = np.repeat([f"L{number}" for number in range(6)], 2)
    draw = Resamples.draw(np.zeros(12, dtype=int), lesions, 50)
    everyone = np.ones(12, dtype=bool)

    assert draw.share(everyone, everyone) == proportion_interval(6, 6)
    assert draw.share(~everyone, everyone) == proportion_interval(0, 6)
    half = np.arange(12) % 2 == 0
    only = lesions == "L0"
    assert draw.share(half, only) == share_interval(0.5, 1)


def test_what_is_not_defined_is_none() -> None:
    """No image of a class: no sensitivity, no area."""
    probabilities, labels = sample(1)
    draw = Resamples.draw(labels, np.arange(len(labels)).astype(str), 20)
    nobody = np.zeros(len(labels), dtype=bool)

    assert draw.share(~nobody, nobody) is None
    assert draw.interval(partial(weighted.area_under_roc, scores=probabilities[:, 0], is_positive=nobody)) is None
    above_80 = partial(weighted.area_above_sensitivity, scores=probabilities[:, 0], is_positive=nobody, sensitivity=0.8)
    assert draw.interval(above_80) is None


def test_many_images_are_taken_in_blocks_of_resamples() -> None:
    """Without a change of the numbers."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 30_000)
    draw = Resamples.draw(labels, np.arange(len(labels)).astype(str), 120)
    sizes: list[int] = []

    def mean_of_labels(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        sizes.append(len(weights))
        return weighted.mean(weights, labels.astype(float))

    values = draw.values(mean_of_labels)

    assert len(sizes) > 1
    assert sum(sizes) == len(values) == 121
    assert values == pytest.approx(draw.counts @ labels.astype(float) / len(labels))


def test_the_interval_of_a_gap_covers_the_true_one() -> None:
    """A percentile interval lies above it: it counts twice what chance adds to a sum of absolute differences."""
    random, gap, held, held_by_percentiles = np.random.default_rng(0), 0.03, 0, 0
    for _ in range(40):
        confidence = random.uniform(0.4, 1, 600)
        is_right = random.uniform(size=600) < confidence - gap
        draw = Resamples.draw(np.zeros(600, dtype=int), np.arange(600).astype(str), 200)
        metric = partial(weighted.calibration_gap, probability=confidence, is_true=is_right)
        basic, percentile = draw.gap(metric), draw.interval(metric)
        assert basic is not None
        assert percentile is not None
        assert 0 <= basic.low <= basic.value <= basic.high
        held += basic.low <= gap <= basic.high
        held_by_percentiles += percentile.low <= gap <= percentile.high

    assert held >= 35
    assert held_by_percentiles < 10


@pytest.mark.parametrize("lesions", [1, 2, 5])
def test_the_interval_of_an_area_holds_with_few_lesions_of_a_class(lesions: int) -> None:
    """Where a bootstrap of 95 % held in 13, 55 and 76 of 100 samples: a single lesion is the same in all resamples."""
    random, held = np.random.default_rng(0), 0
    labels = np.repeat([1, 0], [lesions, 200])
    for _ in range(50):
        scores = random.normal(np.where(labels == 1, 1.19, 0.0))  # a true area of 0.8
        found = each_by_itself(labels).area(weighted.area_under_roc, scores, labels == 1)
        assert found is not None
        held += found.low <= 0.8 <= found.high

    assert held >= 46


@pytest.mark.parametrize("lesions", [1, 3])
def test_the_interval_of_a_balanced_accuracy_holds_with_classes_of_few_lesions(lesions: int) -> None:
    """Three of eight classes of one lesion: a bootstrap of 95 % held in 30 of 100 samples."""
    random, held = np.random.default_rng(0), 0
    labels = np.repeat(np.arange(8), [100, 200, 80, 20, 60, lesions, lesions, lesions])
    for _ in range(50):
        found = each_by_itself(labels).balanced_accuracy(random.random(len(labels)) < 0.6, labels)
        assert found is not None
        assert 0 <= found.low <= found.value <= found.high <= 1
        held += found.low <= 0.6 <= found.high

    assert held >= 44


def test_macro_scores_of_few_lesions_are_wider_than_their_bootstrap() -> None:
    """And as wide where each class has enough."""
    for images, is_wider in ((12, True), (90, False)):
        probabilities, labels = sample(7, images)
        draw = each_by_itself(labels)
        average = partial(
            weighted.macro_average, metric=weighted.area_under_roc, probabilities=probabilities, labels=labels
        )

        found, plain = draw.macro_area(weighted.area_under_roc, probabilities, labels), draw.interval(average)

        assert found is not None
        assert plain is not None
        assert found.value == plain.value
        assert (found.high - found.low > plain.high - plain.low) == is_wider


def test_the_mean_of_a_single_lesion_is_not_certain() -> None:
    """Set sizes lie between 1 and the number of classes, and so does the interval."""
    labels, sizes = np.repeat([0, 1], [1, 30]), np.array([3.0] + [2.0, 4.0] * 15)
    draw = each_by_itself(labels)

    one = draw.mean(sizes, labels == 0, lowest=1, highest=8)
    many = draw.mean(sizes, labels == 1, lowest=1, highest=8)

    assert one is not None
    assert many is not None
    assert one.value == many.value == 3
    assert 1 <= one.low < many.low < 3 < many.high < one.high <= 8
