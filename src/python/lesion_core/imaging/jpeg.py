"""Headers of JPEG files."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from lesion_core.errors import ImageError
from lesion_core.imaging.header import ImageHeader, acceptable_profile, exif_orientation, unsupported

# A JPEG of one scan is decoded row by row; for several scans the coefficients of the whole image stay in memory, and
# each scan goes over all of them. These bounds keep any file under 2 s and 500 MB (tests/faults measures it).
MAX_PIXELS_OF_SEVERAL_SCANS = 25_000_000
_MAX_SCANS = 32
_MAX_SEGMENTS = 10_000

_MARKER = re.compile(rb"\xff[^\x00\xff]")
_MARKER_AFTER_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_BASELINE, _EXTENDED, _PROGRESSIVE = 0xC0, 0xC1, 0xC2
_HUFFMAN, _SCAN, _QUANTISATION, _RESTART, _END = 0xC4, 0xDA, 0xDB, 0xDD, 0xD9
_OTHER_FRAMES = {0xC3: "lossless", 0xC9: "arithmetic", 0xCA: "arithmetic", 0xCB: "arithmetic"} | dict.fromkeys(
    (0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF), "hierarchical"
)
_JFIF = b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"


def read_jpeg(data: bytes, *, is_rgb: bool = False) -> ImageHeader:
    """Header of a JPEG file; of an MPO (several photographs of one shot) only the first is seen.

    Args:
        data: starts with the start-of-image marker.
        is_rgb: three components are red, green and blue unless the file itself says what they are (DICOM may know).
    Raises:
        ImageError: ``unsupported_encoding``, ``corrupt_image``.
        struct.error: a segment is cut off.
    """
    kept: list[bytes] = []
    profiles: dict[int, bytes] = {}
    frame: tuple[int, int, int] | None = None
    has_jfif, adobe_transform = False, None
    orientation, scans, is_progressive = 1, 0, False
    for marker, segment in _segments(data):
        body = segment[4:]
        if marker in _OTHER_FRAMES:
            raise unsupported(
                f"This JPEG uses {_OTHER_FRAMES[marker]} coding, which is not read here. "
                "Save it as an ordinary (baseline) JPEG or as PNG."
            )
        if marker in (_BASELINE, _EXTENDED, _PROGRESSIVE):
            if frame is not None:
                raise ImageError("The JPEG image states its size twice.")
            precision, height, width, components = struct.unpack_from(">BHHB", body)
            if precision != 8:
                raise unsupported(f"This JPEG has {precision} bits a sample; 8 are read. Save it as 16-bit PNG.")
            frame, is_progressive = (width, height, components), marker == _PROGRESSIVE
        if marker in (_BASELINE, _EXTENDED, _PROGRESSIVE, _HUFFMAN, _SCAN, _QUANTISATION, _RESTART, _END):
            kept.append(segment)
            scans += marker == _SCAN
        elif marker == 0xE0 and body.startswith(b"JFIF\0"):
            has_jfif = True
        elif marker == 0xE1 and body.startswith(b"Exif\0\0") and orientation == 1:
            orientation = exif_orientation(body[6:])
        elif marker == 0xE2 and body.startswith(b"ICC_PROFILE\0") and len(body) > 14:
            profiles[body[12]] = body[14:]
        elif marker == 0xEE and body.startswith(b"Adobe") and len(body) >= 12:
            adobe_transform = body[11]
    if frame is None:
        raise ImageError("The JPEG image ends before it says how large it is.")
    if scans > _MAX_SCANS:
        raise ImageError(f"The JPEG image has {scans} scans; at most {_MAX_SCANS} are accepted.")
    width, height, components = frame
    if is_rgb and components == 3 and not has_jfif and adobe_transform is None:
        adobe_transform = 0
    return ImageHeader(
        format="JPEG",
        width_px=width,
        height_px=height,
        orientation=orientation,
        icc_profile=acceptable_profile(b"".join(profiles[number] for number in sorted(profiles))),
        essence=b"\xff\xd8" + _colour_markers(has_jfif, adobe_transform) + b"".join(kept),
        max_pixels=MAX_PIXELS_OF_SEVERAL_SCANS if is_progressive or scans > 1 else None,
        # Adobe's programs write inks inverted and mark the file as theirs; decoders take every file so.
        is_plain_cmyk=components == 4 and adobe_transform is None,
    )


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and bytes of each segment up to the end of the first image; a scan's bytes hold its pixels too."""
    position = 2
    for _ in range(_MAX_SEGMENTS):
        found = _MARKER.search(data, position)
        if found is None:
            return
        start, marker = found.start(), data[found.start() + 1]
        if marker == _END:
            yield marker, b"\xff\xd9"
            return
        position = found.end()
        if marker in (0x01, 0xD8) or 0xD0 <= marker <= 0xD7:  # these stand alone
            continue
        position += int.from_bytes(data[position : position + 2], "big")
        if marker == _SCAN:
            following = _MARKER_AFTER_SCAN.search(data, position)
            position = following.start() if following else len(data)
        yield marker, data[start:position]
    raise ImageError(f"The JPEG image has more than {_MAX_SEGMENTS:,} segments.")


def _colour_markers(has_jfif: bool, adobe_transform: int | None) -> bytes:
    """What tells a decoder the meaning of the components, and nothing else."""
    adobe = b"" if adobe_transform is None else b"\xff\xee\x00\x0eAdobe\x00\x64\0\0\0\0" + bytes([adobe_transform])
    return (_JFIF if has_jfif else b"") + adobe
