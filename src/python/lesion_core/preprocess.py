"""The one way from pixels to what a network sees. Training, evaluation and serving all call these functions.

The specification travels in the bundle, so a model always sees the pixels it was trained on.
"""

# N images · C=3 RGB · H, W pixels · S = input_size_px

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lesion_core.colour import crop_dark_border, shades_of_grey
from lesion_core.imaging import DEFAULT_LIMITS, DecodeLimits, decode_image
from lesion_core.preprocess_spec import SHADES_OF_GREY, PreprocessSpec
from lesion_core.quality_measures import GRID_PX


def decode_for(data: bytes, spec: PreprocessSpec, *, limits: DecodeLimits = DEFAULT_LIMITS) -> NDArray[np.uint8]:
    """Decode one image as large as the steps, and the quality gate, need it: bytes → uint8 ``(H, W, 3)``.

    Raises:
        ImageError: the bytes are not an acceptable image.
    """
    # A large JPEG is decoded at no less than twice this; a border that leaves less than half of a side is rare.
    needed_px = round(spec.input_size_px / spec.crop_fraction)
    return decode_image(data, limits=limits, shortest_side_px=max(needed_px, GRID_PX))


def resize_square(image: NDArray[np.uint8], spec: PreprocessSpec) -> NDArray[np.uint8]:
    """All steps up to the views: uint8 ``(H, W, 3)`` → uint8 ``(S, S, 3)``."""
    if spec.crop_border:
        image = crop_dark_border(image)
    height, width = image.shape[:2]
    side = max(1, round(min(height, width) * spec.crop_fraction))
    top, left = (height - side) // 2, (width - side) // 2
    square = scale_square(image[top : top + side, left : left + side], spec.input_size_px)
    return shades_of_grey(square) if spec.colour_constancy == SHADES_OF_GREY else square


def scale_square(square: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    """Scale a square: uint8 ``(P, P, 3)`` → uint8 ``(S, S, 3)``.

    Pillow and not OpenCV: on photographs its filter stays within one grey level of the exact one, where OpenCV's area
    filter is up to 30 off and little faster (``benchmarks/resize_fidelity.py``).
    """
    if square.shape[0] == side_px:
        return np.ascontiguousarray(square)
    return np.asarray(Image.fromarray(square).resize((side_px, side_px), Image.Resampling.BILINEAR))


def normalise(images: NDArray[np.uint8], spec: PreprocessSpec) -> NDArray[np.float32]:
    """Scale and shift pixels: uint8 ``(N, S, S, 3)`` in [0, 255] → float32 ``(N, 3, S, S)``, roughly in [-3, 3]."""
    values = np.empty((len(images), 3, *images.shape[1:3]), dtype=np.float32)
    # Channel by channel: six times as fast as broadcasting over a last axis of three, and equal to the last bit.
    for channel, (mean, std) in enumerate(zip(spec.mean, spec.std, strict=True)):
        np.multiply(images[..., channel], np.float32(1 / (255 * std)), out=values[:, channel])
        values[:, channel] += np.float32(-mean / std)
    return values


def load_square(data: bytes, spec: PreprocessSpec, *, limits: DecodeLimits = DEFAULT_LIMITS) -> NDArray[np.uint8]:
    """Decode and take all steps up to the views: bytes → uint8 ``(S, S, 3)``.

    Raises:
        ImageError: the bytes are not an acceptable image.
    """
    return resize_square(decode_for(data, spec, limits=limits), spec)
