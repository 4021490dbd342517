"""The exact pixels of the preprocessing path. A change here changes what every trained bundle sees."""

from __future__ import annotations

import hashlib
import io

import attrs
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from lesion_core.preprocess import load_square, normalise
from lesion_core.preprocess_spec import SHADES_OF_GREY, PreprocessSpec

SPEC = PreprocessSpec(input_size_px=32)


def pattern(height: int, width: int) -> NDArray[np.uint8]:
    """A warm disc with rings on a pinkish ground, from whole numbers only: the same everywhere."""
    y, x = np.mgrid[:height, :width]
    rings = (2 * y - height) ** 2 + (2 * x - width) ** 2
    scale = max(height, width)
    red = 200 - rings // scale % 97
    green = 60 + (x * y) // scale % 89
    blue = 70 + (3 * x + 5 * y) % 61
    return np.stack([red, green, blue], axis=2).astype(np.uint8)


def with_bars(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.pad(image, ((12, 20), (30, 0), (0, 0)))


# Content, specification, sha256 of the square's bytes (first 16 digits) and its mean per channel, which is easier to
# read where a case fails.
CASES = {
    "square": (pattern(64, 64), SPEC),
    "same_size": (pattern(32, 32), SPEC),
    "odd": (pattern(61, 87), SPEC),
    "portrait": (pattern(120, 75), SPEC),
    "enlarged": (pattern(33, 40), attrs.evolve(SPEC, input_size_px=48)),
    "crop_fraction": (pattern(90, 90), attrs.evolve(SPEC, crop_fraction=0.7)),
    "colour_constancy": (pattern(90, 70), attrs.evolve(SPEC, colour_constancy=SHADES_OF_GREY)),
    "crop_border": (with_bars(pattern(80, 90)), attrs.evolve(SPEC, crop_border=True)),
    "all_steps": (
        with_bars(pattern(180, 170)),
        attrs.evolve(SPEC, crop_border=True, crop_fraction=0.9, colour_constancy=SHADES_OF_GREY),
    ),
}
GOLDEN = {
    "square": ("aadf25b4fc918121", (161.53, 75.32, 100.66)),
    "same_size": ("563df1bb7ac867ed", (178.94, 67.06, 100.12)),
    "odd": ("a1f83344d51ed1a8", (172.0, 74.36, 100.0)),
    "portrait": ("c70202b95b02beeb", (169.14, 77.72, 99.99)),
    "enlarged": ("43ef22145966dbc6", (182.32, 67.15, 100.36)),
    "crop_fraction": ("c72b586991869884", (171.07, 81.02, 100.02)),
    "colour_constancy": ("46cf0fb0ff3be11c", (120.28, 115.68, 120.59)),
    "crop_border": ("2b464154b8d4b106", (161.2, 79.05, 100.0)),
    "all_steps": ("7742cc5a4459e24b", (121.48, 112.11, 126.0)),
}
CORNER = (0.8789279460906982, -0.9852942228317261, -0.4798257350921631)


def png(image: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize("name", CASES)
def test_the_path_gives_the_pixels_that_it_always_gave(name: str) -> None:
    """From bytes to the square, to the last bit."""
    image, spec = CASES[name]

    square = load_square(png(image), spec)

    digest, means = GOLDEN[name]
    np.testing.assert_allclose(square.mean(axis=(0, 1)), means, atol=0.005)
    assert hashlib.sha256(square.tobytes()).hexdigest()[:16] == digest


def test_the_last_step_gives_the_numbers_that_it_always_gave() -> None:
    """Within one rounding of float32."""
    spec = attrs.evolve(SPEC, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    corner = normalise(load_square(png(pattern(64, 64)), spec)[None], spec)[0, :, 0, 0]

    np.testing.assert_allclose(corner, CORNER, rtol=1e-6)


def test_a_batch_is_made_of_its_images() -> None:
    """N at once are N batches of one."""
    squares = np.stack([load_square(png(image), SPEC) for image, spec in CASES.values()])

    single = np.concatenate([normalise(square[None], SPEC) for square in squares])

    np.testing.assert_array_equal(normalise(squares, SPEC), single)
