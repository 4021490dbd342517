"""Safe decoding: bytes → RGB pixels or a named error, nothing else.

Decoding untrusted bytes is the attack surface of the whole system, so the format is decided by content, only
listed formats reach a decoder, limits are checked on the header before any pixel is decoded, and a decoder sees
nothing of a file but what pixels need.
"""

from __future__ import annotations

import io
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import attrs
import numpy as np
from numpy.typing import NDArray
from PIL import BmpImagePlugin, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin
from PIL.ImageFile import ImageFile

from lesion_core.errors import ImageError
from lesion_core.imaging.header import ImageHeader
from lesion_core.imaging.jpeg import read_jpeg
from lesion_core.imaging.raster import PNG_SIGNATURE, is_bmp, read_bmp, read_png, read_webp
from lesion_core.imaging.rgb import to_rgb
from lesion_core.imaging.tiff import read_tiff

ALLOWED_FORMATS = ("JPEG", "PNG", "TIFF", "WebP", "BMP", "DICOM")
FILE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp", ".dcm")
"""How such files are usually named. What a file is, is decided by its content."""
MEDIA_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "JPEG": "image/jpeg",
        "PNG": "image/png",
        "TIFF": "image/tiff",
        "WebP": "image/webp",
        "BMP": "image/bmp",
        "DICOM": "application/dicom",
    }
)
"""Content types by format."""

_LISTED = f"{', '.join(ALLOWED_FORMATS[:-1])} or {ALLOWED_FORMATS[-1]}"
# A reduced JPEG keeps at least this multiple of the wanted size, so that scaling it down still smooths. With 2,
# probabilities changed by a quarter more on average, for a tenth less time (benchmarks/decoding_speed.py).
_REDUCED_MARGIN = 3


@attrs.frozen(kw_only=True)
class DecodeLimits:
    """What is refused before decoding. The defaults admit every dermatoscope and phone camera of today.

    Other files than plain JPEG have lower ceilings of pixels, which ``max_pixels`` cannot raise; their modules say why.
    """

    max_bytes: int = attrs.field(default=20 * 1024 * 1024, validator=attrs.validators.gt(0))
    max_pixels: int = attrs.field(default=50_000_000, validator=attrs.validators.gt(0))
    min_side_px: int = attrs.field(default=32, validator=attrs.validators.gt(0))


DEFAULT_LIMITS = DecodeLimits()

_READERS: dict[str, Callable[[bytes], ImageHeader]] = {
    "JPEG": read_jpeg,
    "PNG": read_png,
    "TIFF": read_tiff,
    "WebP": read_webp,
    "BMP": read_bmp,
}
_PLUGINS: dict[str, Callable[[io.BytesIO], ImageFile]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
}


def image_format(data: bytes) -> str:
    """Format by content: one of ``ALLOWED_FORMATS``.

    Raises:
        ImageError: ``empty_body`` or ``unsupported_format``.
    """
    if not data:
        raise ImageError(f"The image has no bytes: give one {_LISTED} image.", code="empty_body")
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(PNG_SIGNATURE):
        return "PNG"
    if data[128:132] == b"DICM":  # before TIFF, whose header the first bytes of a DICOM file may be
        return "DICOM"
    if data.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "TIFF"
    if data.startswith(b"RIFF") and data[8:15] == b"WEBPVP8":
        return "WebP"
    if is_bmp(data):
        return "BMP"
    raise ImageError(
        f"These bytes are no {_LISTED} image. Send one of these formats, unchanged.", code="unsupported_format"
    )


def read_image_file(path: Path, *, limits: DecodeLimits = DEFAULT_LIMITS) -> bytes:
    """The bytes of an image file, for ``decode_image``; one that is too large is not read.

    Raises:
        ImageError: ``too_many_bytes``; ``unsupported_format``: it is a pipe or a device, which may never end.
        OSError: it cannot be read.
    """
    about = path.stat()
    if not stat.S_ISREG(about.st_mode):
        raise ImageError(f"This is no file with an image: give one {_LISTED} file.", code="unsupported_format")
    _require_size(about.st_size, limits)
    return path.read_bytes()


def _require_size(size_bytes: int, limits: DecodeLimits) -> None:
    if size_bytes > limits.max_bytes:
        raise ImageError(
            f"The image has {size_bytes:,} bytes; at most {limits.max_bytes:,} are accepted.", code="too_many_bytes"
        )


def decode_image(
    data: bytes, *, limits: DecodeLimits = DEFAULT_LIMITS, shortest_side_px: int | None = None
) -> NDArray[np.uint8]:
    """Decode one image.

    Args:
        data: the bytes of a JPEG, PNG, TIFF, WebP, BMP or DICOM file; see ``dicom_pixels`` for which kinds of DICOM.
        limits: refused before decoding.
        shortest_side_px: a hint that the caller will scale the image so that its shorter side is this; a large JPEG
            is then decoded at a reduced size of at least three times that, which is several times faster.
    Returns:
        uint8 ``(H, W, 3)`` in ``[0, 255]``, sRGB (an ICC profile is applied), upright (EXIF orientation applied),
        alpha on white.
    Raises:
        ImageError: for everything else, whatever the bytes.
    """
    name = image_format(data)
    _require_size(len(data), limits)
    try:
        if name == "DICOM":
            # Loads pydicom, which programs that never meet a DICOM file need not pay for.
            from lesion_core.imaging.dicom_pixels import decode_dicom

            return decode_dicom(data, limits=limits, shortest_side_px=shortest_side_px)
        return decode_file(_READERS[name](data), limits=limits, shortest_side_px=shortest_side_px)
    except ImageError:
        raise
    except Exception as error:  # a decoder may raise anything on hostile bytes; all of it means the same to a caller
        raise ImageError(f"The {name} image is damaged and cannot be decoded ({error}).") from error


def decode_file(header: ImageHeader, *, limits: DecodeLimits, shortest_side_px: int | None = None) -> NDArray[np.uint8]:
    """Decode a file whose header was read; as ``decode_image``, but a decoder's own exceptions come through."""
    check_size(header.width_px, header.height_px, limits, ceiling=header.max_pixels)
    with _PLUGINS[header.format](io.BytesIO(header.essence)) as image:
        if image.size != (header.width_px, header.height_px):
            raise ImageError("The image states two different sizes.")
        if isinstance(image, JpegImagePlugin.JpegImageFile) and shortest_side_px is not None:
            needed_px = _REDUCED_MARGIN * shortest_side_px
            image.draft(None, (needed_px, needed_px))
        image.load()
        if header.format == "BMP" and image.mode == "RGBA" and not image.getchannel("A").getbbox():
            image.putalpha(255)  # a byte that was left empty is no transparency; browsers show such a bitmap
        return to_rgb(
            image,
            icc_profile=header.icc_profile,
            orientation=header.orientation,
            is_plain_cmyk=header.is_plain_cmyk,
            deep_bits=header.deep_bits,
            is_deep_negative=header.is_deep_negative,
        )


def check_size(width_px: int, height_px: int, limits: DecodeLimits, *, ceiling: int | None = None) -> None:
    """Refuse an image by its size.

    Raises:
        ImageError: ``too_many_pixels``, ``too_small``.
    """
    most = min(limits.max_pixels, ceiling or limits.max_pixels)
    if width_px * height_px > most:
        raise ImageError(
            f"The image is {width_px} x {height_px} pixels; at most {most:,} pixels are accepted"
            f"{' in this format' if most < limits.max_pixels else ''}.",
            code="too_many_pixels",
        )
    if min(width_px, height_px) < limits.min_side_px:
        raise ImageError(
            f"The image is {width_px} x {height_px} pixels; each side needs at least {limits.min_side_px}.",
            code="too_small",
        )
