"""Bytes in; pixels or a named error out."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lesion_core.errors import ImageError
from lesion_core.imaging import DecodeLimits, decode_image


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


PHOTO = Image.fromarray(np.linspace(0, 255, 64 * 48 * 3).reshape(48, 64, 3).astype(np.uint8))
JPEG, PNG = encoded(PHOTO, "JPEG", quality=90), encoded(PHOTO, "PNG")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty_body"),
        (b"just text", "unsupported_format"),
        (encoded(PHOTO, "GIF"), "unsupported_format"),
        (encoded(PHOTO, "BMP"), "unsupported_format"),
        (JPEG[: len(JPEG) // 2], "corrupt_image"),
        (PNG[: len(PNG) // 2], "corrupt_image"),
        (b"\xff\xd8\xff", "corrupt_image"),
        (encoded(PHOTO.resize((20, 20)), "PNG"), "too_small"),
        (encoded(PHOTO, "PNG", save_all=True, append_images=[PHOTO.rotate(180)]), "animated"),
    ],
)
def test_what_is_no_acceptable_image_gets_its_own_code(data: bytes, code: str) -> None:
    """Programs match the code."""
    with pytest.raises(ImageError) as caught:
        decode_image(data)

    assert caught.value.code == code


def test_a_png_decodes_to_its_exact_pixels() -> None:
    """PNG is lossless."""

    np.testing.assert_array_equal(decode_image(PNG), np.asarray(PHOTO))


def test_limits_are_checked_before_decoding() -> None:
    """A header that claims too many pixels is enough to be refused, though no pixel data follows."""
    small = DecodeLimits(max_pixels=1000, max_bytes=10_000_000)
    with pytest.raises(ImageError) as caught:
        decode_image(PNG[:60], limits=small)

    assert caught.value.code == "too_many_pixels"


def test_too_many_bytes_are_refused() -> None:
    """The limit is on the encoded size."""
    with pytest.raises(ImageError) as caught:
        decode_image(PNG, limits=DecodeLimits(max_bytes=100))

    assert caught.value.code == "too_many_bytes"


def test_exif_orientation_is_applied() -> None:
    """A photograph taken with the camera on its side comes out upright."""
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded(PHOTO.rotate(90, expand=True), "JPEG", quality=95, exif=exif)

    difference = np.abs(decode_image(turned).astype(int) - np.asarray(PHOTO).astype(int))

    assert difference.mean() < 3


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "I;16", "CMYK"])
def test_every_colour_mode_becomes_rgb(mode: str) -> None:
    """Greyscale, palette, alpha, 16-bit and CMYK are converted."""
    if mode == "I;16":
        image = Image.fromarray(np.asarray(PHOTO.convert("L")).astype(np.uint16) * 257)
    else:
        image = PHOTO.convert(mode)
    pixels = decode_image(encoded(image, "JPEG" if mode == "CMYK" else "PNG"))

    assert pixels.shape == (48, 64, 3)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels.mean() - np.asarray(PHOTO).mean()) < 15


def test_transparent_pixels_become_white() -> None:
    """Alpha is laid on white, not on black."""
    clear = Image.new("RGBA", (40, 40), (0, 0, 0, 0))

    assert decode_image(encoded(clear, "PNG")).min() == 255


def test_a_large_jpeg_decodes_at_a_reduced_size_when_asked() -> None:
    """At least twice the size that is needed is kept."""
    large = encoded(PHOTO.resize((1600, 1200)), "JPEG")

    height, width, _ = decode_image(large, shortest_side_px=128).shape

    assert 256 <= min(height, width) < 1200


@given(st.binary(max_size=300), st.sampled_from([b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", JPEG[:200], PNG[:80]]))
def test_any_bytes_are_an_image_or_a_named_error(tail: bytes, head: bytes) -> None:
    """Whatever a decoder raises inside, callers see one kind of error."""
    try:
        pixels = decode_image(head + tail)
    except ImageError:
        return

    assert pixels.ndim == 3


@given(st.integers(0, len(JPEG) - 1), st.integers(0, 255), st.sampled_from([JPEG, PNG]))
def test_a_damaged_byte_gives_an_image_or_a_named_error(position: int, value: int, data: bytes) -> None:
    """Bit rot never crashes a worker."""
    damaged = bytearray(data)
    damaged[position % len(data)] = value
    try:
        pixels = decode_image(bytes(damaged))
    except ImageError:
        return

    assert pixels.dtype == np.uint8
