"""Headers of TIFF files: one page, baseline photometrics, lossless compression."""

from __future__ import annotations

import ctypes
import functools
import struct

from PIL import _imaging

from lesion_core.errors import ImageError
from lesion_core.imaging.header import (
    ByteOrder,
    Ifd,
    IfdEntry,
    ImageHeader,
    acceptable_profile,
    byte_order,
    orientation_of,
    read_ifd,
    unsupported,
)
from lesion_core.imaging.raster import MAX_PIXELS

MAX_TILE_BYTES = 2**25

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 256, 257, 258, 259, 262, 266
_STRIP_OFFSETS, _ORIENTATION, _SAMPLES, _ROWS_PER_STRIP, _STRIP_BYTES = 273, 274, 277, 278, 279
_PLANAR, _PREDICTOR, _PALETTE, _TILE_WIDTH, _TILE_HEIGHT = 284, 317, 320, 322, 323
_TILE_OFFSETS, _TILE_BYTES, _EXTRA_SAMPLES, _SAMPLE_FORMAT, _PROFILE = 324, 325, 338, 339, 34675

_OF_PIXELS = frozenset(
    {
        *(_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER, _STRIP_OFFSETS, _SAMPLES, _ROWS_PER_STRIP),
        *(_STRIP_BYTES, _PLANAR, _PREDICTOR, _PALETTE, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_BYTES),
        *(_EXTRA_SAMPLES, _SAMPLE_FORMAT),
    }
)
_OF_ONE_VALUE = _OF_PIXELS - {
    *(_BITS, _STRIP_OFFSETS, _STRIP_BYTES, _PALETTE, _TILE_OFFSETS, _TILE_BYTES, _EXTRA_SAMPLES, _SAMPLE_FORMAT)
}
_COMPRESSIONS = {1: "none", 5: "LZW", 8: "Deflate", 32773: "PackBits", 32946: "Deflate"}
_OTHER_COMPRESSIONS = {2: "CCITT", 3: "CCITT", 4: "CCITT", 6: "old JPEG", 7: "JPEG", 34712: "JPEG 2000", 50000: "Zstd"}
_WHITE_IS_ZERO, _BLACK_IS_ZERO = _GREY = (0, 1)
_BY_PLANE = 2
# Kinds of colours, and the bits a sample that they are decoded with; some only where the lowest byte comes first.
_PHOTOMETRICS = {_WHITE_IS_ZERO: (1, 2, 4, 8, 16), 1: (1, 2, 4, 8, 12, 16), 2: (8, 16), 3: (1, 2, 4, 8), 5: (8, 16)}
_LITTLE_ENDIAN_ONLY = {(_WHITE_IS_ZERO, 16), (1, 12)}


def read_tiff(data: bytes) -> ImageHeader:
    """Header of a TIFF file. Its essence has a directory of its own, with the tags that pixels need.

    Raises:
        ImageError: ``several_images``, ``unsupported_encoding``, ``corrupt_image``.
        struct.error: the file is cut off.
    """
    order = byte_order(data)
    version, offset = struct.unpack_from(f"{order}HI", data, 2)
    if version == 43:
        raise unsupported("This is a BigTIFF, made for files above 4 GB. Save the image as ordinary TIFF or as PNG.")
    directory = read_ifd(data, offset, only=_OF_PIXELS | {_ORIENTATION, _PROFILE})
    entries = directory.entries
    for tag in _OF_ONE_VALUE & entries.keys():
        if entries[tag].count != 1:
            raise ImageError(f"The TIFF image has {entries[tag].count:,} values for its tag {tag}, which has one.")
    if 0 < directory.next_offset < len(data):
        raise ImageError("The TIFF file holds several images; send one alone.", code="several_images")
    _require_known_encoding(directory, order)
    _require_honest_blocks(directory, order, len(data))
    profile = entries.get(_PROFILE)
    silence_libtiff()
    return ImageHeader(
        format="TIFF",
        width_px=_one(directory, _WIDTH, order),
        height_px=_one(directory, _HEIGHT, order),
        orientation=orientation_of(entries[_ORIENTATION].numbers(order) if _ORIENTATION in entries else ()),
        icc_profile=acceptable_profile(profile.data if profile else None),
        essence=_rewritten(data, {tag: entry for tag, entry in entries.items() if tag in _OF_PIXELS}),
        max_pixels=MAX_PIXELS,
        deep_bits=12 if _one(directory, _BITS, order, 1) == 12 else 16,
        is_deep_negative=_one(directory, _PHOTOMETRIC, order) == _WHITE_IS_ZERO,
    )


def _one(directory: Ifd, tag: int, order: ByteOrder, default: int = 0) -> int:
    entry = directory.entries.get(tag)
    values = entry.numbers(order) if entry else ()
    return values[0] if values else default


def _require_known_encoding(directory: Ifd, order: ByteOrder) -> None:
    compression = _one(directory, _COMPRESSION, order, 1)
    if compression not in _COMPRESSIONS:
        name = _OTHER_COMPRESSIONS.get(compression, f"method {compression}")
        raise unsupported(
            f"This TIFF image is compressed with {name}; none, LZW, Deflate and PackBits are read. "
            "Save it with one of these, or as PNG."
        )
    photometric = _one(directory, _PHOTOMETRIC, order)
    if photometric not in _PHOTOMETRICS:
        raise unsupported(
            f"This TIFF image has colours of kind {photometric}; greyscale, palette, RGB and CMYK are read. "
            "Save it as RGB."
        )
    bits = _one(directory, _BITS, order, 1)
    readable = [
        bits for bits in _PHOTOMETRICS[photometric] if order == "<" or (photometric, bits) not in _LITTLE_ENDIAN_ONLY
    ]
    if _one(directory, _SAMPLE_FORMAT, order, 1) != 1 or bits not in readable:
        raise unsupported(
            f"This TIFF image has samples of {bits} bits, or other ones than whole numbers. With its kind of colours, "
            f"whole numbers of {', '.join(map(str, readable))} bits are read. Save it with 8 or 16 bits."
        )
    samples = _one(directory, _SAMPLES, order, 1)
    if photometric in _GREY and samples > (2 if (photometric, bits) == (_BLACK_IS_ZERO, 8) else 1):
        raise unsupported(
            f"This TIFF image has greys of {bits} bits with {samples - 1} other samples beside each; at most one is "
            "read, with 8 bits and 0 for black. Save it without transparency, or as PNG."
        )
    if compression == 1 and bits == 16 and samples > 1 and _one(directory, _PLANAR, order, 1) == _BY_PLANE:
        raise unsupported(
            "This TIFF image stores 16 bits a sample plane by plane and uncompressed, which is not read here. Save it "
            "with 8 bits, compressed, or as PNG."
        )


def _require_honest_blocks(directory: Ifd, order: ByteOrder, size: int) -> None:
    """Refuse strips and tiles that share bytes, and tiles that are far larger than the image.

    Both make a small file decode for minutes.
    """
    for tag in (_STRIP_BYTES, _TILE_BYTES):
        if tag in directory.entries and sum(directory.entries[tag].numbers(order)) > size:
            raise ImageError("The strips or tiles of the TIFF image claim more bytes than the file has.")
    for offsets, counts in ((_STRIP_OFFSETS, _STRIP_BYTES), (_TILE_OFFSETS, _TILE_BYTES)):
        if offsets in directory.entries and counts not in directory.entries:
            raise ImageError("The TIFF image does not say how long its strips or tiles are.")
    samples, bits = _one(directory, _SAMPLES, order, 1), _one(directory, _BITS, order, 1)
    tile = _one(directory, _TILE_WIDTH, order) * _one(directory, _TILE_HEIGHT, order) * samples * bits // 8
    if samples > 5 or tile > MAX_TILE_BYTES:
        raise ImageError(f"The TIFF image has {samples} samples a pixel and tiles of {tile:,} bytes: too many.")


def _rewritten(data: bytes, entries: dict[int, IfdEntry]) -> bytes:
    """The file with a new directory behind its data, which lie where they lay."""
    order = byte_order(data)
    start = len(data) + len(data) % 2
    values_at = start + 2 + 12 * len(entries) + 4
    directory, values = struct.pack(f"{order}H", len(entries)), b""
    for tag, entry in sorted(entries.items()):
        directory += struct.pack(f"{order}HHI", tag, entry.type, entry.count)
        if len(entry.data) <= 4:
            directory += entry.data.ljust(4, b"\0")
        else:
            directory += struct.pack(f"{order}I", values_at + len(values))
            values += entry.data + b"\0" * (len(entry.data) % 2)
    header = data[:4] + struct.pack(f"{order}I", start)
    return b"".join((header, data[8:], b"\0" * (len(data) % 2), directory, b"\0\0\0\0", values))


@functools.cache
def silence_libtiff() -> None:
    """Keep libtiff from writing to stderr about every damaged file, which Pillow has no setting for.

    A copy of libtiff that was linked in without its symbols stays as it is; then only the lines on stderr remain.
    """
    library = ctypes.CDLL(_imaging.__file__)
    for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
        if hasattr(library, name):
            getattr(library, name)(None)
