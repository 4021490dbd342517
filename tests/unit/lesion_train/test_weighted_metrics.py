"""Metrics over many resamples at once are the metrics of one sample, a thousand times."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lesion_core.bootstrap import bootstrap_interval
from lesion_core.challenge import area_above_sensitivity
from lesion_core.interval import proportion_interval, share_interval
from lesion_core.metrics import area_under_roc, balanced_multiclass_accuracy, macro_auroc
from lesion_core.reliability import classwise_calibration_error, expected_calibration_error
from lesion_train.evaluation import weighted
from lesion_train.evaluation.part import Resamples
from lesion_train.evaluation.scores import answered_rightly

CLASSES = 3


def sample(seed: int, images: int = 60, levels: int = 12) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Probabilities with ties, and labels that hold every class."""
    random = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(CLASSES), random.integers(0, CLASSES, images - CLASSES)])
    probabilities = random.integers(1, levels, (images, CLASSES)) + 4 * np.eye(CLASSES)[labels]
    return probabilities / probabilities.sum(axis=1, keepdims=True), labels


def of_one_sample(metric: Callable[..., NDArray[np.float64]], **arguments: NDArray[Any]) -> float:
    images = len(next(iter(arguments.values())))
    return float(metric(np.ones((1, images)), **arguments)[0])


@given(st.integers(0, 200))
def test_with_weights_of_one_they_are_the_metrics_of_core(seed: int) -> None:
    """Ties included."""
    probabilities, labels = sample(seed)
    scores, is_class = probabilities[:, 0], labels == 0
    is_right = answered_rightly(probabilities, labels)
    confidence, is_top = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels

    pairs = [
        (
            of_one_sample(weighted.balanced_accuracy, is_right=is_right, labels=labels),
            balanced_multiclass_accuracy(probabilities, labels),
        ),
        (of_one_sample(weighted.area_under_roc, scores=scores, is_positive=is_class), area_under_roc(scores, is_class)),
        (
            of_one_sample(
                partial(weighted.area_above_sensitivity, sensitivity=0.8), scores=scores, is_positive=is_class
            ),
            area_above_sensitivity(scores, is_class),
        ),
        (
            of_one_sample(
                partial(weighted.macro_average, metric=weighted.area_under_roc),
                probabilities=probabilities,
                labels=labels,
            ),
            macro_auroc(probabilities, labels),
        ),
        (
            of_one_sample(weighted.calibration_gap, probability=confidence, is_true=is_top),
            expected_calibration_error(probabilities, labels),
        ),
        (
            of_one_sample(weighted.classwise_calibration_gap, probabilities=probabilities, labels=labels),
            classwise_calibration_error(probabilities, labels),
        ),
    ]

    for ours, theirs in pairs:
        assert ours == pytest.approx(theirs, abs=1e-12)


@given(st.integers(0, 200))
def test_an_image_that_weighs_two_counts_as_two_images(seed: int) -> None:
    """And one that weighs nothing is not there."""
    probabilities, labels = sample(seed)
    counts = np.random.default_rng(seed).integers(0, 3, len(labels))
    rows = np.repeat(np.arange(len(labels)), counts)
    scores, is_class = probabilities[:, 1], labels == 1
    if not is_class[rows].any():
        return

    for metric in (weighted.area_under_roc, partial(weighted.area_above_sensitivity, sensitivity=0.8)):
        weighed = metric(counts[None].astype(float), scores=scores, is_positive=is_class)
        repeated = metric(np.ones((1, len(rows))), scores=scores[rows], is_positive=is_class[rows])
        assert weighed == pytest.approx(repeated, abs=1e-12)


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
