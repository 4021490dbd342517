"""From what a decoder gives to upright sRGB pixels: colour modes, ICC profiles, transparency, orientation."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageCms

from lesion_core.errors import ImageError
from lesion_core.imaging.header import unsupported

_Convert = Callable[[Image.Image], Image.Image]

# Images go through in bands, so that no copy of a whole image is made on the way; about 1 MB stays in the cache.
_BAND_PIXELS = 2**17
_MODES = frozenset(
    {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBX", "RGBA", "RGBa", "CMYK", "YCbCr", "I;16", "I;16B", "I;16N"}
)
_GREY_MODES = frozenset({"1", "L", "LA", "La", "I;16", "I;16B", "I;16N"})
# Colour conversion is the slowest step; these ceilings keep it under 2 s. Smaller: inks.
_MAX_CONVERTED_PIXELS = 40_000_000
_MAX_CONVERTED_PIXELS_CMYK = 16_000_000
_SAMPLED_LEVELS = (0, 64, 128, 192, 255)


def to_rgb(
    image: Image.Image,
    *,
    icc_profile: bytes | None = None,
    orientation: int = 1,
    is_plain_cmyk: bool = False,
    deep_bits: int = 16,
    is_deep_negative: bool = False,
) -> NDArray[np.uint8]:
    """Pixels of a decoded image.

    Args:
        image: of any mode that a photograph has; it is emptied on the way, to save memory.
        icc_profile: of its colours, converted to sRGB with perceptual intent; one that is damaged or does not fit is
            ignored, as by browsers.
        orientation: EXIF's, 1 to 8, undone here.
        is_plain_cmyk: four inks that the decoder inverted though they were not.
        deep_bits: bits that the samples of a greyscale image of more than 8 bits have; the highest 8 are taken.
        is_deep_negative: 0 is white in such an image.
    Returns:
        uint8 ``(H, W, 3)``, sRGB, transparency on white.
    Raises:
        ImageError: ``unsupported_encoding`` for samples that are no colours (floats, 32 bits, Lab);
            ``too_many_pixels`` to convert.
    """
    if image.mode not in _MODES:
        raise unsupported(f"The image has pixels of the kind {image.mode!r}. Save it as 8-bit RGB.")
    convert = _srgb_conversion(icc_profile, image.mode)
    width, height = image.size
    most = _MAX_CONVERTED_PIXELS_CMYK if image.mode == "CMYK" else _MAX_CONVERTED_PIXELS
    if convert is not None and width * height > most:
        raise ImageError(
            f"The image is {width} x {height} pixels in colours other than sRGB; at most {most:,} are converted. "
            "Save it as sRGB.",
            code="too_many_pixels",
        )
    pixels = np.empty((height, width, 3), np.uint8)
    rows = max(1, _BAND_PIXELS // width)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        band = image.crop((0, top, width, bottom))
        if is_plain_cmyk:
            band = ImageChops.invert(band)
        if band.mode.startswith("I;16"):
            grey = (np.asarray(band) >> (deep_bits - 8)).astype(np.uint8)
            band = Image.fromarray(255 - grey if is_deep_negative else grey)
        band = _rgb_band(band, convert)
        pixels[top:bottom] = np.frombuffer(band.tobytes(), np.uint8).reshape(bottom - top, width, 3)
    image.close()
    return upright(pixels, orientation)


def array_to_srgb(pixels: NDArray[np.uint8], icc_profile: bytes | None) -> NDArray[np.uint8]:
    """Convert uint8 ``(H, W, 3)`` from the colours of a profile to sRGB."""
    if is_srgb(icc_profile):
        return pixels
    return to_rgb(Image.fromarray(pixels), icc_profile=icc_profile)


def is_srgb(icc_profile: bytes | None) -> bool:
    """Whether colours of a profile need no conversion: there is none, it is sRGB's, or it cannot be used."""
    return _srgb_conversion(icc_profile, "RGB") is None


def upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Undo EXIF's orientation, 1 to 8, of ``(H, W, 3)``."""
    if orientation >= 5:  # rows and columns are exchanged
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _rgb_band(band: Image.Image, convert: _Convert | None) -> Image.Image:
    alpha = None
    if band.has_transparency_data:
        band = band.convert("RGBA")
        alpha = band.getchannel("A")
    if convert is not None:
        band = convert(band)
    elif band.mode != "RGB":
        band = band.convert("RGB")
    if alpha is not None:
        band = Image.composite(band, Image.new("RGB", band.size, "white"), alpha)
    return band


def _srgb_conversion(icc_profile: bytes | None, mode: str) -> _Convert | None:
    """How a band gets to sRGB; ``None`` without a profile, with one that does not fit, and with sRGB itself."""
    if not icc_profile:
        return None
    space = "CMYK" if mode == "CMYK" else "L" if mode in _GREY_MODES else "RGB"
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc_profile))
        transform = ImageCms.buildTransform(
            profile, ImageCms.createProfile("sRGB"), space, "RGB", ImageCms.Intent.PERCEPTUAL
        )
        if space == "RGB" and _changes_nothing(transform):
            return None
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):  # hostile bytes; the colours are usable without
        return None

    def convert(band: Image.Image) -> Image.Image:
        converted = ImageCms.applyTransform(band if band.mode == space else band.convert(space), transform)
        assert converted is not None  # only with inPlace
        return converted

    return convert


def _changes_nothing(transform: ImageCms.ImageCmsTransform) -> bool:
    """Whether a transform moves no colour of a coarse grid by more than one level: most profiles are sRGB's."""
    grid = np.stack(np.meshgrid(*[_SAMPLED_LEVELS] * 3), axis=-1).astype(np.uint8).reshape(1, -1, 3)
    moved = ImageCms.applyTransform(Image.fromarray(grid), transform)
    return moved is not None and int(np.abs(np.asarray(moved).astype(int) - grid).max()) <= 1
