"""Photographs in DICOM files: ways to store pixels, classes, and what is refused."""

from __future__ import annotations

import io
import logging
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.pixels import pixel_array
from pydicom.pixels.processing import apply_color_lut
from pydicom.uid import UID

from lesion_core.errors import ImageError
from lesion_core.imaging import decode_image
from support.hostile import deflated_zeros
from support.image_files import (
    DERMOSCOPIC,
    SECONDARY_CAPTURE,
    dicom_element,
    dicom_file,
    drawn,
    encoded,
    rle_frame,
    wide_gamut_profile,
)

IMAGE = drawn()
PIXELS = np.asarray(IMAGE)
GREY = np.asarray(IMAGE.convert("L"))


def refusal(data: bytes) -> ImageError:
    with pytest.raises(ImageError) as caught:
        decode_image(data)
    return caught.value


def with_our_class(name: str) -> pydicom.Dataset:
    """One of pydicom's test files, as the class of a secondary capture."""
    dataset = pydicom.dcmread(str(get_testdata_file(name)))
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = UID(SECONDARY_CAPTURE)
    return dataset


def saved(dataset: pydicom.Dataset) -> bytes:
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


@pytest.mark.parametrize("syntax", ["implicit", "explicit", "deflated", "big"])
@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("sop_class", [SECONDARY_CAPTURE, DERMOSCOPIC])
def test_uncompressed_pixels_come_out_exactly(syntax: str, planar: int, sop_class: str) -> None:
    """In every byte order, by pixel or by plane."""
    stored = PIXELS.transpose(2, 0, 1) if planar else PIXELS

    decoded = decode_image(dicom_file(stored.tobytes(), syntax=syntax, planar=planar, sop_class=sop_class))

    np.testing.assert_array_equal(decoded, PIXELS)


@pytest.mark.parametrize(
    "name",
    [
        "SC_rgb_rle.dcm",
        "SC_rgb_rle_16bit.dcm",
        "SC_rgb_jpeg_dcmtk.dcm",
        "SC_rgb_dcmtk_+eb+cr.dcm",
        "SC_rgb_dcmtk_+eb+cy+s4.dcm",
        "SC_jpeg_no_color_transform.dcm",
        "SC_rgb_jpeg_app14_dcmd.dcm",
        "SC_rgb_gdcm_KY.dcm",
        "examples_jpeg2k.dcm",
        "ExplVR_BigEnd.dcm",
        "SC_ybr_full_422_uncompressed.dcm",
    ],
)
def test_pixels_of_others_programs_equal_pydicoms(name: str) -> None:
    """Files that came out of DCMTK, GDCM and devices, against pydicom's own decoding."""
    dataset = with_our_class(name)
    expected = pixel_array(dataset).astype(int)
    if expected.max() > 255:
        expected >>= 8

    assert np.abs(decode_image(saved(dataset)) - expected).max() <= 1


def test_a_jpeg_frame_is_decoded_at_a_reduced_size_when_asked() -> None:
    """As a JPEG file is."""
    large = drawn(512)
    data = dicom_file(encoded(large, "JPEG"), syntax="jpeg", photometric="YBR_FULL_422", width=512, height=512)

    assert decode_image(data).shape == (512, 512, 3)
    assert decode_image(data, shortest_side_px=40).shape == (128, 128, 3)


@pytest.mark.parametrize("bits", [(8, 8), (16, 16), (16, 12)])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("is_signed", [False, True])
def test_greyscale_of_any_depth_uses_the_full_range(bits: tuple[int, int], photometric: str, is_signed: bool) -> None:
    """MONOCHROME1 is a negative; signed values start in the middle."""
    allocated, stored = bits
    values = GREY.astype(np.int64) << (stored - 8)
    if is_signed:
        values -= 2 ** (stored - 1)
    kind = f"<{'i' if is_signed else 'u'}{allocated // 8}"
    data = dicom_file(values.astype(kind).tobytes(), photometric=photometric, bits=bits, is_signed=is_signed)
    expected = GREY if photometric == "MONOCHROME2" else 255 - GREY

    assert np.abs(decode_image(data)[..., 1].astype(int) - expected).max() <= 1


def test_the_window_and_the_rescaling_of_the_file_are_applied() -> None:
    """Values are doubled first; then the window of 100 around 100 is black below and white above."""
    values = np.repeat(np.arange(0, 128, 2, dtype=np.uint8)[None], 64, axis=0)
    window = (
        dicom_element(0x00281050, b"DS", b"100\\40 ")
        + dicom_element(0x00281051, b"DS", b"100\\20 ")
        + dicom_element(0x00281052, b"DS", b"0")
        + dicom_element(0x00281053, b"DS", b"2")
    )
    row = decode_image(dicom_file(values.tobytes(), photometric="MONOCHROME2", after=window))[0, :, 0].astype(float)

    expected = ((np.arange(0, 128, 2) * 2 - 99.5) / 99 + 0.5).clip(0, 1) * 255
    np.testing.assert_allclose(row, expected, atol=1)


def test_a_palette_equals_pydicoms() -> None:
    """With entries of 16 bits."""
    dataset = with_our_class("examples_palette.dcm")
    expected = apply_color_lut(pixel_array(dataset), dataset) >> 8

    np.testing.assert_array_equal(decode_image(saved(dataset)), expected)


def test_colours_are_converted_from_the_files_profile() -> None:
    """A dermoscopic class has to carry one; a red of a wide gamut becomes sRGB's purest."""
    red = np.full((64, 64, 3), (234, 51, 35), np.uint8)
    profile = dicom_element(0x00282000, b"OB", wide_gamut_profile())

    assert np.abs(decode_image(dicom_file(red.tobytes(), after=profile))[0, 0].astype(int) - (255, 0, 0)).max() < 25


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        (dicom_file(b"", sop_class="1.2.840.10008.5.1.4.1.1.2"), "unsupported_encoding", "'CT Image Storage'"),
        (dicom_file(b"x", syntax="jpegls"), "unsupported_encoding", "JPEG-LS Lossless Image Compression"),
        (dicom_file(PIXELS.tobytes(), frames=3), "several_images", "3 frames"),
        (dicom_file(PIXELS.tobytes(), photometric="HSV"), "unsupported_encoding", "as HSV"),
        (dicom_file(PIXELS.tobytes(), bits=(32, 32)), "unsupported_encoding", "32 bits"),
        (
            dicom_file((GREY.astype("<u2") << 8).tobytes(), photometric="MONOCHROME2", bits=(16, 12), high_bit=15),
            "unsupported_encoding",
            "the highest of them bit 15",
        ),
        (
            dicom_file(PIXELS[..., :2].tobytes(), photometric="YBR_FULL_422", planar=1),
            "unsupported_encoding",
            "Correct its Planar Configuration",
        ),
        (dicom_file(PIXELS.tobytes(), width=65535, height=65535), "too_many_pixels", "65535 x 65535"),
        (dicom_file(PIXELS.tobytes()[:-1000]), "corrupt_image", "less than expected"),
        (dicom_file(encoded(IMAGE, "JPEG"), syntax="jpeg", width=99), "corrupt_image", "its frame 64 x 64"),
        (dicom_file(rle_frame([PIXELS[..., 0].tobytes()]), syntax="rle"), "corrupt_image", "1 segments"),
        (dicom_file(rle_frame([b"short"] * 3), syntax="rle"), "corrupt_image", "not enough image data"),
        (bytes(128) + b"DICM", "unsupported_encoding", "no transfer syntax"),
    ],
)
def test_a_dicom_file_that_is_not_read_says_why(data: bytes, code: str, words: str) -> None:
    """With the class, the transfer syntax or the number that does not fit, and what to do."""
    error = refusal(data)

    assert error.code == code
    assert words in error.message


def test_a_deflated_bomb_stops_at_its_limit() -> None:
    """A megabyte that would grow to a gigabyte."""

    assert refusal(dicom_file(b"", syntax="deflated", raw_body=deflated_zeros(2**30)[2:])).code == "too_many_bytes"


def test_a_deflated_file_that_is_cut_off_is_damaged() -> None:
    """Even where the part that is there holds an image."""
    deflater = zlib.compressobj(wbits=-15)
    body = deflater.compress(b"\0" * 100) + deflater.flush(zlib.Z_SYNC_FLUSH)

    assert "cut off" in refusal(dicom_file(b"", syntax="deflated", raw_body=body)).message


def test_damage_is_reported_by_the_error_alone(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """pydicom's own warnings quote values of the file, which may name a patient."""
    name = dicom_element(0x00080020, b"DA", b"born Doe") + dicom_element(0x00280030, b"DS", b"Jane Doe")
    with warnings.catch_warnings(record=True) as warned, caplog.at_level(logging.DEBUG):
        warnings.simplefilter("always")
        decode_image(dicom_file(PIXELS.tobytes(), extra=name))
        refusal(dicom_file(PIXELS.tobytes()[:99], extra=name))

    assert warned == []
    assert "Doe" not in caplog.text
    assert capfd.readouterr() == ("", "")


def test_one_thread_does_not_end_the_silence_of_another() -> None:
    """Whoever is ready first leaves the filters as they are for the others; warnings of other code are still heard."""
    files = [dicom_file(PIXELS.tobytes())] * 20
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(decode_image, files))
        for module in ("pydicom.valuerep", "lesion_core.imaging.dicom", "lesion_core.scan"):
            warnings.warn_explicit("born Doe", UserWarning, "file.py", 1, module=module, registry={})

    assert len(warned) == 1
