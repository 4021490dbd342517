"""Pixels of DICOM photographs: compressed frames, kinds of colour, palettes, windows.

Compressed frames go through the same decoders and limits as files of their own.
"""

# H, W pixels · samples: unsigned or signed, 8 or 16 bits, as stored

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from numpy.typing import NDArray
from PIL import Image, Jpeg2KImagePlugin

from lesion_core.errors import ImageError
from lesion_core.imaging.decode import DEFAULT_LIMITS, DecodeLimits, check_size, decode_file
from lesion_core.imaging.dicom import (
    ICC_PROFILE,
    JPEG,
    JPEG_2000,
    PALETTES,
    PIXEL_DATA,
    RLE,
    PixelLayout,
    first_frame,
    layout_of,
    quiet_pydicom,
    read_dicom,
    value_of,
)
from lesion_core.imaging.header import acceptable_profile, unsupported
from lesion_core.imaging.jpeg import read_jpeg
from lesion_core.imaging.rgb import array_to_srgb, to_rgb

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

# Ceilings that keep any file under 2 s and 500 MB (tests/faults measures it). JPEG 2000 takes 0.25 s for each megabyte.
MAX_PIXELS = 25_000_000
MAX_PIXELS_JPEG_2000 = 8_500_000
MAX_BYTES_JPEG_2000 = 3 * 2**20
_MAX_TILES_JPEG_2000 = 4096

# SOP class, image pixel module, rescaling and window.
_TAGS = [0x00080016, *range(0x00280002, 0x00280012), *range(0x00280100, 0x00280107), *range(0x00281050, 0x00281054)]


def decode_dicom(
    data: bytes, *, limits: DecodeLimits = DEFAULT_LIMITS, shortest_side_px: int | None = None
) -> NDArray[np.uint8]:
    """Decode a DICOM file with one photograph; ``decode_image`` calls it.

    Native (little and big endian, deflated), RLE, JPEG (8 bits) and JPEG 2000. Greyscale goes through the rescaling and
    the window that the file states; an ICC profile of the file is applied.

    Returns:
        uint8 ``(H, W, 3)``, sRGB.
    Raises:
        ImageError: ``unsupported_encoding`` (class, transfer syntax, kind of samples), ``several_images``, and those of
            ``decode_image``. Damaged files raise other exceptions too, which ``decode_image`` names.
    """
    with quiet_pydicom():
        dataset = read_dicom(data, only=[*_TAGS, *PALETTES, ICC_PROFILE, PIXEL_DATA])
        layout = layout_of(dataset)
        syntax = str(dataset.file_meta.TransferSyntaxUID)
        ceiling = MAX_PIXELS_JPEG_2000 if syntax in JPEG_2000 else MAX_PIXELS
        check_size(layout.width_px, layout.height_px, limits, ceiling=None if syntax in JPEG else ceiling)
        profile = acceptable_profile(value_of(dataset, ICC_PROFILE))
        if syntax in JPEG:
            header = read_jpeg(first_frame(dataset), is_rgb=layout.photometric == "RGB")
            _require_same_size(header.width_px, header.height_px, layout)
            header = attrs.evolve(header, icc_profile=profile or header.icc_profile, orientation=1)
            return _positive(decode_file(header, limits=limits, shortest_side_px=shortest_side_px), layout)
        if syntax in JPEG_2000:
            pixels = _decode_jpeg_2000(first_frame(dataset), layout)
        elif syntax == RLE:
            pixels = _render(rle_samples(first_frame(dataset), layout), layout, dataset)
        else:
            pixels = _render(_native_samples(dataset, syntax), layout, dataset)
        return array_to_srgb(pixels, profile)


def _require_same_size(width_px: int, height_px: int, layout: PixelLayout) -> None:
    if (width_px, height_px) != (layout.width_px, layout.height_px):
        raise ImageError(
            f"The DICOM file says {layout.width_px} x {layout.height_px} pixels, its frame {width_px} x {height_px}."
        )


def _native_samples(dataset: Dataset, syntax: str) -> NDArray[Any]:
    """Uncompressed samples: ``(H, W)`` or ``(H, W, 3)``."""
    from pydicom.pixels import get_decoder

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


def _decode_jpeg_2000(frame: bytes, layout: PixelLayout) -> NDArray[np.uint8]:
    """A JPEG 2000 codestream, checked by its own header (ISO 15444-1, SIZ marker) first."""
    if len(frame) > MAX_BYTES_JPEG_2000:
        raise ImageError(
            f"The JPEG 2000 frame has {len(frame):,} bytes; at most {MAX_BYTES_JPEG_2000:,} are accepted, because "
            "decoding is slow. Convert the file to JPEG or to Explicit VR Little Endian.",
            code="too_many_bytes",
        )
    if layout.samples == 1 and layout.bits_allocated != 8:
        raise unsupported(
            "This DICOM file holds greyscale of 16 bits as JPEG 2000. Convert it to Explicit VR Little Endian, for "
            "example with 'gdcmconv --raw'."
        )
    if not frame.startswith(b"\xff\x4f\xff\x51"):
        raise ImageError("The frame of the DICOM file is no JPEG 2000 codestream.")
    width, height, left, top, tile_width, tile_height = struct.unpack_from(">6I", frame, 8)
    _require_same_size(width - left, height - top, layout)
    if (width // tile_width + 1) * (height // tile_height + 1) > _MAX_TILES_JPEG_2000:
        raise ImageError("The JPEG 2000 frame has more tiles than any camera writes.")
    if (left, top) != (0, 0) or struct.unpack_from(">H", frame, 40)[0] != layout.samples:
        raise ImageError("The JPEG 2000 frame is not laid out as the DICOM file says.")
    with Jpeg2KImagePlugin.Jpeg2KImageFile(io.BytesIO(frame)) as image:
        image.load()
        return _positive(to_rgb(image), layout)


def _positive(pixels: NDArray[np.uint8], layout: PixelLayout) -> NDArray[np.uint8]:
    """Invert what is stored as a negative."""
    return 255 - pixels if layout.photometric == "MONOCHROME1" else pixels


def _render(samples: NDArray[Any], layout: PixelLayout, dataset: Dataset) -> NDArray[np.uint8]:
    """From stored samples to RGB."""
    if layout.photometric == "PALETTE COLOR":
        return np.stack([_palette(dataset, colour)[_index(samples)] for colour in range(3)], axis=-1)
    if layout.samples == 1:
        grey = _greyscale(dataset, layout)[_index(samples)]
        return _positive(np.stack([grey] * 3, axis=-1), layout)
    if layout.bits_allocated == 16:
        samples = (samples >> (layout.bits_stored - 8)).astype(np.uint8)
    if layout.photometric == "RGB":
        return np.ascontiguousarray(samples)
    return to_rgb(Image.frombuffer("YCbCr", (layout.width_px, layout.height_px), np.ascontiguousarray(samples)))


def _index(samples: NDArray[Any]) -> NDArray[Any]:
    """Samples as positions in a table of 65,536 entries, where negative ones stand in the upper half."""
    return samples.view(np.uint16) if samples.dtype == np.int16 else samples.astype(np.uint16, copy=False)


def _stored_values(layout: PixelLayout) -> NDArray[np.float64]:
    """The value that each pattern of 16 bits stands for."""
    values = np.arange(2**16, dtype=np.int64)
    return (values - (values >= 2**15) * 2**16 if layout.is_signed else values).astype(np.float64)


def _greyscale(dataset: Dataset, layout: PixelLayout) -> NDArray[np.uint8]:
    """Table from samples to grey values: rescaling and linear window (DICOM PS3.3, C.11.2.1.2), else the full range."""
    slope, intercept = (float(value_of(dataset, tag) or default) for tag, default in ((0x00281053, 1), (0x00281052, 0)))
    values = _stored_values(layout) * slope + intercept
    center, width = (_first_number(value_of(dataset, tag)) for tag in (0x00281050, 0x00281051))
    if center is not None and width is not None and width >= 1:
        grey = ((values - (center - 0.5)) / max(width - 1, 1e-6) + 0.5) * 255
    else:
        low = -(2 ** (layout.bits_stored - 1)) if layout.is_signed else 0
        low, high = (edge * slope + intercept for edge in (low, low + 2**layout.bits_stored - 1))
        grey = (values - low) / (high - low) * 255
    return np.nan_to_num(grey).round().clip(0, 255).astype(np.uint8)


def _first_number(value: Any) -> float | None:
    """The first of one or several values; a file may offer several windows."""
    if value is None:
        return None
    return float(value if isinstance(value, (int, float, str)) else value[0])


def _palette(dataset: Dataset, colour: int) -> NDArray[np.uint8]:
    """Table from samples to one colour (DICOM PS3.3, C.7.6.3.1.5)."""
    entries, first, bits = (int(number) for number in value_of(dataset, PALETTES[colour]))
    entries = entries or 2**16
    data = value_of(dataset, PALETTES[3 + colour])
    if bits not in (8, 16) or len(data) < entries:
        raise ImageError(f"The palette of the DICOM file has {len(data):,} bytes for {entries:,} colours.")
    is_wide = len(data) >= 2 * entries
    table = np.frombuffer(data, "<u2" if is_wide else np.uint8, entries)
    colours = (table >> (bits - 8 if is_wide else 0)).clip(0, 255).astype(np.uint8)
    return np.asarray(colours[(np.arange(2**16) - first).clip(0, entries - 1)])
