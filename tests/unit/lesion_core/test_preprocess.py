"""The one preprocessing path."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lesion_core.preprocess import PreprocessSpec, load_square, normalise, resize_square

SPEC = PreprocessSpec(input_size_px=64)


@given(st.integers(1, 300), st.integers(1, 300), st.integers(16, 128), st.floats(0.3, 1.0))
def test_any_image_becomes_the_declared_square(height: int, width: int, side: int, crop: float) -> None:
    """Shape and type depend on the specification alone."""
    spec = PreprocessSpec(input_size_px=side, crop_fraction=crop)

    square = resize_square(np.zeros((height, width, 3), np.uint8), spec)

    assert square.shape == (side, side, 3)
    assert square.dtype == np.uint8


def test_the_central_square_is_kept() -> None:
    """What is left and right of it is cut."""
    image = np.zeros((64, 128, 3), np.uint8)
    image[:, 32:96] = 255

    assert resize_square(image, SPEC).min() == 255


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
    "change", [{"input_size_px": 4}, {"std": (0, 1, 1)}, {"mean": (0.5, 0.5)}, {"crop_fraction": 0}]
)
def test_a_senseless_specification_is_refused(change: dict[str, object]) -> None:
    """Values are checked when they are made."""
    with pytest.raises(ValueError, match=next(iter(change))):
        PreprocessSpec(**{"input_size_px": 64, **change})  # type: ignore[arg-type]
