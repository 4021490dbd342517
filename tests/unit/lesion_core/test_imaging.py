"""Bytes in; pixels or a named error out."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from lesion_core.errors import ImageError
from lesion_core.imaging import ALLOWED_FORMATS, FILE_SUFFIXES, MEDIA_TYPES, DecodeLimits, decode_image, image_format
from lesion_core.imaging.header import exif_orientation, read_ifd
from lesion_core.imaging.jpeg import read_jpeg
from support.hostile import deflated_zeros
from support.image_files import (
    SIDE_PX,
    bmp_with_alpha,
    bmp_with_profile,
    encoded,
    grey_profile,
    packed_12,
    png_chunk,
    seed_files,
    srgb_profile,
    tiff_file,
    wide_gamut_profile,
)

PHOTO = Image.fromarray(np.linspace(0, 255, 64 * 48 * 3).reshape(48, 64, 3).astype(np.uint8))
JPEG, PNG = encoded(PHOTO, "JPEG", quality=90), encoded(PHOTO, "PNG")
VALID = seed_files()
REFUSED = {"png-animated": "animated", "webp-animated": "animated", "tiff-pages": "several_images"}
REFUSED["gif"] = "unsupported_format"


def refusal(data: bytes, limits: DecodeLimits | None = None) -> str:
    """The code with which an image is refused."""
    with pytest.raises(ImageError) as caught:
        decode_image(data, limits=limits or DecodeLimits())
    return caught.value.code


def tagged(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty_body"),
        (b"just text", "unsupported_format"),
        (b"BMW sells cars, and this is a sentence about it.", "unsupported_format"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unsupported_format"),
        (JPEG[: len(JPEG) // 2], "corrupt_image"),
        (PNG[: len(PNG) // 2], "corrupt_image"),
        (VALID["tiff"][:-500], "corrupt_image"),
        (VALID["webp"][:-100], "corrupt_image"),
        (VALID["bmp"][:-500], "corrupt_image"),
        (b"\xff\xd8\xff", "corrupt_image"),
        (encoded(PHOTO.resize((20, 20)), "PNG"), "too_small"),
        (VALID["gif"], "unsupported_format"),
        (VALID["png-animated"], "animated"),
        (VALID["webp-animated"], "animated"),
        (VALID["tiff-pages"], "several_images"),
        (b"II+\0" + bytes(100), "unsupported_encoding"),
        (encoded(PHOTO, "TIFF", compression="jpeg"), "unsupported_encoding"),
        (encoded(PHOTO.convert("LAB"), "TIFF"), "unsupported_encoding"),
        (encoded(PHOTO.convert("F"), "TIFF"), "unsupported_encoding"),
        (encoded(PHOTO.convert("I"), "TIFF"), "unsupported_encoding"),
        (JPEG.replace(b"\xff\xc0", b"\xff\xc3"), "unsupported_encoding"),
        (JPEG.replace(b"\xff\xc0", b"\xff\xc9"), "unsupported_encoding"),
        (VALID["bmp"][:30] + struct.pack("<I", 1) + VALID["bmp"][34:], "unsupported_encoding"),
    ],
)
def test_what_is_no_acceptable_image_gets_its_own_code(data: bytes, code: str) -> None:
    """Programs match the code."""

    assert refusal(data) == code


@pytest.mark.parametrize("name", sorted(VALID))
def test_every_way_to_write_an_image_decodes_to_the_same_picture(name: str) -> None:
    """Up to what the format itself loses: greyscale, palette, transparency, lossy compression, turned on its side."""
    if name in REFUSED:
        assert refusal(VALID[name]) == REFUSED[name]
        return
    expected = np.asarray(Image.open(io.BytesIO(VALID["png"])).convert("RGB")).astype(float)
    pixels = decode_image(VALID[name])

    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    if name in ("jpeg-tagged", "png-tagged", "webp-alpha"):
        expected = expected[::-1].transpose(1, 0, 2)
    if "alpha" in name or "deflate" in name or name == "png-palette":
        assert pixels.shape == expected.shape
        return
    difference = np.abs(pixels.mean(axis=2) - expected.mean(axis=2))
    assert difference.mean() < 12, difference.mean()


@pytest.mark.parametrize(
    "name", [name for name in sorted(VALID) if not name.startswith("dicom") and name not in REFUSED]
)
def test_pixels_equal_those_of_pillow(name: str) -> None:
    """What is left out of a file before it is decoded changes no pixel."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(VALID[name])))
    if image.mode.startswith("I;16"):  # Pillow gives the samples as they are
        grey = (np.asarray(image) >> (4 if name == "tiff-12" else 8)).astype(np.uint8)
        image = Image.fromarray(255 - grey if "negative" in name else grey)
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))

    difference = np.abs(decode_image(VALID[name]).astype(int) - np.asarray(image.convert("RGB")))

    assert difference.max() <= 1


@pytest.mark.parametrize(("bits", "photometric"), [(8, 0), (16, 0), (8, 1), (12, 1), (16, 1)])
def test_white_is_white_in_a_tiff_file_of_any_depth(bits: int, photometric: int) -> None:
    """Samples are scaled by the bits that they have, and turned round where 0 is white."""
    white, half = (0, 2 ** (bits - 1)) if photometric == 0 else (2**bits - 1, 2 ** (bits - 1))
    row = np.repeat([white, half], SIDE_PX // 2)
    pack = {8: lambda row: row.astype(np.uint8).tobytes(), 12: packed_12, 16: lambda row: row.astype("<u2").tobytes()}

    pixels = decode_image(tiff_file([pack[bits](row)] * SIDE_PX, bits=bits, photometric=photometric))

    assert set(np.unique(pixels[:, : SIDE_PX // 2])) == {255}
    assert set(np.unique(pixels[:, SIDE_PX // 2 :])) <= {127, 128}


@pytest.mark.parametrize(("bits", "photometric"), [(12, 0), (10, 1), (14, 1), (24, 1), (12, 3)])
@pytest.mark.parametrize("order", "<>")
def test_depths_that_would_be_read_wrongly_are_refused_by_name(bits: int, photometric: int, order: str) -> None:
    """Not as damage: the file is in order, and the message says what to save it as."""
    data = tiff_file([bytes(SIDE_PX * 3)] * SIDE_PX, bits=bits, photometric=photometric, order=order)
    with pytest.raises(ImageError, match=f"samples of {bits} bits.*Save it with 8 or 16 bits") as caught:
        decode_image(data)

    assert caught.value.code == "unsupported_encoding"


@pytest.mark.parametrize(("bits", "photometric"), [(12, 1), (16, 0)])
def test_depths_that_are_read_in_one_byte_order_only_are_refused_in_the_other(bits: int, photometric: int) -> None:
    """By name as well."""
    data = tiff_file([bytes(SIDE_PX * 2)] * SIDE_PX, bits=bits, photometric=photometric, order=">")

    assert refusal(data) == "unsupported_encoding"


@pytest.mark.parametrize(
    ("bits", "photometric", "samples", "planar", "words"),
    [
        (16, 1, 2, 1, "greys of 16 bits with 1 other samples beside each.*Save it without transparency"),
        (8, 0, 2, 1, "greys of 8 bits with 1 other samples beside each.*Save it without transparency"),
        (8, 1, 3, 1, "greys of 8 bits with 2 other samples beside each.*Save it without transparency"),
        (16, 2, 3, 2, "16 bits a sample plane by plane and uncompressed.*Save it with 8 bits, compressed"),
    ],
)
@pytest.mark.parametrize("order", "<>")
def test_samples_that_would_be_read_wrongly_are_refused_by_name(
    bits: int, photometric: int, samples: int, planar: int, words: str, order: str
) -> None:
    """Pillow shows planes of 16 bits as noise, and knows no transparency beside such greys."""
    rows = [bytes(SIDE_PX * samples * bits // 8)] * SIDE_PX
    data = tiff_file(rows, bits=bits, photometric=photometric, samples=samples, planar=planar, order=order)
    with pytest.raises(ImageError, match=words) as caught:
        decode_image(data)

    assert caught.value.code == "unsupported_encoding"


def test_greys_of_8_bits_may_have_transparency_beside_each() -> None:
    """Which is laid on white."""
    image = Image.fromarray(np.full((SIDE_PX, SIDE_PX, 2), (40, 255), np.uint8), "LA")
    image.putpixel((1, 0), (40, 0))

    assert decode_image(encoded(image, "TIFF"))[0, :2, 0].tolist() == [40, 255]


def test_formats_are_decided_by_content() -> None:
    """Every format is found in a file of its own, and has a suffix and a content type."""
    found = {image_format(data) for name, data in VALID.items() if name != "gif"}

    assert found == set(ALLOWED_FORMATS) == set(MEDIA_TYPES)
    assert {"." + name.lower() for name in ("JPEG", "PNG", "TIFF", "WebP", "BMP")} <= set(FILE_SUFFIXES)


def test_limits_are_checked_before_decoding() -> None:
    """A header that claims too many pixels is enough to be refused, though no pixel data follows."""
    small = DecodeLimits(max_pixels=1000, max_bytes=10_000_000)

    assert refusal(PNG[:60], small) == "too_many_pixels"
    assert refusal(JPEG[: JPEG.index(b"\xff\xda")], small) == "too_many_pixels"


@pytest.mark.parametrize("name", [name for name in sorted(VALID) if name not in REFUSED])
def test_every_format_has_the_limits(name: str) -> None:
    """Pixels, bytes and the smallest side."""

    assert refusal(VALID[name], DecodeLimits(max_pixels=4095)) == "too_many_pixels"
    assert refusal(VALID[name], DecodeLimits(max_bytes=len(VALID[name]) - 1)) == "too_many_bytes"
    assert refusal(VALID[name], DecodeLimits(min_side_px=65)) == "too_small"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(kind: str, orientation: int) -> None:
    """A photograph taken with the camera on its side comes out upright, in all eight positions."""
    options = {"quality": 95} if kind in ("JPEG", "WEBP") else {}
    data = encoded(PHOTO, kind, exif=tagged(orientation), **options)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")

    pixels = decode_image(data)

    assert pixels.shape == (expected.height, expected.width, 3)
    np.testing.assert_array_equal(pixels, np.asarray(expected))


@pytest.mark.parametrize("exif", [b"", b"II*\0", b"MM\0*\0\0\0\x08\xff\xff", b"II*\0\xff\xff\xff\xff", b"\0" * 30])
def test_damaged_exif_is_no_orientation(exif: bytes) -> None:
    """It is only a hint."""

    assert exif_orientation(exif) == 1


def test_a_directory_with_absurd_claims_is_refused() -> None:
    """Only tags that are asked for are read, and only where their values lie inside."""
    claim = b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", 273, 4, 2**30, 8) + bytes(4)

    assert read_ifd(claim, 8, only=frozenset()).entries == {}
    with pytest.raises(ImageError, match="claims 4,294,967,296 bytes"):
        read_ifd(claim, 8, only=frozenset({273}))


def test_transparent_pixels_become_white() -> None:
    """Alpha is laid on white, not on black."""
    clear = Image.new("RGBA", (40, 40), (0, 0, 0, 0))

    assert decode_image(encoded(clear, "PNG")).min() == 255
    assert decode_image(encoded(clear, "TIFF")).min() == 255
    assert decode_image(encoded(clear, "WEBP", lossless=True)).min() == 255


def test_cmyk_of_adobes_programs_is_inverted_and_other_cmyk_is_not() -> None:
    """No ink is white; Adobe's marker says that values are stored the other way round."""
    white = Image.new("CMYK", (40, 40), (0, 0, 0, 0))
    adobe = encoded(white, "JPEG")
    start = adobe.index(b"\xff\xee")
    plain = adobe[:start] + adobe[start + 16 :]

    assert decode_image(adobe).min() == 255
    assert read_jpeg(plain).is_plain_cmyk
    assert decode_image(plain).max() == 0  # the same values, now taken as full ink


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_colours_are_converted_from_the_profile_to_srgb(kind: str) -> None:
    """A red of a wide gamut is beyond what sRGB can show, so it becomes its purest red."""
    image = Image.new("RGB", (40, 40), (234, 51, 35))
    options = {"quality": 100} if kind in ("JPEG", "WEBP") else {}
    wide = decode_image(encoded(image, kind, icc_profile=wide_gamut_profile(), **options))[20, 20].astype(int)
    same = decode_image(encoded(image, kind, icc_profile=srgb_profile(), **options))[20, 20].astype(int)

    assert np.abs(wide - (255, 0, 0)).max() < 25
    assert np.abs(same - (234, 51, 35)).max() <= 3


def test_a_bitmap_of_version_5_may_have_a_profile() -> None:
    """Behind its pixels; one that points outside is no profile."""
    image = Image.new("RGB", (40, 40), (234, 51, 35))
    data = bmp_with_profile(image, wide_gamut_profile())

    assert np.abs(decode_image(data)[20, 20].astype(int) - (255, 0, 0)).max() < 25
    for cut in (data[:126] + b"\xff" * 8 + data[134:], data[:-100]):
        np.testing.assert_array_equal(decode_image(cut), np.asarray(image))


def test_a_bitmap_without_any_alpha_is_not_blank() -> None:
    """Its fourth byte was left empty, though the header calls it alpha; one that is used counts."""
    clear, half = (PHOTO.convert("RGBA") for _ in range(2))
    clear.putalpha(0)
    half.putpixel((0, 0), (9, 9, 9, 255))
    half.paste((0, 0, 0, 0), (1, 1, 64, 48))

    np.testing.assert_array_equal(decode_image(bmp_with_alpha(clear)), np.asarray(PHOTO))
    assert decode_image(bmp_with_alpha(half))[0, 0, 0] == 9
    assert (decode_image(bmp_with_alpha(half))[1:, 1:] == 255).all()


@pytest.mark.parametrize("mode", ["L", "LA"])
def test_greys_are_converted_from_their_profile_with_and_without_alpha(mode: str) -> None:
    """Half of the light is more than half of sRGB's scale."""
    image = Image.new("L", (40, 40), 128).convert(mode)

    plain = decode_image(encoded(image, "PNG"))
    linear = decode_image(encoded(image, "PNG", icc_profile=grey_profile(gamma=1)))

    assert set(np.unique(plain)) == {128}
    assert np.abs(linear.astype(int) - 188).max() <= 2


@pytest.mark.parametrize("profile", [b"", b"noise" * 100, srgb_profile()[:200], b"\xff" * 128])
def test_a_broken_profile_is_ignored(profile: bytes) -> None:
    """As browsers do: the image is still good."""

    np.testing.assert_array_equal(decode_image(encoded(PHOTO, "PNG", icc_profile=profile)), np.asarray(PHOTO))


def test_what_inflates_in_a_png_is_not_inflated() -> None:
    """Texts are left out; a profile stops at its limit."""
    zeros = b"x\0\0" + deflated_zeros(50 * 2**20)
    bomb = png_chunk(b"zTXt", zeros) + png_chunk(b"iCCP", zeros)
    data = PNG[:33] + bomb + PNG[33:]

    np.testing.assert_array_equal(decode_image(data), np.asarray(PHOTO))


def test_a_decoder_sees_no_metadata() -> None:
    """Comments, EXIF, XMP, profiles, previews and whatever stands behind the image are left out."""
    data = VALID["jpeg-tagged"] + b"PK\x03\x04 an archive"

    essence = read_jpeg(data).essence

    for trace in (b"Exif", b"<x/>", b"ICC_PROFILE", b"PK\x03\x04"):
        assert trace in data
        assert trace not in essence


@pytest.mark.parametrize("count", [1, 3])
def test_the_first_of_the_photographs_in_an_mpo_is_taken(count: int) -> None:
    """Many phones write them."""
    others = [ImageOps.invert(PHOTO)] * (count - 1)
    data = encoded(PHOTO, "MPO", save_all=True, append_images=others, quality=95)

    assert np.abs(decode_image(data).astype(int) - np.asarray(PHOTO)).mean() < 3


def test_a_large_jpeg_decodes_at_a_reduced_size_when_asked() -> None:
    """At least three times the size that is needed is kept."""
    large = encoded(PHOTO.resize((1600, 1200)), "JPEG")

    height, width, _ = decode_image(large, shortest_side_px=128).shape

    assert 3 * 128 <= min(height, width) < 1200


def test_a_limit_holds_for_the_size_before_any_reduction() -> None:
    """What the header says counts."""
    large = encoded(PHOTO.resize((1600, 1200)), "JPEG")
    with pytest.raises(ImageError) as caught:
        decode_image(large, limits=DecodeLimits(max_pixels=1_000_000), shortest_side_px=64)

    assert caught.value.code == "too_many_pixels"


@given(st.binary(max_size=300), st.sampled_from([b"", *(data[:150] for data in VALID.values())]))
def test_any_bytes_are_an_image_or_a_named_error(tail: bytes, head: bytes) -> None:
    """Whatever a decoder raises inside, callers see one kind of error."""
    try:
        pixels = decode_image(head + tail)
    except ImageError:
        return

    assert pixels.ndim == 3


@given(st.integers(0, 2**20), st.integers(0, 255), st.sampled_from(sorted(VALID)))
def test_a_damaged_byte_gives_an_image_or_a_named_error(position: int, value: int, name: str) -> None:
    """Bit rot never crashes a worker."""
    damaged = bytearray(VALID[name])
    damaged[position % len(damaged)] = value
    try:
        pixels = decode_image(bytes(damaged))
    except ImageError:
        return

    assert pixels.dtype == np.uint8
