"""Colour constancy and the black surround."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from lesion_core.colour import crop_dark_border, shades_of_grey
from lesion_core.datasets.synthetic import draw_lesion

Image = NDArray[np.uint8]
LESION = draw_lesion("BCC", seed=3)
IMAGES = arrays(np.uint8, st.tuples(st.integers(1, 24), st.integers(1, 24), st.just(3)))


def light_of(image: Image, p: float = 6) -> NDArray[np.float64]:
    return np.asarray(((image / 255) ** p).mean(axis=(0, 1)) ** (1 / p))


@given(IMAGES, st.floats(1, 12))
@settings(deadline=None)
def test_colour_constancy_keeps_shape_and_type(image: Image, p: float) -> None:
    """For any content, black channels included."""
    changed = shades_of_grey(image, p=p)

    assert changed.shape == image.shape
    assert changed.dtype == np.uint8


@given(arrays(np.uint8, st.tuples(st.integers(1, 24), st.integers(1, 24))))
def test_a_grey_image_is_left_alone(grey: NDArray[np.uint8]) -> None:
    """White light is no cast."""
    image = np.repeat(grey[..., None], 3, axis=2)

    np.testing.assert_array_equal(shades_of_grey(image), image)


@given(st.tuples(*[st.floats(0.5, 1.0)] * 3), st.integers(0, 50))
@settings(max_examples=30, deadline=None)
def test_the_colour_of_the_light_does_not_matter(light: tuple[float, float, float], seed: int) -> None:
    """The same lesion under two lights has the same hues, up to rounding: channel ratios of the estimated light."""
    image = draw_lesion("NV", seed=seed, side_px=64) // 2
    lit = (image * np.array(light)).round().astype(np.uint8)

    plain, corrected = shades_of_grey(image).astype(float), shades_of_grey(lit).astype(float)

    brightness = plain.sum() / corrected.sum()
    assert np.abs(plain - brightness * corrected).max() < 6  # each channel was rounded twice, and then enlarged
    np.testing.assert_allclose(
        light_of(corrected.astype(np.uint8)), light_of(corrected.astype(np.uint8)).mean(), rtol=0.02
    )


def test_colour_constancy_is_the_formula_written_out() -> None:
    """Finlayson and Trezzi's norm with p = 6, pixel by pixel."""
    light = light_of(LESION)
    expected = LESION * np.sqrt((light**2).mean()) / light

    assert np.abs(shades_of_grey(LESION) - expected.clip(0, 255)).max() <= 0.5 + 1e-9


def test_a_norm_below_one_is_refused() -> None:
    """It would be none."""
    with pytest.raises(ValueError, match="at least 1"):
        shades_of_grey(LESION, p=0.5)


@given(IMAGES)
@settings(deadline=None)
def test_a_crop_is_a_part_and_not_too_small(image: Image) -> None:
    """At least a third of each side, never empty."""
    crop = crop_dark_border(image)

    assert all(after >= before / 3 and after > 0 for after, before in zip(crop.shape[:2], image.shape[:2], strict=True))
    assert np.shares_memory(crop, image)


BAR_PX = st.just(0) | st.integers(4, 60)


@given(st.integers(0, 100), BAR_PX, BAR_PX)
@settings(max_examples=30, deadline=None)
def test_black_bars_are_cut(seed: int, top: int, left: int) -> None:
    """And at most four rows or columns of the lesion with them."""
    lesion = draw_lesion("NV", seed=seed, side_px=90).clip(60)
    image = np.zeros((90 + top, 90 + left, 3), np.uint8)
    image[top:, left:] = lesion

    crop = crop_dark_border(image)

    assert all(86 <= side <= 90 for side in crop.shape[:2])
    assert crop.min() > 0


@pytest.mark.parametrize(
    ("height", "width", "radius"), [(450, 600, 225), (450, 600, 300), (300, 300, 120), (1000, 700, 250)]
)
def test_what_is_left_of_a_round_field_lies_inside_it(height: int, width: int, radius: int) -> None:
    """And is most of the largest rectangle there."""
    y, x = np.mgrid[:height, :width]
    inside = np.hypot(y - height / 2, x - width / 2) < radius
    image = np.where(inside[..., None], 180, 4).astype(np.uint8).repeat(3, axis=2)

    crop = crop_dark_border(image)

    assert (crop > 100).mean() > 0.99
    half_height = min(radius / np.sqrt(2), height / 2)
    half_width = min(np.sqrt(radius**2 - half_height**2), width / 2)
    assert crop.shape[0] * crop.shape[1] > 0.9 * 4 * half_height * half_width


@pytest.mark.parametrize("code", ["MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC"])
def test_an_image_without_a_surround_is_left_whole(code: str) -> None:
    """Whatever the lesion."""
    image = draw_lesion(code, seed=5)

    assert crop_dark_border(image) is image


def test_a_strip_is_left_whole() -> None:
    """Looking for the ends of a long one would take many seconds."""
    strip = np.zeros((50, 801, 3), np.uint8)
    strip[:, 200:600] = 255

    assert crop_dark_border(strip) is strip
    assert crop_dark_border(strip[:, :800]).shape[1] < 800


def test_a_black_lesion_at_the_frame_is_not_cut() -> None:
    """A surround reaches two corners."""
    image = LESION.clip(60)
    image[:, :50] = np.where(np.arange(150)[:, None, None] < 120, 10, image[:, :50])

    assert crop_dark_border(image) is image


@pytest.mark.parametrize("radius", [0, 10])
def test_a_field_too_small_to_be_one_is_not_searched_for(radius: int) -> None:
    """A black image stays as it is."""
    y, x = np.mgrid[:150, :150]
    image = np.where((np.hypot(y - 75, x - 75) < radius)[..., None], 180, 0).astype(np.uint8).repeat(3, axis=2)

    assert crop_dark_border(image) is image
