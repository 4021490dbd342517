"""Worse photographs, made from good ones."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from lesion_core.datasets.synthetic import draw_lesion
from lesion_core.preprocess import resize_square
from lesion_core.preprocess_spec import PreprocessSpec
from lesion_train.evaluation.corruptions import CORRUPTIONS, SEVERITIES, corrupt


def lesion(side_px: int = 96) -> NDArray[np.uint8]:
    return resize_square(draw_lesion("MEL", seed=3), PreprocessSpec(input_size_px=side_px))


def change(image: NDArray[np.uint8], corruption: str, severity: int, rows: int = 6) -> float:
    """Mean change of a pixel, over some images."""
    changed = [corrupt(image, corruption, severity, row=row).astype(int) for row in range(rows)]
    return float(np.mean([np.abs(one - image).mean() for one in changed]))


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_each_severity_changes_more_than_the_one_before(corruption: str) -> None:
    """From something that can be seen on."""
    image = lesion()

    changes = [change(image, corruption, severity) for severity in SEVERITIES]

    assert changes[0] > 0.2
    assert changes == sorted(changes)
    assert changes[-1] > 1.3 * changes[0]


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_equal_arguments_give_equal_pixels_and_leave_the_image_alone(corruption: str) -> None:
    """So that two models are measured on the same worse photographs."""
    image = lesion()
    before = image.copy()

    first = corrupt(image, corruption, 3, row=7)

    assert np.array_equal(first, corrupt(image, corruption, 3, row=7))
    assert np.array_equal(image, before)
    assert first.shape == image.shape
    assert first.dtype == np.uint8


@pytest.mark.parametrize(
    "corruption", ["gaussian noise", "shot noise", "motion blur", "hair", "air bubbles", "reflection", "skin marking"]
)
def test_every_image_gets_its_own_noise_hairs_and_bubbles(corruption: str) -> None:
    """Else a thousand images would be one draw."""
    image = lesion()

    assert not np.array_equal(corrupt(image, corruption, 3, row=0), corrupt(image, corruption, 3, row=1))


@pytest.mark.parametrize("side_px", [16, 33, 224])
@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_every_size_can_be_corrupted(corruption: str, side_px: int) -> None:
    """Also smaller ones than any blur is long."""
    for severity in (SEVERITIES[0], SEVERITIES[-1]):
        assert corrupt(lesion(side_px), corruption, severity, row=0).shape == (side_px, side_px, 3)


@pytest.mark.parametrize(("corruption", "channel"), [("brightness", 1), ("darkness", -1)])
def test_brightness_keeps_the_hue(corruption: str, channel: int) -> None:
    """It is the value of HSV that changes: ratios of the channels stay."""
    image = np.full((32, 32, 3), (120, 80, 60), dtype=np.uint8)

    changed = corrupt(image, corruption, 2, row=0)[0, 0].astype(float)

    assert changed[0] == pytest.approx(120 + channel * 51)
    assert changed / changed[0] == pytest.approx(np.array([120, 80, 60]) / 120, abs=0.01)
