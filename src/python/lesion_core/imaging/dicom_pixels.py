"""Pixels of DICOM photographs: compressed frames and kinds of colour; greyscale and palettes: ``dicom_rendering``.

Compressed frames go through the same decoders and limits as files of their own. Those of greyscale and palettes give
samples and not a picture: how the samples look, the file says.
"""

# H, W pixels · samples: unsigned or signed, 8 or 16 bits, as stored

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from numpy.typing import NDArray
from PIL import Image, Jpeg2KImagePlugin, JpegImagePlugin

from lesion_core.errors import ImageError
from lesion_core.imaging.decode import DEFAULT_LIMITS, DecodeLimits, check_size, decode_file
from lesion_core.imaging.dicom import (
    ICC_PROFILE,
    JPEG,
    JPEG_2000,
    PIXEL_DATA,
    RLE,
    PixelLayout,
    first_frame,
    layout_of,
    read_dicom,
    silence_pydicom,
    value_of,
)
from lesion_core.imaging.dicom_rendering import RENDERING_TAGS, render
from lesion_core.imaging.header import ImageHeader, acceptable_profile, unsupported
from lesion_core.imaging.jpeg import read_jpeg
from lesion_core.imaging.rgb import array_to_srgb, to_rgb

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

# Ceilings that keep any file under 2 s and 500 MB (tests/faults measures it). JPEG 2000 takes 0.25 s for each megabyte.
MAX_PIXELS = 25_000_000
MAX_PIXELS_JPEG_2000 = 8_500_000
MAX_BYTES_JPEG_2000 = 3 * 2**20
_MAX_TILES_JPEG_2000 = 4096
_MAX_MARKERS_JPEG_2000, _COD = 1000, 0xFF52

# SOP class, image pixel module.
_TAGS = (0x00080016, *range(0x00280002, 0x00280012), *range(0x00280100, 0x00280107))


def decode_dicom(
    data: bytes, *, limits: DecodeLimits = DEFAULT_LIMITS, shortest_side_px: int | None = None
) -> NDArray[np.uint8]:
    """Decode a DICOM file with one photograph; ``decode_image`` calls it.

    Native (little and big endian, deflated), RLE, JPEG (8 bits) and JPEG 2000. Greyscale goes through the rescaling and
    the window that the file states, whatever the compression; an ICC profile of the file is applied.

    Returns:
        uint8 ``(H, W, 3)``, sRGB.
    Raises:
        ImageError: ``unsupported_encoding`` (class, transfer syntax, kind of samples), ``several_images``, and those of
            ``decode_image``. Damaged files raise other exceptions too, which ``decode_image`` names.
    """
    silence_pydicom()
    dataset = read_dicom(data, only=[*_TAGS, *RENDERING_TAGS, ICC_PROFILE, PIXEL_DATA])
    layout = layout_of(dataset)
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    ceiling = MAX_PIXELS_JPEG_2000 if syntax in JPEG_2000 else MAX_PIXELS
    check_size(layout.width_px, layout.height_px, limits, ceiling=None if syntax in JPEG else ceiling)
    profile = acceptable_profile(value_of(dataset, ICC_PROFILE))
    if syntax in JPEG:
        header = read_jpeg(first_frame(dataset), is_rgb=layout.photometric == "RGB")
        _require_same_size(header.width_px, header.height_px, layout)
        if layout.samples == 3:
            header = attrs.evolve(header, icc_profile=profile or header.icc_profile, orientation=1)
            return decode_file(header, limits=limits, shortest_side_px=shortest_side_px)
        samples = _jpeg_samples(header, layout, limits)
    elif syntax in JPEG_2000:
        frame = first_frame(dataset)
        samples = _jpeg_2000_samples(frame, layout)
        if layout.samples == 3 and _has_colour_transform(frame):
            layout = attrs.evolve(layout, photometric="RGB")
    elif syntax == RLE:
        samples = rle_samples(first_frame(dataset), layout)
    else:
        samples = _native_samples(dataset, layout, syntax)
    pixels = _colours(samples, layout) if layout.samples == 3 else render(samples, layout, dataset)
    return array_to_srgb(pixels, profile)


def _require_same_size(width_px: int, height_px: int, layout: PixelLayout) -> None:
    if (width_px, height_px) != (layout.width_px, layout.height_px):
        raise ImageError(
            f"The DICOM file says {layout.width_px} x {layout.height_px} pixels, its frame {width_px} x {height_px}."
        )


def _native_samples(dataset: Dataset, layout: PixelLayout, syntax: str) -> NDArray[Any]:
    """Uncompressed samples: ``(H, W)`` or ``(H, W, 3)``."""
    from pydicom.pixels import get_decoder

    if layout.photometric == "YBR_FULL_422" and value_of(dataset, 0x00280006):
        raise unsupported(
            "This DICOM file says that it stores YBR_FULL_422 plane by plane, which the standard rules out (PS3.3, "
            "section C.7.6.3.1.3). Correct its Planar Configuration to 0, or convert it to RGB."
        )
    return get_decoder(syntax).as_array(dataset, index=0, raw=True)[0]


def rle_samples(frame: bytes, layout: PixelLayout) -> NDArray[Any]:
    """Samples of a run-length coded frame: one segment for each byte of each sample (DICOM PS3.5, annex G).

    The coding is PackBits. Pillow's decoder stops where the image is full, so a segment cannot grow beyond it.
    """
    planes_bytes = layout.bits_allocated // 8
    count, *offsets = struct.unpack_from("<16I", frame)
    if count != layout.samples * planes_bytes:
        raise ImageError(f"The run-length coded frame has {count} segments; its samples need another number.")
    size = layout.width_px * layout.height_px
    samples = np.empty((size, layout.samples), np.uint16 if planes_bytes == 2 else np.uint8)
    for sample in range(layout.samples):
        total = None
        for index in range(sample * planes_bytes, (sample + 1) * planes_bytes):  # from the highest byte on
            end = offsets[index + 1] if index + 1 < count else len(frame)
            plane = np.asarray(Image.frombytes("L", (size, 1), frame[offsets[index] : end], "packbits", "L"))[0]
            total = plane if total is None else total.astype(np.uint16) << 8 | plane
        samples[:, sample] = total
    image = samples.reshape(layout.height_px, layout.width_px, layout.samples)
    return image[..., 0] if layout.samples == 1 else image


def _jpeg_samples(header: ImageHeader, layout: PixelLayout, limits: DecodeLimits) -> NDArray[Any]:
    """Samples ``(H, W)`` of a JPEG of one component, which are no picture before the file's window or palette."""
    check_size(header.width_px, header.height_px, limits, ceiling=header.max_pixels)
    with JpegImagePlugin.JpegImageFile(io.BytesIO(header.essence)) as image:
        if image.mode != "L" or layout.bits_stored != 8:
            raise ImageError("The JPEG frame is not laid out as the DICOM file says.")
        image.load()
        return np.asarray(image)


def _jpeg_2000_samples(frame: bytes, layout: PixelLayout) -> NDArray[Any]:
    """Samples ``(H, W)`` or ``(H, W, 3)`` of a codestream, checked by its own header (ISO 15444-1, SIZ) first."""
    if len(frame) > MAX_BYTES_JPEG_2000:
        raise ImageError(
            f"The JPEG 2000 frame has {len(frame):,} bytes; at most {MAX_BYTES_JPEG_2000:,} are accepted, because "
            "decoding is slow. Convert the file to JPEG or to Explicit VR Little Endian.",
            code="too_many_bytes",
        )
    if not frame.startswith(b"\xff\x4f\xff\x51"):
        raise ImageError("The frame of the DICOM file is no JPEG 2000 codestream.")
    width, height, left, top, tile_width, tile_height = struct.unpack_from(">6I", frame, 8)
    _require_same_size(width - left, height - top, layout)
    if (width // tile_width + 1) * (height // tile_height + 1) > _MAX_TILES_JPEG_2000:
        raise ImageError("The JPEG 2000 frame has more tiles than any camera writes.")
    components, depth = struct.unpack_from(">HB", frame, 40)
    bits, is_signed = (depth & 0x7F) + 1, depth >= 0x80
    if (left, top) != (0, 0) or (components, bits) != (layout.samples, layout.bits_stored):
        raise ImageError("The JPEG 2000 frame is not laid out as the DICOM file says.")
    if components == 3 and bits != 8:  # Pillow's decoder rounds the brightest of them up to black
        raise unsupported(
            f"This DICOM file holds colours of {bits} bits as JPEG 2000. Convert it to Explicit VR Little Endian, for "
            "example with 'gdcmconv --raw'."
        )
    with Jpeg2KImagePlugin.Jpeg2KImageFile(io.BytesIO(frame)) as image:
        image.load()
        samples: NDArray[Any] = np.asarray(image)
    if components == 1:  # Pillow spreads them over 8 or 16 bits, and moves signed ones so that none is negative
        samples = samples >> (8 * samples.itemsize - bits) ^ (2 ** (bits - 1) if is_signed else 0)
    return samples


def _has_colour_transform(codestream: bytes) -> bool:
    """Whether a decoder of JPEG 2000 gives red, green and blue by itself (ISO 15444-1, COD marker)."""
    position = 2
    for _ in range(_MAX_MARKERS_JPEG_2000):
        marker, length = struct.unpack_from(">HH", codestream, position)
        if marker == _COD:
            return codestream[position + 8] != 0
        position += 2 + length
    raise ImageError("The JPEG 2000 frame does not say how it is coded.")


def _colours(samples: NDArray[Any], layout: PixelLayout) -> NDArray[np.uint8]:
    """From stored samples ``(H, W, 3)`` to RGB."""
    if samples.itemsize == 2:
        samples = (samples >> (layout.bits_stored - 8)).astype(np.uint8)
    samples = np.ascontiguousarray(samples)
    if layout.photometric not in ("YBR_FULL", "YBR_FULL_422"):  # the others are RGB, or decoders make it of them
        return samples
    return to_rgb(Image.frombuffer("YCbCr", (layout.width_px, layout.height_px), samples))
