"""A corpus of hostile files, the same for the same seed: damaged, forged, oversized, or no images at all.

The first thousand and more are built by hand, each for one attack; the others are mutations of small valid files of
every format. Nothing is kept in memory: take them one by one.
"""

from __future__ import annotations

import gzip
import io
import random
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from support.image_files import dicom_element, dicom_file, dicom_palette, encoded, png_chunk, seed_files

HUGE = (0x7FFFFFFF, 0xFFFFFFFF, 0x80000000, 0xFFFF, 0x10000, 0x40000000, 0)
_MB = 2**20


def hostile_files(seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of ``count`` files."""
    made = 0
    valid = seed_files()
    for name, data in forged_files(valid):
        made += 1
        yield name, data
    generator = random.Random(seed)
    names = sorted(valid)
    for number in range(made, count):
        name = generator.choice(names)
        yield f"{number:05d}-mutated-{name}", mutated(valid[name], valid[generator.choice(names)], generator)


def mutated(data: bytes, other: bytes, generator: random.Random) -> bytes:
    """One to four random changes."""
    changed = bytearray(data)
    for _ in range(generator.randint(1, 4)):
        # Headers are at the front: half of the changes go there.
        end = len(changed) if generator.random() < 0.5 else min(len(changed), 200)
        place = generator.randrange(max(1, end))
        kind = generator.randrange(9)
        if kind == 0:
            changed[place : place + 1] = bytes([generator.randrange(256)])
        elif kind == 1:
            del changed[place:]
        elif kind == 2:
            changed[place : place + 4] = struct.pack(generator.choice("<>") + "I", generator.choice(HUGE))
        elif kind == 3:
            changed[place : place + 2] = struct.pack(generator.choice("<>") + "H", generator.randrange(2**16))
        elif kind == 4:
            changed[place:place] = generator.randbytes(generator.randint(1, 40))
        elif kind == 5:
            del changed[place : place + generator.randint(1, 40)]
        elif kind == 6:
            changed[place:] = other[generator.randrange(len(other)) :]
        elif kind == 7:
            start = generator.randrange(max(1, len(changed)))
            changed[place:place] = changed[start : start + generator.randint(1, 300)]
        else:
            changed[place : place + 8] = bytes([generator.choice((0, 255, 127))]) * 8
    return bytes(changed)


def forged_files(valid: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Files made by hand, each for one attack."""
    yield "nothing", b""
    yield "one-byte", b"\xff"
    for name, data in sorted(valid.items()):
        for length in (1, 2, 3, 4, 8, 12, 16, 24, 32, 64, 128, 132, 140, len(data) // 2, len(data) - 1):
            yield f"first-{length}-of-{name}", data[:length]
        yield f"twice-{name}", data + data
        yield f"archive-behind-{name}", data + zipped({"a.html": b"<script>alert(1)</script>"})
        yield f"page-behind-{name}", data + b"<html><script>alert(1)</script></html>"
        yield f"pdf-before-{name}", b"%PDF-1.7\n1 0 obj\nstream\n" + data
    yield from no_images()
    yield from archives(valid["jpeg"])
    yield from jpeg_bombs(valid["jpeg"])
    yield from png_bombs()
    yield from tiff_bombs()
    yield from webp_and_bmp_bombs(valid)
    yield from dicom_bombs(valid["jpeg"])


def no_images() -> Iterator[tuple[str, bytes]]:
    """Files of other kinds."""
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    yield "page.html", b"<!doctype html><script>alert(1)</script>"
    yield "drawing.svg", b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)" width="9999999" height="9999999"/>'
    yield "entities.svg", f'<!DOCTYPE s [<!ENTITY l0 "lol">{laughs}]><svg>&l9;</svg>'.encode()
    yield "outside.svg", b'<!DOCTYPE s [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg>&x;</svg>'
    yield "script.gif", b"GIF89a/*" + b"\0" * 20 + b"*/=1;alert(1)//"
    yield "text-that-starts-as-a-bitmap", b"BMW sells cars, and this is a sentence about it."
    yield "wide-text", "a photograph".encode("utf-16")
    yield "video.mp4", b"\0\0\0\x18ftypmp42" + bytes(100)
    yield "photo.heic", b"\0\0\0\x18ftypheic" + bytes(100)
    yield "photo.avif", b"\0\0\0\x18ftypavif" + bytes(100)
    yield "photo.jxl", b"\xff\x0a" + bytes(100)
    yield "photo.jp2", b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(100)
    yield "drawing.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n(/etc/passwd) (r) file"
    yield "image.ppm", b"P6 99999 99999 255\n"
    yield "program", b"\x7fELF" + bytes(200)
    yield "pickle", b"\x80\x04cos\nsystem\n(S'true'\ntR."
    yield "list.json", b'{"image": "' + b"A" * 1000 + b'"}'
    yield "shell", b"#!/bin/sh\necho hostile\n"


def archives(jpeg: bytes) -> Iterator[tuple[str, bytes]]:
    """Archives, nested ones and bombs."""
    nested = jpeg
    for level in range(5):
        nested = zipped({f"level-{level}.jpg": nested})
        yield f"zip-{level}", nested
    yield "bomb.zip", zipped({"zeros": bytes(20 * _MB)})
    yield "bomb.gz", gzip.compress(bytes(20 * _MB), mtime=0)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("../../escape.jpg"))
    yield "escape.tar.gz", gzip.compress(stream.getvalue(), mtime=0)
    yield "jpeg.gz", gzip.compress(jpeg, mtime=0)


def jpeg_bombs(jpeg: bytes) -> Iterator[tuple[str, bytes]]:
    """Sizes that are claimed, scans without end, metadata without end."""
    frame = jpeg.index(b"\xff\xc0")

    def sized(width: int, height: int, *, start: bytes = b"\xff\xc0") -> bytes:
        return (
            jpeg[:frame] + start + jpeg[frame + 2 : frame + 5] + struct.pack(">HH", height, width) + jpeg[frame + 9 :]
        )

    yield "jpeg-65535x65535", sized(65535, 65535)
    yield "jpeg-1-gigabyte", sized(18900, 18900)
    yield "jpeg-without-height", sized(100, 0)
    yield "jpeg-largest-accepted", sized(7070, 7070)
    yield "jpeg-long-and-thin", sized(65500, 760)
    for code in range(0xC0, 0xD0):
        yield f"jpeg-frame-{code:02x}", sized(40, 40, start=bytes([0xFF, code]))
    scan = jpeg.index(b"\xff\xda")
    for scans in (2, 30, 5000):
        yield f"jpeg-{scans}-scans", sized(4990, 4990)[: -(len(jpeg) - scan)] + jpeg[scan:-2] * scans + b"\xff\xd9"
    # One scan for all coefficients, then refinements of nothing.
    scan_of_one = b"\xff\xda\x00\x08\x01\x01\x00\x01\x3f\x00"
    progressive = sized(4990, 4990, start=b"\xff\xc2")[: -(len(jpeg) - scan)]
    for scans in (31, 1000):
        yield f"jpeg-progressive-{scans}-scans", progressive + (scan_of_one + b"\0" * 20) * scans + b"\xff\xd9"
    yield "jpeg-many-segments", jpeg[:2] + b"\xff\xfe\x00\x02" * (4 * _MB) + jpeg[2:]
    yield "jpeg-filled", jpeg[:2] + b"\xff" * (19 * _MB) + jpeg[2:]
    yield "jpeg-large-comments", jpeg[:2] + (b"\xff\xfe\xff\xff" + b"c" * 65533) * 300 + jpeg[2:]
    entries = b"".join(struct.pack("<HHII", 1000 + n, 2, 60_000, 8) for n in range(4000))
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 4000) + entries
    yield "jpeg-exif-bomb", jpeg[:2] + _jpeg_segments(0xE1, exif + bytes(60_000)) + jpeg[2:]
    yield "jpeg-exif-cycle", jpeg[:2] + _jpeg_segments(0xE1, b"Exif\0\0II*\0\x08\0\0\0\0\0\x08\0\0\0") + jpeg[2:]
    for number, size in enumerate((3, 128, 65_000)):
        profile = b"ICC_PROFILE\0\x01\x01" + random.Random(number).randbytes(size)
        yield f"jpeg-profile-noise-{size}", jpeg[:2] + _jpeg_segments(0xE2, profile) + jpeg[2:]
    profile = b"".join(_jpeg_segments(0xE2, b"ICC_PROFILE\0" + bytes([n, 255]) + bytes(65_000)) for n in range(1, 255))
    yield "jpeg-profile-of-16-megabytes", jpeg[:2] + profile + jpeg[2:]
    yield "jpeg-noise-of-19-megabytes", sized(7070, 7070)[:-2] + random.Random(1).randbytes(19 * _MB) + b"\xff\xd9"


def _jpeg_segments(marker: int, body: bytes) -> bytes:
    parts = [body[start : start + 65_533] for start in range(0, len(body), 65_533)]
    return b"".join(bytes([0xFF, marker]) + struct.pack(">H", len(part) + 2) + part for part in parts)


def png_bombs() -> Iterator[tuple[str, bytes]]:
    """Sizes that are claimed, and texts, profiles and pixels that inflate."""
    start, end = b"\x89PNG\r\n\x1a\n", png_chunk(b"IEND", b"")

    def header(width: int, height: int, depth: int = 8, colours: int = 2, interlace: int = 0) -> bytes:
        return start + png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, interlace))

    zeros = deflated_zeros(400 * _MB)
    small = png_chunk(b"IDAT", zlib.compress(bytes(64 * 193))) + end
    yield "png-65535x65535", header(65535, 65535) + small
    yield "png-2-to-31", header(2**31 - 1, 2**31 - 1) + small
    yield "png-1-gigabyte", header(18900, 18900) + png_chunk(b"IDAT", zeros) + end
    yield "png-pixels-that-go-on", header(64, 64) + png_chunk(b"IDAT", zeros) + end
    for depth, colours, name in ((8, 2, "rgb"), (16, 6, "rgba-16"), (8, 3, "palette"), (16, 0, "grey-16"), (1, 0, "1")):
        palette = png_chunk(b"PLTE", bytes(range(256)) * 3) + png_chunk(b"tRNS", bytes(range(256)))
        extra = palette if colours == 3 else b""
        yield f"png-largest-{name}", header(4990, 5000, depth, colours) + extra + png_chunk(b"IDAT", zeros) + end
    yield "png-largest-interlaced", header(4990, 5000, interlace=1) + png_chunk(b"IDAT", zeros) + end
    yield "png-profile-bomb", header(64, 64) + png_chunk(b"iCCP", b"x\0\0" + zeros) + small
    yield "png-text-bomb", header(64, 64) + png_chunk(b"zTXt", b"x\0\0" + zeros) * 30 + small
    yield "png-international-text-bomb", header(64, 64) + png_chunk(b"iTXt", b"x\0\1\0\0\0" + zeros) * 30 + small
    yield "png-many-chunks", header(64, 64) + png_chunk(b"tEXt", b"a\0b") * 1_000_000 + small
    yield "png-many-pixel-chunks", header(64, 64) + png_chunk(b"IDAT", b"") * 1_000_000 + small
    yield "png-animated", header(64, 64) + png_chunk(b"acTL", struct.pack(">II", 99, 0)) + small
    yield "png-orientation-bomb", header(64, 64) + png_chunk(b"eXIf", b"II*\0\x08\0\0\0\xff\xff" + bytes(99)) + small


def deflated_zeros(size: int) -> bytes:
    """A zlib stream of ``size`` zeros, whole megabytes: the same block many times, and the checksum of zeros."""
    deflater = zlib.compressobj(9, wbits=-15)
    block = deflater.compress(bytes(_MB)) + deflater.flush(zlib.Z_FULL_FLUSH)
    checksum = (size % 65521) << 16 | 1
    return b"\x78\xda" + block * (size // _MB) + b"\x03\x00" + struct.pack(">I", checksum)


def tiff_file(entries: dict[int, tuple[int, int, int]], *, tail: bytes = b"", following: int = 0) -> bytes:
    """A little-endian TIFF: tag → type, count, value or offset; ``tail`` starts at byte 1000."""
    body = struct.pack("<H", len(entries))
    body += b"".join(struct.pack("<HHII", tag, *values) for tag, values in sorted(entries.items()))
    return (b"II*\0\x08\0\0\0" + body + struct.pack("<I", following)).ljust(1000, b"\0") + tail


def tiff_bombs() -> Iterator[tuple[str, bytes]]:
    """Directories in circles, strips that share bytes, tiles of gigabytes."""

    def entries(
        width: int, height: int, compression: int = 1, **changes: tuple[int, int, int]
    ) -> dict[int, tuple[int, int, int]]:
        base = {
            256: (4, 1, width),
            257: (4, 1, height),
            258: (3, 1, 8),
            259: (3, 1, compression),
            262: (3, 1, 1),
            273: (4, 1, 1000),
            277: (3, 1, 1),
            278: (4, 1, height),
            279: (4, 1, 4096),
        }
        return base | {int(tag[1:]): value for tag, value in changes.items()}

    zeros = deflated_zeros(40 * _MB)
    pixels = bytes(4096)
    yield "tiff-plain", tiff_file(entries(64, 64), tail=pixels)
    yield "tiff-cycle", tiff_file(entries(64, 64), tail=pixels, following=8)
    yield "tiff-65535x65535", tiff_file(entries(65535, 65535), tail=pixels)
    yield "tiff-2-to-32", tiff_file(entries(2**32 - 1, 2**32 - 1), tail=pixels)
    yield "tiff-deflate-bomb", tiff_file(entries(64, 64, 8, t279=(4, 1, len(zeros))), tail=zeros)
    yield "tiff-largest", tiff_file(entries(4990, 5000, 8, t279=(4, 1, len(zeros))), tail=zeros)
    for compression in (*range(2, 11), 32771, 32773, 32809, 32946, 34661, 34712, 34925, 50000, 50001, 50002):
        yield f"tiff-compression-{compression}", tiff_file(entries(64, 64, compression), tail=pixels)
    strips = 5000
    offsets = struct.pack(f"<{strips}I", *[1000] * strips) + struct.pack(f"<{strips}I", *[10 * _MB] * strips)
    shared = entries(5000, 5000, 5, t273=(4, strips, 1000), t278=(4, 1, 1), t279=(4, strips, 1000 + 4 * strips))
    yield "tiff-shared-strips", tiff_file(shared, tail=offsets + bytes(10 * _MB))
    tiles = {322: (4, 1, 2**31 - 16), 323: (4, 1, 2**31 - 16), 324: (4, 1, 1000), 325: (4, 1, 4096)}
    yield "tiff-tile-of-gigabytes", tiff_file(entries(64, 64, 8) | tiles, tail=pixels)
    yield "tiff-tile-of-nothing", tiff_file(entries(64, 64, 8) | tiles | {322: (4, 1, 0)}, tail=pixels)
    yield "tiff-no-rows-per-strip", tiff_file(entries(64, 64, t278=(4, 1, 0)), tail=pixels)
    yield "tiff-100-samples", tiff_file(entries(64, 64, t277=(3, 1, 100)), tail=pixels)
    yield "tiff-64-bits", tiff_file(entries(64, 64, t258=(3, 1, 64)), tail=pixels)
    yield "tiff-floats", tiff_file(entries(64, 64, t258=(3, 1, 32), t339=(3, 1, 3)), tail=pixels)
    yield "tiff-values-that-are-not-there", tiff_file(entries(64, 64, t273=(4, 2**30, 1000)), tail=pixels)
    yield "tiff-palette-that-is-not-there", tiff_file(entries(64, 64, t262=(3, 1, 3)), tail=pixels)
    many = b"".join(struct.pack("<HHII", tag, 2, 10 * _MB, 1000) for tag in range(1000, 60_000))
    directory = struct.pack("<H", 59_000) + many
    yield "tiff-many-tags", b"II*\0" + struct.pack("<I", 11 * _MB) + bytes(11 * _MB) + directory
    chain = b"".join(struct.pack("<HI", 0, 8 + 6 * (n + 1)) for n in range(1_000_000))
    yield "tiff-many-pages", b"II*\0\x08\0\0\0" + chain
    yield "tiff-big", b"II+\0\x08\0\0\0" + struct.pack("<Q", 16) + bytes(200)


def webp_and_bmp_bombs(valid: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Sizes that are claimed."""

    def riff(*chunks: tuple[bytes, bytes]) -> bytes:
        body = b"".join(name + struct.pack("<I", len(c)) + c + b"\0" * (len(c) % 2) for name, c in chunks)
        return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body

    def lossless(width: int, height: int) -> bytes:
        return b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14)

    yield "webp-16383x16383", riff((b"VP8L", lossless(16383, 16383) + bytes(100)))
    yield "webp-largest", riff((b"VP8L", lossless(3990, 4000) + bytes(100)))
    yield "webp-animated", riff((b"VP8X", b"\x02" + bytes(9)), (b"ANIM", bytes(6)), (b"ANMF", bytes(40)))
    canvas = (16_000_000).to_bytes(3, "little")
    yield "webp-canvas-of-another-size", riff((b"VP8X", bytes(4) + canvas * 2), (b"VP8L", valid["webp-lossless"][20:]))
    yield "webp-many-chunks", riff(*[(b"XMP ", b"")] * 500_000)
    yield "webp-profile-of-16-megabytes", riff((b"ICCP", bytes(16 * _MB)), (b"VP8L", valid["webp-lossless"][20:]))
    for width, height in ((2**31 - 1, 2**31 - 1), (-5, 5), (30_000, 30_000), (64, -64), (64, -(2**31))):
        for compression in range(8):
            head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, compression, 0, 0, 0, 0, 0)
            yield (
                f"bmp-{width}x{height}-{compression}",
                b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + head + bytes(12288),
            )
    head = struct.pack("<IiiHHIIiiII", 40, 64, 64, 1, 8, 0, 0, 0, 0, 0xFFFFFFFF, 0)
    yield "bmp-palette-of-gigabytes", b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + head + bytes(4096)


def dicom_bombs(jpeg: bytes) -> Iterator[tuple[str, bytes]]:
    """Deflated bombs, sequences in sequences, millions of elements, frames that are something else."""
    pixels = bytes(64 * 64 * 3)
    raw_zeros = deflated_zeros(600 * _MB)[2:]
    yield "dicom-deflate-bomb", dicom_file(pixels, syntax="deflated", raw_body=raw_zeros)
    item, sequence, tables = (
        struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF),
        struct.pack("<HH2sHI", 8, 0x1140, b"SQ", 0, 2**32 - 1),
        struct.pack("<HH2sHI", 0x28, 0x3010, b"SQ", 0, 2**32 - 1),
    )
    for depth in (100, 20_000, 500_000):
        yield f"dicom-{depth}-sequences-deep", dicom_file(pixels, extra=(sequence + item) * depth)
        yield (
            f"dicom-{depth}-tables-deep",
            dicom_file(pixels[:4096], photometric="MONOCHROME2", after=(tables + item) * depth),
        )
    yield "dicom-many-elements", dicom_file(pixels, extra=struct.pack("<HH2sH", 8, 0x0005, b"CS", 0) * 2_000_000)
    yield "dicom-many-private", dicom_file(pixels, extra=struct.pack("<HH2sH", 9, 0x1001, b"LO", 0) * 2_000_000)
    items = struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 2_000_000
    yield "dicom-many-items", dicom_file(pixels, extra=struct.pack("<HH2sHI", 8, 0x1140, b"SQ", 0, len(items)) + items)
    yield (
        "dicom-rows-are-a-sequence",
        dicom_file(pixels, after=struct.pack("<HH2sHI", 0x28, 0x10, b"SQ", 0, len(items)) + items),
    )
    yield "dicom-absurd-length", dicom_file(pixels, extra=struct.pack("<HH2sHI", 9, 0x10, b"OB", 0, 0xFFFFFFF0))
    for width, height in ((65535, 65535), (18900, 18900), (0, 0), (64, 65535)):
        yield f"dicom-{width}x{height}", dicom_file(pixels, width=width, height=height)
    fragment = struct.pack("<HHI", 0xFFFE, 0xE000, 0)
    yield "dicom-many-fragments", dicom_file(b"", syntax="jpeg", frame_items=fragment * 1_000_000)
    yield "dicom-frame-of-another-size", dicom_file(jpeg, syntax="jpeg", width=99, height=99)
    yield "dicom-frame-is-text", dicom_file(b"text" * 20, syntax="jpeg")
    yield "dicom-frame-is-no-codestream", dicom_file(jpeg, syntax="jpeg2000")
    runs = b"\x81\x00" * (4 * _MB)
    for count in (0, 1, 3, 15, 2**32 - 1):
        head = struct.pack("<16I", count, *[64] * 15)
        yield f"dicom-runs-{count}", dicom_file(head + runs, syntax="rle")
    largest = struct.pack("<16I", 3, *[64] * 15) + b"\x81\x00" * 200_000
    yield "dicom-largest-runs", dicom_file(largest, syntax="rle", width=4990, height=5000)
    yield from large_greys()
    siz = (
        b"\xff\x4f\xff\x51" + struct.pack(">HHIIIIIIIIH", 47, 0, 3500, 3500, 0, 0, 1, 1, 0, 0, 3) + b"\x07\x01\x01" * 3
    )
    yield "dicom-tiles", dicom_file(siz + bytes(100), syntax="jpeg2000", width=3500, height=3500)
    for frames in (2, 0, -1, 2**31 - 1):
        yield f"dicom-{frames}-frames", dicom_file(pixels, frames=frames)
    for allocated, stored in ((1, 1), (8, 99), (16, 3), (32, 32), (0, 0), (65535, 65535)):
        yield f"dicom-bits-{allocated}-{stored}", dicom_file(pixels, bits=(allocated, stored))
    for photometric in ("MONOCHROME2", "PALETTE COLOR", "YBR_FULL_422", "YBR_PARTIAL_420", "HSV", "CMYK", ""):
        yield f"dicom-{photometric}", dicom_file(pixels, photometric=photometric)


def large_greys() -> Iterator[tuple[str, bytes]]:
    """As many pixels as are accepted, each of which goes through a window, a rescaling or a palette."""
    center = dicom_element(0x00281050, b"DS", b"100")
    window = center + dicom_element(0x00281051, b"DS", b"100")
    deep = bytes(2 * 4990 * 5000)
    yield (
        "dicom-largest-grey",
        dicom_file(deep, syntax="deflated", width=4990, height=5000, photometric="MONOCHROME1", bits=(16, 16)),
    )
    jpeg = encoded(Image.new("L", (7000, 7100)), "JPEG")
    yield (
        "dicom-largest-grey-jpeg",
        dicom_file(jpeg, syntax="jpeg", width=7000, height=7100, photometric="MONOCHROME1", after=window),
    )
    runs = struct.pack("<16I", 1, *[64] * 15) + b"\x81\x00" * 200_000
    palette = dicom_palette(np.zeros((256, 3)))
    yield (
        "dicom-largest-palette",
        dicom_file(runs, syntax="rle", width=4990, height=5000, photometric="PALETTE COLOR", after=palette),
    )
    codestream = encoded(Image.new("L", (2900, 2900)), "JPEG2000", no_jp2=True)
    yield (
        "dicom-largest-grey-jpeg2000",
        dicom_file(codestream, syntax="jpeg2000", width=2900, height=2900, photometric="MONOCHROME2", after=window),
    )
    for number in (b"1e308", b"-1e308", b"nan", b"inf", b"0", b"1\\2"):
        slope, width = (dicom_element(tag, b"DS", number) for tag in (0x00281053, 0x00281051))
        yield f"dicom-slope-{number!r}", dicom_file(bytes(4096), photometric="MONOCHROME2", after=slope)
        yield f"dicom-window-{number!r}", dicom_file(bytes(4096), photometric="MONOCHROME2", after=center + width)


def zipped(files: dict[str, bytes]) -> bytes:
    """A ZIP archive."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return stream.getvalue()
