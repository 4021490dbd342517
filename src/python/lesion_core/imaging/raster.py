"""Headers of PNG, WebP and BMP files."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from lesion_core.errors import ImageError
from lesion_core.imaging.header import (
    ImageHeader,
    acceptable_profile,
    exif_orientation,
    inflate_profile,
    unsupported,
)

# Ceilings that keep any file under 2 s and 500 MB (tests/faults measures it). WebP's decoder holds several copies.
MAX_PIXELS = 25_000_000
MAX_PIXELS_WEBP = 16_000_000
_MAX_CHUNKS = 50_000

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)
_BMP_VERSION_5, _EMBEDDED_PROFILE = 124, b"DEBM"
_BMP_COMPRESSIONS = {1: "RLE8", 2: "RLE4", 4: "JPEG", 5: "PNG"}
_WEBP_ALPHA, _WEBP_ANIMATION = 0x10, 0x02


def read_png(data: bytes) -> ImageHeader:
    """Header of a PNG file.

    Raises:
        ImageError: ``animated``, ``corrupt_image``.
        struct.error: the file ends before its size.
    """
    width, height = struct.unpack_from(">II", data, 16)
    kept, profile, orientation = [PNG_SIGNATURE], None, 1
    for name, start, stop in _png_chunks(data):
        body = data[start + 8 : stop - 4]
        if name in (b"acTL", b"fcTL"):
            raise animated("PNG")
        if name in (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"):
            kept.append(data[start:stop])
        elif name == b"iCCP" and profile is None:
            profile = inflate_profile(body[body.find(b"\0") + 2 :])
        elif name == b"eXIf":
            orientation = exif_orientation(body)
    return ImageHeader(
        format="PNG",
        width_px=width,
        height_px=height,
        orientation=orientation,
        icc_profile=profile,
        essence=b"".join(kept),
        max_pixels=MAX_PIXELS,
    )


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of each chunk up to the end of the image."""
    position = len(PNG_SIGNATURE)
    for _ in range(_MAX_CHUNKS):
        if position + 8 > len(data):
            return
        length, name = struct.unpack_from(">I4s", data, position)
        yield name, position, position + length + 12
        position += length + 12
        if name == b"IEND":
            return
    raise ImageError(f"The PNG image has more than {_MAX_CHUNKS:,} chunks.")


def read_webp(data: bytes) -> ImageHeader:
    """Header of a WebP file.

    Raises:
        ImageError: ``animated``, ``corrupt_image``.
        struct.error: the file is cut off.
    """
    chunks: dict[bytes, bytes] = {}
    position = 12
    for _ in range(_MAX_CHUNKS):
        if position + 8 > len(data):
            break
        name, length = struct.unpack_from("<4sI", data, position)
        chunks.setdefault(name, data[position + 8 : position + 8 + length])
        position += 8 + length + length % 2
    if b"ANIM" in chunks or b"ANMF" in chunks or chunks.get(b"VP8X", b"\0")[0] & _WEBP_ANIMATION:
        raise animated("WebP")
    kind = b"VP8 " if b"VP8 " in chunks else b"VP8L"
    if kind not in chunks:
        raise ImageError("The WebP image ends before its pixels begin.")
    width, height = _webp_size(kind, chunks[kind])
    kept = {kind: chunks[kind]}
    if kind == b"VP8 " and b"ALPH" in chunks:
        size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        kept = {b"VP8X": bytes([_WEBP_ALPHA, 0, 0, 0]) + size, b"ALPH": chunks[b"ALPH"], **kept}
    body = b"".join(name + struct.pack("<I", len(c)) + c + b"\0" * (len(c) % 2) for name, c in kept.items())
    return ImageHeader(
        format="WEBP",
        width_px=width,
        height_px=height,
        orientation=exif_orientation(chunks.get(b"EXIF", b"").removeprefix(b"Exif\0\0")),
        icc_profile=acceptable_profile(chunks.get(b"ICCP")),
        essence=b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body,
        max_pixels=MAX_PIXELS_WEBP,
    )


def _webp_size(kind: bytes, bitstream: bytes) -> tuple[int, int]:
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", bitstream, 6)
        return width & 0x3FFF, height & 0x3FFF
    (bits,) = struct.unpack_from("<I", bitstream, 1)
    return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1


def read_bmp(data: bytes) -> ImageHeader:
    """Header of a Windows bitmap.

    Raises:
        ImageError: ``unsupported_encoding``: run-length coding, which hardly anybody writes and is slow to decode.
        struct.error: the file is cut off.
    """
    (header_bytes,) = struct.unpack_from("<I", data, 14)
    if header_bytes == 12:
        width, height = struct.unpack_from("<HH", data, 18)
    else:
        width, height, _, _, compression = struct.unpack_from("<iiHHI", data, 18)
        if compression in _BMP_COMPRESSIONS:
            raise unsupported(
                f"This BMP image is compressed with {_BMP_COMPRESSIONS[compression]}. Save it uncompressed, or as PNG."
            )
    # A negative height means that the rows go from top to bottom.
    return ImageHeader(
        format="BMP",
        width_px=abs(width),
        height_px=abs(height),
        icc_profile=_bmp_profile(data) if header_bytes == _BMP_VERSION_5 else None,
        essence=data,
        max_pixels=MAX_PIXELS,
    )


def _bmp_profile(data: bytes) -> bytes | None:
    """The profile that a header of version 5 points to, counted from the start of that header."""
    kind, offset, size = data[70:74], *struct.unpack_from("<II", data, 126)
    return acceptable_profile(data[14 + offset : 14 + offset + size]) if kind == _EMBEDDED_PROFILE else None


def is_bmp(data: bytes) -> bool:
    """Whether the bytes start as a bitmap does; its two letters alone also start many a text."""
    return data.startswith(b"BM") and len(data) >= 18 and struct.unpack_from("<I", data, 14)[0] in _BMP_HEADERS


def animated(name: str) -> ImageError:
    """For a file with several pictures that are shown one after the other."""
    return ImageError(f"The {name} image is animated; send a single still image.", code="animated")
