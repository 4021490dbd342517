"""What says whose an image is must be gone; what the image shows must stay."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pydicom
import pytest
from PIL import Image

from lesion_core.errors import ImageError
from lesion_core.imaging import decode_image, image_format
from lesion_core.imaging.deidentify import deidentify_dicom, deidentify_image
from lesion_core.processes import child_environment
from support.image_files import dicom_file, drawn, rle_frame, seed_files, wide_gamut_profile
from support.tagged import NAME, SECRETS, tagged_dicom, tagged_dicoms, tagged_images, traces

IMAGES, DICOMS = tagged_images(), tagged_dicoms()
KEY = bytes(range(32))


def read(data: bytes) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(data))


@pytest.mark.parametrize("quality", [None, 90])
@pytest.mark.parametrize("name", sorted(IMAGES | DICOMS))
def test_nothing_but_pixels_is_left_of_an_image(name: str, quality: int | None) -> None:
    """Names, dates, numbers and places are in the file before, and nowhere after; Pillow finds no metadata either."""
    data = (IMAGES | DICOMS)[name]
    assert NAME in traces(data)

    clean = deidentify_image(data, jpeg_quality=quality)

    assert traces(clean) == set()
    image = Image.open(io.BytesIO(clean))
    assert image.info.keys() <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
    assert not image.getexif()
    assert image_format(clean) == ("PNG" if quality is None else "JPEG")
    difference = np.abs(decode_image(clean).astype(int) - decode_image(data))
    assert difference.max() == 0 if quality is None else difference.mean() < 5


def test_the_corpus_hides_every_secret() -> None:
    """Otherwise finding none would prove little: the search sees through UTF-16, compression and rationals."""

    assert traces(IMAGES["jpeg"]) == {*SECRETS, "latitude"}
    assert traces(IMAGES["png"]) == {*SECRETS, "latitude"}
    assert traces(DICOMS["explicit"]) == {*SECRETS, "latitude"}


@pytest.mark.parametrize("name", sorted(DICOMS))
def test_nothing_that_identifies_is_left_in_a_dicom_file(name: str) -> None:
    """Preamble, file meta, nested and private elements, the frame's own metadata, bytes behind the pixels."""
    clean = deidentify_dicom(DICOMS[name], key=KEY)

    assert traces(clean) == set()
    dataset = read(clean)
    assert not [element for element in dataset.iterall() if element.tag.is_private]
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "AccessionNumber"):
        assert str(dataset[keyword].value) == ""


@pytest.mark.parametrize("name", sorted(DICOMS))
def test_the_picture_of_a_dicom_file_stays(name: str) -> None:
    """To the last bit, in every transfer syntax."""
    np.testing.assert_array_equal(decode_image(deidentify_dicom(DICOMS[name])), decode_image(DICOMS[name]))


def test_a_secret_in_any_text_of_the_dictionary_goes() -> None:
    """Nearly a thousand elements: what is kept is listed, not what is removed."""
    data = tagged_dicom(drawn().tobytes(), "explicit", texts_everywhere=True)
    assert len(read(data)) > 900

    clean = deidentify_dicom(data)

    assert traces(clean) == set()
    assert len(read(clean)) < 60


def test_the_method_is_recorded() -> None:
    """As PS3.15 asks: identity removed, by which profile; cleaning of pixels is not claimed."""
    dataset = read(deidentify_dicom(DICOMS["explicit"]))

    assert dataset.PatientIdentityRemoved == "YES"
    assert "113100" in dataset.DeidentificationMethod
    codes = [(i.CodeValue, i.CodingSchemeDesignator, i.CodeMeaning) for i in dataset.DeidentificationMethodCodeSequence]
    assert codes == [("113100", "DCM", "Basic Application Confidentiality Profile")]
    assert dataset.LongitudinalTemporalInformationModified == "REMOVED"


def test_what_describes_the_photograph_stays() -> None:
    """Contact, anatomy by the codes and in the words of DICOM, the burned-in flag."""
    dataset = read(deidentify_dicom(DICOMS["jpeg"]))

    assert dataset.Modality == "XC"
    assert (dataset.ContactMethod, dataset.InstanceNumber, dataset.BurnedInAnnotation) == ("CONTACT", 3, "NO")
    assert [item.CodeMeaning for item in dataset.AnatomicRegionSequence] == ["Skin of back"]
    assert "ImageType" not in dataset  # it held a name


def test_the_device_stays_only_on_request() -> None:
    """Its maker and model are free text, in which anything may stand."""
    without, kept = read(deidentify_dicom(DICOMS["jpeg"])), read(deidentify_dicom(DICOMS["jpeg"], keep_device=True))

    assert (without.Manufacturer, "ManufacturerModelName" in without) == ("", False)
    assert (kept.Manufacturer, kept.ManufacturerModelName) == ("Lens & Co", "Scope 3")


@pytest.mark.parametrize(
    ("keyword", "stays"),
    [
        ("BodyPartExamined", "BACK"),
        ("Laterality", "L"),
        ("RescaleType", "US"),
        ("ContactMethod", "CONTACT"),
        ("PatientOrientation", ["L", "F"]),
        ("LossyImageCompressionMethod", "ISO_10918_1"),
    ],
)
def test_a_code_string_stays_only_where_it_is_one(keyword: str, stays: str | list[str]) -> None:
    """A name in capital letters has the form of one."""
    for value in (stays, NAME.upper(), ["L", NAME.upper()]):
        dataset = read(DICOMS["explicit"])
        setattr(dataset, keyword, value)
        stream = io.BytesIO()
        dataset.save_as(stream)

        clean = read(deidentify_dicom(stream.getvalue()))

        assert (keyword in clean) == (value == stays)


def test_a_code_of_the_older_scheme_becomes_the_present_one() -> None:
    """With the words of the standard."""
    dataset = read(DICOMS["explicit"])
    (item, *_) = dataset.AnatomicRegionSequence
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "T-04000", "SRT", NAME
    stream = io.BytesIO()
    dataset.save_as(stream)

    (region,) = read(deidentify_dicom(stream.getvalue())).AnatomicRegionSequence

    assert (region.CodeValue, region.CodingSchemeDesignator, region.CodeMeaning) == ("76752008", "SCT", "Breast")


def test_uids_are_replaced_alike_with_one_key_and_unlike_with_another() -> None:
    """So that the images of a study stay together in one export, and are not linked to another."""
    first, second = read(deidentify_dicom(DICOMS["explicit"], key=KEY)), read(deidentify_dicom(DICOMS["rle"], key=KEY))
    other, no_key = read(deidentify_dicom(DICOMS["rle"], key=KEY[::-1])), read(deidentify_dicom(DICOMS["rle"]))
    original = read(DICOMS["explicit"])

    assert first.StudyInstanceUID == second.StudyInstanceUID
    assert first.SOPInstanceUID == first.file_meta.MediaStorageSOPInstanceUID
    studies = {original.StudyInstanceUID, first.StudyInstanceUID, other.StudyInstanceUID, no_key.StudyInstanceUID}
    assert len(studies) == 4
    assert len({first.StudyInstanceUID, first.SeriesInstanceUID, first.SOPInstanceUID}) == 3
    assert first.StudyInstanceUID.is_valid


def test_colours_of_another_profile_become_srgb() -> None:
    """A profile may carry names, so it is replaced, and the pixels are converted first."""
    dataset = read(DICOMS["explicit"])
    dataset.ICCProfile = wide_gamut_profile()
    stream = io.BytesIO()
    dataset.save_as(stream)

    clean = deidentify_dicom(stream.getvalue())

    np.testing.assert_array_equal(decode_image(clean), decode_image(stream.getvalue()))
    assert not np.array_equal(decode_image(clean), decode_image(DICOMS["explicit"]))
    assert read(clean).ICCProfile != wide_gamut_profile()


@pytest.mark.parametrize("is_signed", [False, True])
@pytest.mark.parametrize("syntax", ["explicit", "implicit", "deflated", "rle"])
def test_greyscale_of_16_bits_keeps_its_depth_and_loses_unused_bits(syntax: str, is_signed: bool) -> None:
    """Overlays used to be stored in the bits above those of the samples; a negative sample has ones there."""
    samples = np.arange(64 * 64, dtype="<u2")
    hidden = samples | np.random.default_rng(0).integers(0, 16, samples.size, "<u2") << 12
    planes = [(hidden >> shift).astype(np.uint8).tobytes() for shift in (8, 0)]
    pixels = rle_frame(planes) if syntax == "rle" else hidden.tobytes()
    data = dicom_file(pixels, syntax=syntax, photometric="MONOCHROME2", bits=(16, 12), is_signed=is_signed)

    clean = deidentify_dicom(data)

    assert read(clean).BitsStored == 12
    expected = np.where(is_signed & (samples >= 2048), samples.astype(np.int32) - 4096, samples)
    np.testing.assert_array_equal(np.frombuffer(read(clean).PixelData, "<i2"), expected)
    np.testing.assert_array_equal(decode_image(clean), decode_image(data))


@pytest.mark.parametrize("photometric", ["YBR_FULL", "YBR_FULL_422"])
def test_run_length_coded_luma_and_chroma_keep_their_colours(photometric: str) -> None:
    """Whatever the name says of half the chroma, the frame holds all of it, and so do the pixels that are written."""
    planes = [plane.tobytes() for plane in drawn().convert("YCbCr").split()]
    data = dicom_file(rle_frame(planes), syntax="rle", photometric=photometric)

    clean = deidentify_dicom(data)

    assert read(clean).PhotometricInterpretation == "YBR_FULL"
    np.testing.assert_array_equal(decode_image(clean), decode_image(data))


@pytest.mark.parametrize("syntax", ["explicit", "rle"])
def test_colours_of_16_bits_lose_unused_bits(syntax: str) -> None:
    """As greyscale does."""
    samples = np.arange(64 * 64 * 3, dtype="<u2").reshape(-1, 3) & 0xFFF
    hidden = samples | 0xA000
    planes = [(hidden[:, colour] >> shift).astype(np.uint8).tobytes() for colour in range(3) for shift in (8, 0)]
    data = dicom_file(rle_frame(planes) if syntax == "rle" else hidden.tobytes(), syntax=syntax, bits=(16, 12))

    clean = deidentify_dicom(data)

    np.testing.assert_array_equal(np.frombuffer(read(clean).PixelData, "<u2").reshape(-1, 3), samples)


@pytest.mark.parametrize(
    ("data", "code"),
    [(b"", "empty_body"), (b"text", "unsupported_format"), (seed_files()["png"], "unsupported_format")],
)
def test_what_is_no_dicom_file_is_refused(data: bytes, code: str) -> None:
    """By name, as everywhere."""
    with pytest.raises(ImageError) as caught:
        deidentify_dicom(data)

    assert caught.value.code == code


def test_a_key_that_could_be_guessed_is_refused() -> None:
    """With a guessed key, new UIDs could be compared with those of known files."""
    with pytest.raises(ValueError, match="at least 16"):
        deidentify_dicom(DICOMS["explicit"], key=b"secret")


def test_programs_that_meet_no_dicom_do_not_load_pydicom() -> None:
    """It would add to every start."""
    code = "import sys, lesion_core.imaging, lesion_core.imaging.deidentify; print('pydicom' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], env=child_environment(), capture_output=True, check=True)

    assert done.stdout == b"False\n"
