"""Random changes keep what a diagnosis is read from, and OpenCV's are torchvision's."""

# P side of the stored square · S side of the input

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lesion_core.datasets.synthetic import draw_lesion
from lesion_plugins import torchvision_remedy
from lesion_train.artefacts import ARTEFACTS, ERASED_AREA, erase
from lesion_train.augment import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    augment,
    rotate,
)
from lesion_train.config import Augmentation

torchvision_remedy.apply()

from torchvision.transforms.v2 import InterpolationMode, functional  # noqa: E402  (needs the remedy first)

SIDE = 64
LESION = draw_lesion("NV", seed=1, side_px=74)

_Pixels = NDArray[np.uint8]


@pytest.mark.parametrize("augmentation", Augmentation)
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), stored=st.integers(20, 90), side=st.integers(16, 80))
def test_any_square_becomes_the_input_s_size(augmentation: Augmentation, seed: int, stored: int, side: int) -> None:
    """And equal generators give equal pixels; the stored square stays as it is."""
    square = draw_lesion("MEL", seed=2, side_px=stored)
    square.flags.writeable = False

    first, second = (augment(square, side, augmentation, np.random.default_rng(seed)) for _ in range(2))

    assert first.shape == (side, side, 3)
    assert first.dtype == np.uint8
    assert first.flags.c_contiguous
    assert np.array_equal(first, second)


@pytest.mark.parametrize("augmentation", Augmentation)
def test_the_colours_stay_roughly(augmentation: Augmentation) -> None:
    """Every image is changed in its own way; a tighter crop shows more of the dark lesion."""
    changed = np.stack([augment(LESION, SIDE, augmentation, np.random.default_rng(n)) for n in range(60)])

    assert len({image.tobytes() for image in changed}) == 60
    assert np.abs(changed.mean(axis=(0, 1, 2)) - LESION.mean(axis=(0, 1))).max() < 25


def test_presets_change_more_and_more() -> None:
    """Measured as the spread of each pixel over many draws."""
    spread = [
        np.stack([augment(LESION, SIDE, preset, np.random.default_rng(n)) for n in range(60)]).std(axis=0).mean()
        for preset in (Augmentation.LIGHT, Augmentation.MEDIUM, Augmentation.HEAVY)
    ]

    assert spread[0] < spread[1] < spread[2]


@pytest.mark.parametrize(
    ("own", "torchvision_s", "amounts", "tolerance"),
    [
        (adjust_brightness, functional.adjust_brightness, (0.7, 1.3), 1.0),
        (adjust_contrast, functional.adjust_contrast, (0.7, 1.3), 1.5),
        (adjust_saturation, functional.adjust_saturation, (0.7, 1.3), 1.5),
        (adjust_hue, functional.adjust_hue, (-0.03, 0.03, 0.05), 2.0),
    ],
)
def test_colours_change_as_torchvision_changes_them(
    own: Callable[[_Pixels, float], _Pixels],
    torchvision_s: Callable[[torch.Tensor, float], torch.Tensor],
    amounts: tuple[float, ...],
    tolerance: float,
) -> None:
    """Within rounding, in grey levels of 255 on average; hue is shifted in steps of 1/256 turn."""
    for amount in amounts:
        expected = torchvision_s(torch.from_numpy(LESION.copy()).permute(2, 0, 1), amount).permute(1, 2, 0).numpy()
        difference = np.abs(own(LESION, amount).astype(float) - expected)
        assert difference.mean() < tolerance


@pytest.mark.parametrize("angle", [-40.0, 7.0, 45.0])
def test_rotation_is_torchvision_s(angle: float) -> None:
    """Direction, centre, bilinear values and black corners."""
    tensor = torch.from_numpy(LESION.copy()).permute(2, 0, 1)
    expected = functional.rotate(tensor, angle, interpolation=InterpolationMode.BILINEAR).permute(1, 2, 0).numpy()

    difference = np.abs(rotate(LESION, angle, mirrored_corners=False).astype(float) - expected)

    assert difference.mean() < 1.0


def test_mirrored_corners_show_skin_and_not_black() -> None:
    """So that a network cannot learn the angle."""
    assert rotate(LESION, 45.0, mirrored_corners=False)[0, 0].sum() == 0
    assert rotate(LESION, 45.0, mirrored_corners=True)[0, 0].sum() > 100


@pytest.mark.parametrize("artefact", ARTEFACTS)
@pytest.mark.parametrize("side", [64, 224])
def test_an_artefact_of_any_strength_keeps_shape_and_lesion(artefact: Callable[..., _Pixels], side: int) -> None:
    """A trace at strength 0, visible at 1, and never another picture."""
    image = draw_lesion("BCC", seed=3, side_px=side)
    before = image.copy()

    weak, strong = (artefact(image, strength, np.random.default_rng(0)) for strength in (0.0, 1.0))

    assert np.array_equal(image, before)
    assert weak.shape == strong.shape == image.shape
    assert weak.dtype == strong.dtype == np.uint8
    changes = [np.abs(changed.astype(float) - image).mean() for changed in (weak, strong)]
    assert changes[0] < changes[1] < 40


@given(seed=st.integers(0, 2**32 - 1))
def test_erasing_takes_a_rectangle_of_the_declared_area(seed: int) -> None:
    """Of one colour, the image's mean; the rest stays."""
    random = np.random.default_rng(seed)
    image = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)

    erased = erase(image, random)

    mean = image.mean(axis=(0, 1)).round().astype(np.uint8)
    gone = (erased == mean).all(axis=2)
    assert np.array_equal(erased[~gone], image[~gone])
    assert ERASED_AREA[0] * 0.8 <= gone.mean() <= ERASED_AREA[1] * 1.1
