"""Safe decoding: bytes → RGB pixels or a named error, nothing else.

Decoding untrusted bytes is the attack surface of the whole system, so the format is decided by content, only
listed formats reach a decoder, and limits are checked on the header before any pixel is decoded.
"""

from __future__ import annotations

import io
import warnings

import attrs
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from lesion_core.errors import ImageError

ALLOWED_FORMATS = ("JPEG", "PNG")
_SIGNATURES = {b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG"}


@attrs.frozen(kw_only=True)
class DecodeLimits:
    """What is refused before decoding. The defaults admit every dermatoscope and phone camera of today."""

    max_bytes: int = attrs.field(default=20 * 1024 * 1024, validator=attrs.validators.gt(0))
    max_pixels: int = attrs.field(default=50_000_000, validator=attrs.validators.gt(0))
    min_side_px: int = attrs.field(default=32, validator=attrs.validators.gt(0))


DEFAULT_LIMITS = DecodeLimits()


def image_format(data: bytes) -> str:
    """Format by content: ``"JPEG"`` or ``"PNG"``.

    Raises:
        ImageError: ``empty_body`` or ``unsupported_format``.
    """
    if not data:
        raise ImageError("The body is empty: send the bytes of one JPEG or PNG image.", code="empty_body")
    for signature, name in _SIGNATURES.items():
        if data.startswith(signature):
            return name
    raise ImageError(
        "These bytes are neither a JPEG nor a PNG image. Send one of these formats, unchanged.",
        code="unsupported_format",
    )


def decode_image(
    data: bytes, *, limits: DecodeLimits = DEFAULT_LIMITS, shortest_side_px: int | None = None
) -> NDArray[np.uint8]:
    """Decode one image.

    Args:
        data: the bytes of a JPEG or PNG file.
        limits: refused before decoding.
        shortest_side_px: a hint that the caller will scale the image so that its shorter side is this; a large JPEG
            is then decoded at a reduced size of at least twice that, which is several times faster.
    Returns:
        uint8 ``(H, W, 3)`` in ``[0, 255]``, RGB, upright (EXIF orientation applied), alpha on white.
    Raises:
        ImageError: for everything else, whatever the bytes.
    """
    name = image_format(data)
    if len(data) > limits.max_bytes:
        raise ImageError(
            f"The image has {len(data):,} bytes; at most {limits.max_bytes:,} are accepted.",
            code="too_many_bytes",
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=[name]) as image:
                _check_header(image, limits)
                if name == "JPEG" and shortest_side_px is not None:
                    image.draft("RGB", (2 * shortest_side_px, 2 * shortest_side_px))
                return _to_rgb(image)
    except ImageError:
        raise
    except Exception as error:  # a decoder may raise anything on hostile bytes; all of it means the same to a caller
        raise ImageError(f"The {name} image is damaged and cannot be decoded ({error}).") from error


def _check_header(image: Image.Image, limits: DecodeLimits) -> None:
    width, height = image.size
    if width * height > limits.max_pixels:
        raise ImageError(
            f"The image is {width} x {height} pixels; at most {limits.max_pixels:,} pixels are accepted.",
            code="too_many_pixels",
        )
    if min(width, height) < limits.min_side_px:
        raise ImageError(
            f"The image is {width} x {height} pixels; each side needs at least {limits.min_side_px}.",
            code="too_small",
        )
    if getattr(image, "n_frames", 1) > 1:
        raise ImageError("The image is animated; send a single still image.", code="animated")


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    upright = ImageOps.exif_transpose(image)
    if upright.mode in ("I", "I;16", "I;16B", "F"):  # 16-bit greyscale: keep the high byte
        grey = (np.asarray(upright).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
        upright = Image.fromarray(grey)
    if upright.has_transparency_data:
        rgba = upright.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        upright = Image.alpha_composite(white, rgba)
    return np.array(upright.convert("RGB"), dtype=np.uint8)
