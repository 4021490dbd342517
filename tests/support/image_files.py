"""Small valid files of every format, and DICOM files with chosen header values."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageCms

from lesion_core.datasets.synthetic import draw_lesion

SIDE_PX = 64
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
DERMOSCOPIC = "1.2.840.10008.5.1.4.1.1.77.1.7"
SYNTAXES = {
    "implicit": "1.2.840.10008.1.2",
    "explicit": "1.2.840.10008.1.2.1",
    "deflated": "1.2.840.10008.1.2.1.99",
    "big": "1.2.840.10008.1.2.2",
    "rle": "1.2.840.10008.1.2.5",
    "jpeg": "1.2.840.10008.1.2.4.50",
    "jpeg2000": "1.2.840.10008.1.2.4.90",
    "jpegls": "1.2.840.10008.1.2.4.80",
}
_LONG = (b"OB", b"OW", b"SQ", b"UN", b"UT")


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """The bytes of a file."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def drawn(side_px: int = SIDE_PX) -> Image.Image:
    """A drawn lesion."""
    return Image.fromarray(draw_lesion("MEL", seed=1, side_px=side_px))


def srgb_profile() -> bytes:
    """An ICC profile of sRGB, without the moment at which it was made."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile[:24] + bytes(12) + profile[36:]


def wide_gamut_profile() -> bytes:
    """An ICC profile with the primaries of Display P3, which telephones use, and the curve of sRGB."""
    profile = bytearray(srgb_profile())
    primaries = {
        b"rXYZ": (0.5151, 0.2412, -0.0011),
        b"gXYZ": (0.2920, 0.6922, 0.0419),
        b"bXYZ": (0.1571, 0.0666, 0.7841),
    }
    (tags,) = struct.unpack_from(">I", profile, 128)
    for start in range(132, 132 + 12 * tags, 12):
        name, offset, _ = struct.unpack_from(">4sII", profile, start)
        if name in primaries:
            struct.pack_into(">3i", profile, offset + 8, *(round(value * 2**16) for value in primaries[name]))
    return bytes(profile)


def grey_profile(gamma: int) -> bytes:
    """An ICC profile of greys with a gamma, of the least that a profile has."""
    curve = struct.pack(">4s4xIH2x", b"curv", 1, gamma * 256)
    white = struct.pack(">4s4x3i", b"XYZ ", 63190, 65536, 54061)  # D50
    tags = struct.pack(">I4sII4sII", 2, b"kTRC", 156, len(curve), b"wtpt", 156 + len(curve), len(white))
    header = struct.pack(">I4sI4s4s4s", 156 + len(curve) + len(white), b"lcms", 0x02400000, b"mntr", b"GRAY", b"XYZ ")
    header += struct.pack(">12x4s28x3i", b"acsp", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + tags + curve + white


def bmp_with_profile(image: Image.Image, profile: bytes) -> bytes:
    """A bitmap of version 5, with its profile behind the pixels."""
    plain = encoded(image, "BMP")
    pixels = plain[54:]
    header = struct.pack("<I", 124) + plain[18:54] + bytes(16) + b"DEBM" + bytes(48)
    header += struct.pack("<4I", 4, 124 + len(pixels), len(profile), 0)
    start = 14 + len(header)
    return b"BM" + struct.pack("<IHHI", start + len(pixels) + len(profile), 0, 0, start) + header + pixels + profile


def bmp_with_alpha(image: Image.Image) -> bytes:
    """A bitmap of version 4 with masks for red, green, blue and alpha, which Pillow does not write."""
    blue_first = np.asarray(image)[::-1, :, [2, 1, 0, 3]].tobytes()
    header = struct.pack("<IiiHHIIiiII", 108, *image.size, 1, 32, 3, len(blue_first), 0, 0, 0, 0)
    header += struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + bytes(52)
    start = 14 + len(header)
    return b"BM" + struct.pack("<IHHI", start + len(blue_first), 0, 0, start) + header + blue_first


def png_chunk(name: bytes, body: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def tiff_file(
    rows: list[bytes], *, bits: int, photometric: int, order: str = "<", samples: int = 1, planar: int = 1
) -> bytes:
    """An uncompressed TIFF file of one strip, in ways that Pillow does not write."""
    height = SIDE_PX if planar == 2 else len(rows)
    values = {256: SIDE_PX, 257: height, 258: bits, 259: 1, 262: photometric, 277: samples, 278: height, 284: planar}
    strip = b"".join(rows)
    at = 8 + 2 + 12 * (len(values) + 2) + 4
    entries = [(tag, struct.pack(f"{order}HIHH", 3, 1, value, 0)) for tag, value in values.items()]
    entries += [(273, struct.pack(f"{order}HII", 4, 1, at)), (279, struct.pack(f"{order}HII", 4, 1, len(strip)))]
    directory = b"".join(struct.pack(f"{order}H", tag) + body for tag, body in sorted(entries))
    return (
        (b"II*\0" if order == "<" else b"MM\0*")
        + struct.pack(f"{order}IH", 8, len(entries))
        + directory
        + bytes(4)
        + strip
    )


def packed_12(row: np.ndarray) -> bytes:
    """Two samples of 12 bits in three bytes."""
    first, second = (row[start::2].astype(np.uint16) for start in (0, 1))
    packed = [first >> 4, (first & 15) << 4 | second >> 8, second & 255]
    return np.stack(packed, axis=-1).astype(np.uint8).tobytes()


def packbits(plane: bytes) -> bytes:
    """PackBits coding, by literal runs alone."""
    parts = [plane[start : start + 128] for start in range(0, len(plane), 128)]
    return b"".join(bytes([len(part) - 1]) + part for part in parts)


def rle_frame(planes: list[bytes]) -> bytes:
    """A run-length coded DICOM frame of these byte planes."""
    segments = [packbits(plane) + b"\0" * (len(packbits(plane)) % 2) for plane in planes]
    offsets = [64 + sum(map(len, segments[:n])) for n in range(len(segments))]
    return struct.pack("<16I", len(segments), *offsets, *[0] * (15 - len(segments))) + b"".join(segments)


def dicom_element(tag: int, vr: bytes, value: bytes) -> bytes:
    """An explicit little-endian element of a DICOM file."""
    value += b"\0" * (len(value) % 2)
    length = struct.pack("<HI", 0, len(value)) if vr in _LONG else struct.pack("<H", len(value))
    return struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr) + length + value


def dicom_palette(colours: np.ndarray) -> bytes:
    """The elements of a palette of ``(N, 3)`` colours of 8 bits, which are stored with 16."""
    size = struct.pack("<3H", len(colours), 0, 16)
    ramps = (colours.astype("<u2") * 257).T
    return b"".join(
        [dicom_element(0x00281101 + n, b"US", size) for n in range(3)]
        + [dicom_element(0x00281201 + n, b"OW", ramps[n].tobytes()) for n in range(3)]
    )


def dicom_file(
    pixels: bytes,
    *,
    syntax: str = "explicit",
    width: int = SIDE_PX,
    height: int = SIDE_PX,
    samples: int | None = None,
    photometric: str = "RGB",
    bits: tuple[int, int] = (8, 8),
    high_bit: int | None = None,
    is_signed: bool = False,
    planar: int = 0,
    frames: int | None = None,
    sop_class: str = SECONDARY_CAPTURE,
    extra: bytes = b"",
    after: bytes = b"",
    raw_body: bytes | None = None,
    frame_items: bytes | None = None,
) -> bytes:
    """A DICOM file, written byte by byte, so that it may be wrong.

    ``extra`` goes behind the class, ``after`` behind the pixel module; ``raw_body`` replaces the deflated data set,
    ``frame_items`` the items of the compressed frame.
    """
    order = ">" if syntax == "big" else "<"

    def element(group: int, number: int, vr: bytes, value: bytes, endian: str = order) -> bytes:
        value += b"\0" * (len(value) % 2)
        if syntax == "implicit" and group != 2:
            return struct.pack(f"{endian}HHI", group, number, len(value)) + value
        if vr in _LONG:
            return struct.pack(f"{endian}HH2sHI", group, number, vr, 0, len(value)) + value
        return struct.pack(f"{endian}HH2sH", group, number, vr, len(value)) + value

    def short(group: int, number: int, value: int) -> bytes:
        return element(group, number, b"US", struct.pack(f"{order}H", value & 0xFFFF))

    samples = samples or (1 if photometric.startswith(("MONO", "PAL")) else 3)
    body = element(8, 0x16, b"UI", sop_class.encode()) + element(8, 0x18, b"UI", b"1.2.3.4") + extra
    body += short(0x28, 2, samples) + element(0x28, 4, b"CS", photometric.encode()) + short(0x28, 6, planar)
    body += element(0x28, 8, b"IS", str(frames).encode()) if frames is not None else b""
    body += short(0x28, 0x10, height) + short(0x28, 0x11, width) + short(0x28, 0x100, bits[0])
    high_bit = bits[1] - 1 if high_bit is None else high_bit
    body += short(0x28, 0x101, bits[1]) + short(0x28, 0x102, high_bit) + short(0x28, 0x103, int(is_signed)) + after
    if syntax in ("rle", "jpeg", "jpeg2000", "jpegls"):
        frame = pixels + b"\0" * (len(pixels) % 2)
        items = frame_items or struct.pack("<HHI", 0xFFFE, 0xE000, len(frame)) + frame
        body += struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OB", 0, 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0)
        body += items + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    else:
        body += element(0x7FE0, 0x10, b"OW" if bits[0] == 16 else b"OB", pixels)
    if syntax == "deflated":
        deflater = zlib.compressobj(wbits=-15)
        body = deflater.compress(body) + deflater.flush() if raw_body is None else raw_body
    meta = element(2, 0x02, b"UI", sop_class.encode(), "<") + element(2, 0x03, b"UI", b"1.2.3.4", "<")
    meta += element(2, 0x10, b"UI", SYNTAXES[syntax].encode(), "<")
    return bytes(128) + b"DICM" + element(2, 0, b"UL", struct.pack("<I", len(meta)), "<") + meta + body


def seed_files() -> dict[str, bytes]:
    """Small valid files by name: every format, and the ways in which each is written."""
    image = drawn()
    grey = image.convert("L")
    alpha = image.copy()
    alpha.putalpha(grey)
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        "jpeg": encoded(image, "JPEG"),
        "jpeg-tagged": encoded(image, "JPEG", exif=exif, icc_profile=srgb_profile(), comment=b"c", xmp=b"<x/>"),
        "jpeg-progressive": encoded(image, "JPEG", progressive=True),
        "jpeg-grey": encoded(grey, "JPEG"),
        "jpeg-cmyk": encoded(image.convert("CMYK"), "JPEG"),
        "jpeg-mpo": encoded(image, "MPO", save_all=True, append_images=[image]),
        "png": encoded(image, "PNG"),
        "png-tagged": encoded(image, "PNG", exif=exif, icc_profile=srgb_profile()),
        "png-palette": encoded(image.quantize(16), "PNG", transparency=3),
        "png-16": encoded(deep, "PNG"),
        "png-alpha": encoded(alpha, "PNG"),
        "png-animated": encoded(image, "PNG", save_all=True, append_images=[image.rotate(90)]),
        "tiff": encoded(image, "TIFF"),
        "tiff-lzw": encoded(image, "TIFF", compression="tiff_lzw"),
        "tiff-deflate": encoded(alpha, "TIFF", compression="tiff_adobe_deflate"),
        "tiff-packbits": encoded(grey, "TIFF", compression="packbits"),
        "tiff-16": encoded(deep, "TIFF"),
        "tiff-12": tiff_file([packed_12(row // 16) for row in np.asarray(deep)], bits=12, photometric=1),
        "tiff-negative": tiff_file([bytes(255 - row) for row in np.asarray(grey)], bits=8, photometric=0),
        "tiff-16-negative": tiff_file(
            [(65535 - row).astype("<u2").tobytes() for row in np.asarray(deep)], bits=16, photometric=0
        ),
        "tiff-palette": encoded(image.quantize(16), "TIFF"),
        "tiff-cmyk": encoded(image.convert("CMYK"), "TIFF", compression="tiff_lzw"),
        "tiff-pages": encoded(image, "TIFF", save_all=True, append_images=[image]),
        "webp": encoded(image, "WEBP"),
        "webp-lossless": encoded(image, "WEBP", lossless=True),
        "webp-alpha": encoded(alpha, "WEBP", exif=exif),
        "webp-animated": encoded(image, "WEBP", save_all=True, append_images=[image.rotate(90)]),
        "bmp": encoded(image, "BMP"),
        "bmp-palette": encoded(image.quantize(16), "BMP"),
        "bmp-alpha": encoded(alpha, "BMP"),
        "bmp-profile": bmp_with_profile(image, srgb_profile()),
        "gif": encoded(image, "GIF"),
        **dicom_seeds(image),
    }


def dicom_seeds(image: Image.Image) -> dict[str, bytes]:
    """Small valid DICOM files of an image by name: colours, greys and palettes, and the ways to store each."""
    pixels, grey = image.tobytes(), np.asarray(image.convert("L"))
    planes = [np.asarray(image)[..., n].tobytes() for n in range(3)]
    deep, signed = grey.astype("<u2") * 257, grey.astype("<i2") * 16 - 2048
    window = dicom_element(0x00281050, b"DS", b"128\\40") + dicom_element(0x00281051, b"DS", b"256\\20")
    turned = dicom_element(0x00281052, b"DS", b"255") + dicom_element(0x00281053, b"DS", b"-1")
    few = image.quantize(16)
    positions, palette = np.asarray(few), dicom_palette(np.array(few.getpalette()).reshape(-1, 3))
    codestream, deep_codestream, codestream_of_positions = (
        encoded(Image.fromarray(values), "JPEG2000", no_jp2=True) for values in (np.asarray(image), deep, positions)
    )

    def in_palette(frame: bytes, syntax: str) -> bytes:
        return dicom_file(frame, syntax=syntax, photometric="PALETTE COLOR", after=palette)

    return {
        "dicom": dicom_file(pixels),
        "dicom-implicit": dicom_file(pixels, syntax="implicit"),
        "dicom-deflated": dicom_file(pixels, syntax="deflated"),
        "dicom-big": dicom_file(pixels, syntax="big"),
        "dicom-rle": dicom_file(rle_frame(planes), syntax="rle"),
        "dicom-jpeg": dicom_file(encoded(image, "JPEG"), syntax="jpeg", photometric="YBR_FULL_422"),
        "dicom-jpeg2000": dicom_file(codestream, syntax="jpeg2000", photometric="YBR_RCT"),
        "dicom-ybr": dicom_file(image.convert("YCbCr").tobytes(), photometric="YBR_FULL", sop_class=DERMOSCOPIC),
        "dicom-grey": dicom_file(deep.tobytes(), photometric="MONOCHROME2", bits=(16, 16)),
        "dicom-grey-signed": dicom_file(signed.tobytes(), photometric="MONOCHROME2", bits=(16, 12), is_signed=True),
        "dicom-grey-window": dicom_file(grey.tobytes(), photometric="MONOCHROME2", after=window),
        "dicom-grey-rle": dicom_file(
            rle_frame([(deep >> 8).astype(np.uint8).tobytes(), grey.tobytes()]),
            syntax="rle",
            photometric="MONOCHROME2",
            bits=(16, 16),
        ),
        "dicom-grey-jpeg": dicom_file(
            encoded(Image.fromarray(255 - grey), "JPEG"), syntax="jpeg", photometric="MONOCHROME1", after=window
        ),
        "dicom-grey-jpeg2000": dicom_file(deep_codestream, syntax="jpeg2000", photometric="MONOCHROME2", bits=(16, 16)),
        "dicom-grey-turned": dicom_file((255 - grey).tobytes(), photometric="MONOCHROME2", after=turned),
        "dicom-palette": in_palette(positions.tobytes(), "explicit"),
        "dicom-palette-rle": in_palette(rle_frame([positions.tobytes()]), "rle"),
        "dicom-palette-jpeg2000": in_palette(codestream_of_positions, "jpeg2000"),
    }
