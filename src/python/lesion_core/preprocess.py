"""The one way from pixels to what a network sees. Training, evaluation and serving all call these functions.

The specification travels in the bundle, so a model always sees the pixels it was trained on.
"""

# N images · C=3 RGB · H, W pixels · S = input_size_px

from __future__ import annotations

from collections.abc import Iterable

import attrs
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lesion_core.imaging import DEFAULT_LIMITS, DecodeLimits, decode_image

_Triple = tuple[float, float, float]


def _triple(values: Iterable[float]) -> _Triple:
    return tuple(values)  # type: ignore[return-value]  # the validator counts them


def _three_positive(instance: object, attribute: attrs.Attribute[_Triple], value: _Triple) -> None:
    if len(value) != 3 or not all(0 < v <= 1 for v in value):
        raise ValueError(f"{attribute.name} needs three values in (0, 1], got {value!r}")


@attrs.frozen(kw_only=True)
class PreprocessSpec:
    """How pixels become a network's input.

    ``mean`` and ``std`` are per RGB channel on the scale [0, 1]. The image's central square is scaled (antialiased
    bilinear) to ``input_size_px``; ``crop_fraction`` < 1 takes a smaller central square.
    """

    input_size_px: int = attrs.field(validator=[attrs.validators.ge(16), attrs.validators.le(2048)])
    mean: _Triple = attrs.field(default=(0.5, 0.5, 0.5), converter=_triple, validator=_three_positive)
    std: _Triple = attrs.field(default=(0.5, 0.5, 0.5), converter=_triple, validator=_three_positive)
    crop_fraction: float = attrs.field(default=1.0, validator=[attrs.validators.gt(0), attrs.validators.le(1)])


def resize_square(image: NDArray[np.uint8], spec: PreprocessSpec) -> NDArray[np.uint8]:
    """Cut the central square and scale it: uint8 ``(H, W, 3)`` → uint8 ``(S, S, 3)``."""
    height, width = image.shape[:2]
    side = max(1, round(min(height, width) * spec.crop_fraction))
    top, left = (height - side) // 2, (width - side) // 2
    square = image[top : top + side, left : left + side]
    if side == spec.input_size_px:
        return np.ascontiguousarray(square)
    size = (spec.input_size_px, spec.input_size_px)
    return np.asarray(Image.fromarray(square).resize(size, Image.Resampling.BILINEAR))


def normalise(images: NDArray[np.uint8], spec: PreprocessSpec) -> NDArray[np.float32]:
    """Scale and shift pixels: uint8 ``(N, S, S, 3)`` in [0, 255] → float32 ``(N, 3, S, S)``, roughly in [-3, 3]."""
    scale = np.asarray([1 / (255 * s) for s in spec.std], dtype=np.float32)
    shift = np.asarray([-m / s for m, s in zip(spec.mean, spec.std, strict=True)], dtype=np.float32)
    values = images.astype(np.float32) * scale + shift
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2))


def load_square(data: bytes, spec: PreprocessSpec, *, limits: DecodeLimits = DEFAULT_LIMITS) -> NDArray[np.uint8]:
    """Decode and scale one image: bytes → uint8 ``(S, S, 3)``.

    Raises:
        ImageError: the bytes are not an acceptable image.
    """
    shortest_px = round(spec.input_size_px / spec.crop_fraction)
    return resize_square(decode_image(data, limits=limits, shortest_side_px=shortest_px), spec)
