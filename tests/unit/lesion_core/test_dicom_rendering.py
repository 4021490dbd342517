"""Greyscale and palettes in DICOM files look the same in every transfer syntax; what cannot be shown is refused."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import pixel_array
from pydicom.pixels.processing import apply_windowing
from pydicom.uid import UID, RLELossless

from lesion_core.errors import ImageError
from lesion_core.imaging import decode_image
from support.image_files import SECONDARY_CAPTURE, SIDE_PX, SYNTAXES, dicom_file, drawn, encoded

ROWS, COLUMNS = np.mgrid[:SIDE_PX, :SIDE_PX]
GREY = (2 * COLUMNS + ROWS + 20).astype(np.uint8)
"""From 20 to 209, smooth, so that a JPEG of it is off by a level at most."""
NATIVE = ("implicit", "explicit", "deflated", "big")
WINDOW = {"WindowCenter": [100, 40], "WindowWidth": [120, 20]}
INVERTED = {"RescaleSlope": -1, "RescaleIntercept": 255}


def dicom(samples: NDArray[Any], syntax: str, photometric: str = "MONOCHROME2", **elements: object) -> bytes:
    """A file with one sample a pixel, written by pydicom and Pillow."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(SYNTAXES[syntax if syntax != "rle" else "explicit"])
    dataset.SOPClassUID, dataset.SOPInstanceUID = UID(SECONDARY_CAPTURE), UID("1.2.3")
    dataset.Rows, dataset.Columns = samples.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, photometric
    dataset.BitsAllocated = dataset.BitsStored = 8 * samples.itemsize
    dataset.PixelRepresentation = int(samples.dtype.kind == "i")
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    dataset.HighBit = dataset.BitsStored - 1
    order = ">" if syntax == "big" else "<"
    patterns = samples.view(f"<u{samples.itemsize}")
    if syntax in ("jpeg", "jpeg2000"):
        options = {"quality": 100} if syntax == "jpeg" else {"no_jp2": True}
        frame = encoded(Image.fromarray(patterns), syntax.replace("jpeg2000", "JPEG2000").upper(), **options)
        dataset.PixelData = encapsulate([frame])
    else:
        dataset.PixelData = patterns.astype(f"{order}u{samples.itemsize}").tobytes()
    dataset["PixelData"].VR = "OW" if samples.itemsize == 2 or syntax == "implicit" else "OB"
    if syntax == "rle":
        dataset.compress(RLELossless, encoding_plugin="pydicom")
    return saved(dataset)


def saved(dataset: Dataset) -> bytes:
    """The bytes of a file."""
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def lut() -> Dataset:
    """An item of a sequence of tables: a negative."""
    item = Dataset()
    item.LUTDescriptor, item.LUTData = [256, 0, 8], bytes(range(256))[::-1]
    item["LUTDescriptor"].VR, item["LUTData"].VR = "US", "OW"
    return item


def palette(entries: int, bits: int, syntax: str, *, first: int = 0) -> dict[str, object]:
    """Three ramps that differ, in the byte order of the file."""
    elements: dict[str, object] = {}
    for share, colour in ((1, "Red"), (2, "Green"), (3, "Blue")):
        ramp = np.arange(entries) * 255 * share // (3 * (entries - 1))
        words = (ramp << 8).astype("<u2") if bits == 16 else ramp.astype(np.uint8).view("<u2")
        elements[f"{colour}PaletteColorLookupTableDescriptor"] = [entries, first, bits]
        elements[f"{colour}PaletteColorLookupTableData"] = words.astype(">u2" if syntax == "big" else "<u2").tobytes()
    return elements


def in_three(values: NDArray[Any]) -> NDArray[np.int64]:
    """Grey levels as RGB."""
    return np.stack([values.round().clip(0, 255).astype(np.int64)] * 3, axis=-1)


def off_by(data: bytes, expected: NDArray[Any]) -> int:
    """The largest difference of a level."""
    return int(np.abs(decode_image(data).astype(int) - expected).max())


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("elements", [{}, WINDOW, INVERTED, WINDOW | INVERTED], ids=str)
@pytest.mark.parametrize("syntax", [*NATIVE, "rle", "jpeg", "jpeg2000"])
def test_greys_look_the_same_in_every_transfer_syntax(
    syntax: str, elements: dict[str, object], photometric: str
) -> None:
    """A negative, a window and a rescaling count for compressed frames as well; of several windows the first."""
    values = 255.0 - GREY if "RescaleSlope" in elements else GREY.astype(float)
    if "WindowWidth" in elements:
        values = (((values - 99.5) / 119 + 0.5) * 255).clip(0, 255)
    expected = in_three(255 - values if photometric == "MONOCHROME1" else values)

    # A level of the JPEG is worth two levels behind the window.
    assert off_by(dicom(GREY, syntax, photometric, **elements), expected) <= (3 if syntax == "jpeg" else 1)


@pytest.mark.parametrize("syntax", [*NATIVE, "rle", "jpeg", "jpeg2000"])
def test_signed_samples_of_8_bits_look_the_same_in_every_transfer_syntax(syntax: str) -> None:
    """The lowest is black."""
    signed = (GREY.astype(np.int16) - 128).astype(np.int8)

    assert off_by(dicom(signed, syntax), in_three(GREY)) <= 1


@pytest.mark.parametrize("kind", ["<u2", "<i2"])
@pytest.mark.parametrize("syntax", [*NATIVE, "rle", "jpeg2000"])
def test_samples_of_16_bits_look_the_same_in_every_transfer_syntax(syntax: str, kind: str) -> None:
    """Through a window that shows the values from 0 to 2047 alone."""
    samples = (GREY.astype(np.int32) * 16 - 1024).astype(np.int16).clip(0 if kind == "<u2" else None, None).astype(kind)
    expected = in_three(samples.astype(float) / 2048 * 255)

    assert off_by(dicom(samples, syntax, WindowCenter=1024, WindowWidth=2048), expected) <= 1


@pytest.mark.parametrize("syntax", [*NATIVE, "rle"])
@pytest.mark.parametrize("is_signed", [False, True])
def test_bits_above_the_stored_ones_change_nothing(syntax: str, is_signed: bool) -> None:
    """Overlays stood there."""
    values = GREY.astype("<i2") * 16 - (2048 if is_signed else 0)
    hidden = ((values & 0xFFF) | (ROWS % 16 << 12)).astype("<u2").view("<i2" if is_signed else "<u2")

    assert off_by(dicom(hidden, syntax, BitsStored=12), in_three(GREY)) <= 1


@pytest.mark.parametrize(("entries", "bits", "first"), [(256, 16, 0), (256, 8, 0), (190, 16, 20), (190, 8, 20)])
@pytest.mark.parametrize("syntax", [*NATIVE, "rle", "jpeg", "jpeg2000"])
def test_palettes_look_the_same_in_every_transfer_syntax(syntax: str, entries: int, bits: int, first: int) -> None:
    """Samples are positions in it, also those of a JPEG; it may start at another one than 0."""
    positions = GREY.astype(int) - first
    ramps = [positions * 255 * share // (3 * (entries - 1)) for share in (1, 2, 3)]
    data = dicom(GREY, syntax, "PALETTE COLOR", **palette(entries, bits, syntax, first=first))

    assert off_by(data, np.stack(ramps, axis=-1)) <= (2 if syntax == "jpeg" else 0)


def test_a_frame_of_positions_is_not_reduced() -> None:
    """The mean of two positions in a palette is a third colour."""
    samples = np.kron(GREY, np.ones((8, 8), np.uint8))
    data = dicom(samples, "jpeg", "PALETTE COLOR", **palette(256, 16, "jpeg"))

    assert decode_image(data, shortest_side_px=40).shape == (512, 512, 3)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(
    "name",
    ["MR_small.dcm", "MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_bigendian.dcm", "examples_overlay.dcm"],
)
def test_windows_equal_pydicoms(name: str, function: str) -> None:
    """Each of the three functions, on files of devices."""
    dataset = pydicom.dcmread(str(get_testdata_file(name)))
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = UID(SECONDARY_CAPTURE)
    dataset.VOILUTFunction = function
    windowed = np.asarray(apply_windowing(pixel_array(dataset), dataset))
    lowest = -(2 ** (dataset.BitsStored - 1)) if dataset.PixelRepresentation else 0

    assert off_by(saved(dataset), in_three((windowed - lowest) / (2**dataset.BitsStored - 1) * 255)) <= 1


def test_a_table_beside_a_window_is_another_view() -> None:
    """The standard lets a program choose (PS3.3, C.11.2.1), and the window is read."""
    with_table = dicom(GREY, "explicit", "MONOCHROME2", **WINDOW, VOILUTSequence=[lut()])

    np.testing.assert_array_equal(
        decode_image(with_table), decode_image(dicom(GREY, "explicit", "MONOCHROME2", **WINDOW))
    )


def test_what_changes_nothing_is_accepted() -> None:
    """A sequence without items, a shape that agrees, and tables for greys beside colours of a palette."""
    negative = dicom(GREY, "explicit", "MONOCHROME1", PresentationLUTShape="INVERSE", ModalityLUTSequence=[])
    colours = palette(256, 16, "explicit")

    assert off_by(negative, in_three(255 - GREY)) == 0
    np.testing.assert_array_equal(
        decode_image(dicom(GREY, "explicit", "PALETTE COLOR", **colours, **WINDOW)),
        decode_image(dicom(GREY, "explicit", "PALETTE COLOR", **colours)),
    )


@pytest.mark.parametrize(
    ("photometric", "elements", "words"),
    [
        ("MONOCHROME2", {"ModalityLUTSequence": [lut()]}, "Modality LUT Sequence.*Export it with a window"),
        ("MONOCHROME2", {"ModalityLUTSequence": [lut()], **WINDOW}, "Modality LUT Sequence.*Export it with a window"),
        ("MONOCHROME1", {"VOILUTSequence": [lut()]}, "VOI LUT Sequence.*Export it with a window"),
        ("MONOCHROME2", {"PresentationLUTSequence": [lut()]}, "Presentation LUT Sequence.*as PNG"),
        ("MONOCHROME2", {"PresentationLUTShape": "INVERSE"}, "Presentation LUT Shape.*Export it as PNG"),
        ("MONOCHROME1", {"PresentationLUTShape": "IDENTITY"}, "Presentation LUT Shape.*Export it as PNG"),
        ("MONOCHROME2", {**WINDOW, "VOILUTFunction": "CUBIC"}, "VOI LUT Function.*Export it with one of these"),
        ("PALETTE COLOR", {"SegmentedRedPaletteColorLookupTableData": b"\0\0"}, "segmented palette.*Convert it to RGB"),
    ],
)
@pytest.mark.parametrize("syntax", ["implicit", "big", "rle", "jpeg", "jpeg2000"])
def test_a_rendering_that_is_not_known_is_refused(
    syntax: str, photometric: str, elements: dict[str, object], words: str
) -> None:
    """By name and with what to do, rather than shown wrongly."""
    with pytest.raises(ImageError, match=words) as caught:
        decode_image(dicom(GREY, syntax, photometric, **elements))

    assert caught.value.code == "unsupported_encoding"


@pytest.mark.parametrize("slope", [0, "1e308", "-1e308"])
def test_a_rescaling_after_which_nothing_can_be_told_apart_is_refused(slope: object) -> None:
    """Not shown as one grey."""
    with pytest.raises(ImageError, match="Correct its Rescale Slope"):
        decode_image(dicom(GREY, "explicit", RescaleSlope=slope, RescaleIntercept=0))


@pytest.mark.parametrize("syntax", ["jpeg", "jpeg2000"])
def test_a_frame_of_other_samples_than_the_file_states_is_refused(syntax: str) -> None:
    """Colours for greyscale, and fewer bits than are stated."""
    for elements in ({"BitsAllocated": 16, "BitsStored": 12}, {"BitsAllocated": 16, "BitsStored": 16}):
        with pytest.raises(ImageError, match="not laid out as the DICOM file says"):
            decode_image(dicom(GREY, syntax, "MONOCHROME2", **elements))
    kind = {"jpeg": "JPEG", "jpeg2000": "JPEG2000"}[syntax]
    options = {"no_jp2": True} if syntax == "jpeg2000" else {}
    with pytest.raises(ImageError, match="not laid out as the DICOM file says"):
        decode_image(dicom_file(encoded(drawn(), kind, **options), syntax=syntax, photometric="MONOCHROME2"))


def test_colours_of_jpeg_2000_that_only_the_file_knows_are_converted() -> None:
    """A codestream without a transform of its own may hold luma and chroma."""
    ybr = Image.fromarray(np.asarray(drawn().convert("YCbCr")))
    plain = encoded(ybr, "JPEG2000", no_jp2=True, mct=0)
    transformed = encoded(drawn(), "JPEG2000", no_jp2=True, mct=1)
    expected = np.asarray(drawn()).astype(int)

    for frame in (plain, transformed):
        assert off_by(dicom_file(frame, syntax="jpeg2000", photometric="YBR_FULL"), expected) <= 3


def test_colours_of_more_than_8_bits_as_jpeg_2000_are_refused() -> None:
    """The decoder would show the brightest as black."""
    frame = bytearray(encoded(drawn(), "JPEG2000", no_jp2=True))
    for component in range(3):
        frame[42 + 3 * component] = 11

    with pytest.raises(ImageError, match="colours of 12 bits as JPEG 2000") as caught:
        decode_image(dicom_file(bytes(frame), syntax="jpeg2000", bits=(16, 12)))

    assert caught.value.code == "unsupported_encoding"
