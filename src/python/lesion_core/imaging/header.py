"""What a reader of headers finds, and the structures that several formats share: EXIF and ICC profiles."""

from __future__ import annotations

import struct
import zlib
from typing import Literal

import attrs

from lesion_core.errors import ImageError

ByteOrder = Literal["<", ">"]

MAX_PROFILE_BYTES = 4 * 2**20
"""Larger ICC profiles are ignored; those of printing presses, the largest in use, have 3 MB."""

_ORIENTATION = 274
_MAX_ENTRIES = 1000
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}


@attrs.frozen(kw_only=True)
class ImageHeader:
    """What the header of a file says, read without decoding a pixel.

    Attributes:
        format: name of Pillow's plugin.
        width_px: before the orientation is applied, as ``height_px``.
        orientation: of EXIF, 1 to 8; 1 is upright.
        icc_profile: colour profile of the pixels.
        essence: the file with everything left out that pixels do not need, so that no metadata (EXIF, XMP, comments,
            previews, appended archives) reaches a decoder. Many attacks on decoders come that way.
        max_pixels: a ceiling beside the caller's, because decoding this kind needs more time or memory than others.
        is_plain_cmyk: four inks whose values are not inverted, though decoders take them so.
        deep_bits: bits of greyscale samples that have more than 8.
        is_deep_negative: such samples have 0 for white, which decoders leave as it is.
    """

    format: str
    width_px: int
    height_px: int
    orientation: int = 1
    icc_profile: bytes | None = None
    essence: bytes = attrs.field(repr=False)
    max_pixels: int | None = None
    is_plain_cmyk: bool = False
    deep_bits: int = 16
    is_deep_negative: bool = False


@attrs.frozen(kw_only=True)
class IfdEntry:
    """One tag of a TIFF directory. ``data`` holds ``count`` values in the byte order of the file."""

    type: int
    count: int
    data: bytes

    def numbers(self, order: ByteOrder) -> tuple[int, ...]:
        """Values of an unsigned integer type; empty for the others."""
        code = {1: "B", 3: "H", 4: "I"}.get(self.type)
        return struct.unpack(f"{order}{self.count}{code}", self.data) if code else ()


@attrs.frozen(kw_only=True)
class Ifd:
    """A TIFF directory. ``next_offset`` is 0 where none follows."""

    entries: dict[int, IfdEntry]
    next_offset: int


def unsupported(sentence: str) -> ImageError:
    """For a known format that is written in a way which is not read here."""
    return ImageError(sentence, code="unsupported_encoding")


def byte_order(data: bytes) -> ByteOrder:
    """Of a TIFF structure, by its first two bytes."""
    return "<" if data[:2] == b"II" else ">"


def read_ifd(data: bytes, offset: int, *, only: frozenset[int]) -> Ifd:
    """Read these tags of the directory at ``offset``; the others are passed over, so their claims cost nothing.

    Raises:
        ImageError: more entries than any program writes, or values that lie outside the data.
        struct.error: the directory is cut off.
    """
    order = byte_order(data)
    (count,) = struct.unpack_from(f"{order}H", data, offset)
    if count > _MAX_ENTRIES:
        raise ImageError(f"A directory of the image claims {count:,} entries; at most {_MAX_ENTRIES:,} are accepted.")
    entries = {}
    for start in range(offset + 2, offset + 2 + 12 * count, 12):
        tag, kind, length = struct.unpack_from(f"{order}HHI", data, start)
        if tag not in only or tag in entries:
            continue
        size = _SIZES.get(kind, 1) * length
        where = start + 8 if size <= 4 else struct.unpack_from(f"{order}I", data, start + 8)[0]
        if where + size > len(data):
            raise ImageError(f"The image's tag {tag} claims {size:,} bytes that are not there.")
        entries[tag] = IfdEntry(type=kind, count=length, data=data[where : where + size])
    (following,) = struct.unpack_from(f"{order}I", data, offset + 2 + 12 * count)
    return Ifd(entries=entries, next_offset=following)


def exif_orientation(exif: bytes) -> int:
    """Orientation that an EXIF block states, 1 to 8; 1 where it states none or is damaged: it is only a hint."""
    if exif[:4] not in (b"II*\0", b"MM\0*"):
        return 1
    try:
        (offset,) = struct.unpack_from(f"{byte_order(exif)}I", exif, 4)
        entry = read_ifd(exif, offset, only=frozenset({_ORIENTATION})).entries.get(_ORIENTATION)
    except (struct.error, ImageError):
        return 1
    return orientation_of(entry.numbers(byte_order(exif)) if entry else ())


def orientation_of(values: tuple[int, ...]) -> int:
    """The first value where it is an orientation, else 1."""
    return values[0] if values and 1 <= values[0] <= 8 else 1


def inflate_profile(compressed: bytes) -> bytes | None:
    """Inflate an ICC profile; ``None`` where it is damaged or too large."""
    try:
        profile = zlib.decompressobj().decompress(compressed, MAX_PROFILE_BYTES + 1)
    except zlib.error:
        return None
    return acceptable_profile(profile)


def acceptable_profile(profile: bytes | None) -> bytes | None:
    """The profile, unless it is empty or too large."""
    return profile if profile and len(profile) <= MAX_PROFILE_BYTES else None
