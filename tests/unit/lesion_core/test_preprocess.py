"""The one preprocessing path."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lesion_core.colour import crop_dark_border, shades_of_grey
from lesion_core.datasets.synthetic import draw_lesion
from lesion_core.preprocess import load_square, normalise, resize_square
from lesion_core.preprocess_spec import SHADES_OF_GREY, PreprocessSpec

SPEC = PreprocessSpec(input_size_px=64)


SPECS = st.builds(
    PreprocessSpec,
    input_size_px=st.integers(16, 128),
    crop_fraction=st.floats(0.3, 1.0),
    crop_border=st.booleans(),
    colour_constancy=st.sampled_from([None, SHADES_OF_GREY]),
)


@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 255), SPECS)
@settings(deadline=None)
def test_any_image_becomes_the_declared_square(height: int, width: int, level: int, spec: PreprocessSpec) -> None:
    """Shape and type depend on the specification alone."""
    side = spec.input_size_px
    image = np.zeros((height, width, 3), np.uint8)
    image[height // 3 :, width // 3 :] = level

    square = resize_square(image, spec)

    assert square.shape == (side, side, 3)
    assert square.dtype == np.uint8


def test_the_central_square_is_kept() -> None:
    """What is left and right of it is cut."""
    image = np.zeros((64, 128, 3), np.uint8)
    image[:, 32:96] = 255

    assert resize_square(image, SPEC).min() == 255


def test_the_optional_steps_are_off_unless_asked_for() -> None:
    """So that a bundle that does not name them is read as it was trained."""
    spec = PreprocessSpec(input_size_px=64)

    assert not spec.crop_border
    assert spec.colour_constancy is None


def test_the_border_is_cut_before_the_central_square() -> None:
    """And colours are corrected on the scaled square."""
    image = np.zeros((90, 150, 3), np.uint8)
    image[:, 60:] = draw_lesion("NV", seed=1, side_px=90).clip(60)
    spec = PreprocessSpec(input_size_px=64, crop_border=True, colour_constancy=SHADES_OF_GREY)

    expected = shades_of_grey(resize_square(crop_dark_border(image), SPEC))

    np.testing.assert_array_equal(resize_square(image, spec), expected)
    assert np.abs(expected.astype(int) - resize_square(image, SPEC)).max() > 50


def test_normalise_moves_channels_first_and_scales() -> None:
    """255 becomes 1 and 0 becomes -1 at mean = std = 0.5."""
    images = np.zeros((2, 8, 8, 3), np.uint8)
    images[0, :, :, 0] = 255

    values = normalise(images, SPEC)

    assert values.shape == (2, 3, 8, 8)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values[0, 0], 1, atol=1e-6)
    np.testing.assert_allclose(values[1], -1, atol=1e-6)


def test_normalise_uses_each_channels_own_mean_and_std() -> None:
    """ImageNet's constants, against the formula written out."""
    spec = PreprocessSpec(input_size_px=16, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    image = np.full((1, 16, 16, 3), 100, np.uint8)

    expected = [(100 / 255 - m) / s for m, s in zip(spec.mean, spec.std, strict=True)]

    np.testing.assert_allclose(normalise(image, spec)[0, :, 0, 0], expected, rtol=1e-5)


def test_reduced_decoding_changes_the_pixels_little() -> None:
    """A large JPEG decoded small looks as if it was decoded whole and then scaled."""
    y, x = np.mgrid[0:900, 0:1200]
    pixels = np.stack([128 + 100 * np.sin(x / 90), 128 + 100 * np.cos(y / 70), (x + y) / 9], axis=2)
    stream = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(stream, "JPEG", quality=92)

    reduced = load_square(stream.getvalue(), SPEC).astype(float)
    whole = resize_square(np.asarray(Image.open(stream).convert("RGB")), SPEC).astype(float)

    assert np.abs(reduced - whole).mean() < 2


@pytest.mark.parametrize(
    "change",
    [
        {"input_size_px": 4},
        {"std": (0, 1, 1)},
        {"mean": (0.5, 0.5)},
        {"crop_fraction": 0},
        {"colour_constancy": "grey"},
        {"crop_border": "no"},
    ],
)
def test_a_senseless_specification_is_refused(change: dict[str, object]) -> None:
    """Values are checked when they are made."""
    with pytest.raises((ValueError, TypeError), match=next(iter(change))):
        PreprocessSpec(**{"input_size_px": 64, **change})  # type: ignore[arg-type]
