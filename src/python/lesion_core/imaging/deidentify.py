"""De-identification: images of which nothing but pixels is left, and DICOM files of which only what is listed is left.

DICOM follows the Basic Application Level Confidentiality Profile (PS3.15, annex E), read strictly: instead of removing
what its table lists, everything is removed that is not listed here, and of what is listed only numbers and the words of
``dicom_terms`` stay. What is *seen* in an image (a name on a label, a face, a tattoo) is not looked for: the option
"Clean Pixel Data" (113101) is not claimed, so look at the images.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import secrets
import uuid
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from PIL import Image, ImageCms

import lesion_core
from lesion_core.errors import ImageError
from lesion_core.imaging.decode import DEFAULT_LIMITS, DecodeLimits, decode_image
from lesion_core.imaging.dicom import (
    DEFLATED,
    EXPLICIT,
    ICC_PROFILE,
    IMPLICIT,
    JPEG,
    PIXEL_DATA,
    RLE,
    PixelLayout,
    first_frame,
    is_short,
    layout_of,
    read_dicom,
    silence_pydicom,
    value_of,
)
from lesion_core.imaging.dicom_pixels import rle_samples
from lesion_core.imaging.dicom_terms import TERMS, known_code
from lesion_core.imaging.header import acceptable_profile
from lesion_core.imaging.jpeg import read_jpeg
from lesion_core.imaging.rgb import is_srgb

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

METHOD = f"PS3.15 basic profile (DCM 113100), lesion_core {lesion_core.__version__}"
METHOD_CODE = ("113100", "DCM", "Basic Application Confidentiality Profile")

# Action K of the profile, or not in its table: how the pixels are stored, and how the photograph was taken.
_KEPT = (
    *("SOPClassUID", "ImageType", "Modality", "ConversionType"),
    *("BodyPartExamined", "Laterality", "ImageLaterality", "PatientOrientation", "SeriesNumber", "InstanceNumber"),
    *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "Rows", "Columns", "PixelAspectRatio"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "NumberOfFrames", "PixelSpacing"),
    *("ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelSpacingCalibrationType", "BurnedInAnnotation"),
    *("RescaleIntercept", "RescaleSlope", "RescaleType", "WindowCenter", "WindowWidth", "VOILUTFunction"),
    *("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod", "QualityControlImage"),
    *("LightSourcePolarization", "EmitterColorTemperature", "ContactMethod", "ImmersionMedia"),
    *("OpticalMagnificationFactor", "ExposureTimeInSeconds", "FNumber", "ISOSpeed", "PhotographicSensitivity"),
    *("FlashFiringStatus", "FlashMode", "FocalLength", "WhiteBalance", "LightSource", "ExposureMode"),
)
# Texts that are free, so anything may stand in them; the profile lets them stay.
_OF_THE_DEVICE = ("Manufacturer", "ManufacturerModelName")
# Action C: sequences of codes, kept where DICOM lists the code, with its own words for it.
_KEPT_CODES = ("AnatomicRegionSequence", "AnatomicRegionModifierSequence", "PrimaryAnatomicStructureSequence")
# Action Z: emptied, because the classes demand that they are there.
_EMPTIED = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"),
    *("AccessionNumber", "ReferringPhysicianName", "ContentDate", "ContentTime", "AcquisitionContextSequence"),
    "Manufacturer",
)
# Action U: replaced by others, always the same for the same key.
_REPLACED = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
_RENDERED = ("WindowCenter", "WindowWidth", "VOILUTFunction", "RescaleIntercept", "RescaleSlope", "RescaleType")


def deidentify_image(data: bytes, *, jpeg_quality: int | None = None, limits: DecodeLimits = DEFAULT_LIMITS) -> bytes:
    """Re-encode the pixels of an image and nothing else: no EXIF, XMP, IPTC, profile, comment or preview.

    The pixels are upright and sRGB, as ``decode_image`` gives them. Works for every format, DICOM too.

    Args:
        data: bytes of one image.
        jpeg_quality: 1 to 95 for a JPEG, which is smaller and loses detail; by default a PNG, which loses none.
        limits: as for decoding.
    Raises:
        ImageError: the bytes are not an acceptable image.
    """
    stream = io.BytesIO()
    image = Image.fromarray(decode_image(data, limits=limits))
    if jpeg_quality is None:
        image.save(stream, "PNG")
    else:
        image.save(stream, "JPEG", quality=jpeg_quality)
    return stream.getvalue()


def deidentify_dicom(
    data: bytes, *, key: bytes | None = None, keep_device: bool = False, limits: DecodeLimits = DEFAULT_LIMITS
) -> bytes:
    """De-identify one DICOM file by the basic profile (code 113100, recorded in the file).

    Kept: how pixels are stored, how the photograph was taken, coded anatomy; in words only those that ``dicom_terms``
    lists. Emptied: patient, study and dates as far as the class demands them. Everything else is removed, private
    elements and sequences too.
    Pixels: uncompressed ones and those of a JPEG stay as they are, without what else the frame held; other compression
    is undone. Colours of a profile other than sRGB are converted. *Burned In Annotation* stays as the device wrote it.

    Args:
        data: a file as ``decode_image`` accepts it.
        key: a secret of at least 16 bytes. The same key gives the same new UIDs, so that the files of an export stay
            linked; without a key they are linked to nothing.
        keep_device: keep maker and model of the device, as the profile does. They are free text: look at them first.
        limits: as for decoding.
    Returns:
        The bytes of a new file.
    Raises:
        ImageError: the bytes are not an acceptable DICOM file.
        ValueError: the key is short enough to be guessed.
    """
    if key is not None and len(key) < 16:
        raise ValueError(f"key has {len(key)} bytes; at least 16 are needed. Make one with secrets.token_bytes(32).")
    decode_image(data, limits=limits)
    if data[128:132] != b"DICM":
        raise ImageError("These bytes are no DICOM file: use deidentify_image.", code="unsupported_format")
    try:
        silence_pydicom()
        return _written(_cleaned(read_dicom(data), data, key or secrets.token_bytes(32), keep_device, limits))
    except ImageError:
        raise
    except Exception as error:  # pydicom may raise anything on hostile bytes
        raise ImageError("The DICOM file is damaged beyond its pixels and cannot be de-identified.") from error


def _cleaned(source: Dataset, data: bytes, key: bytes, keep_device: bool, limits: DecodeLimits) -> Dataset:
    from pydicom.datadict import tag_for_keyword
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID

    clean = Dataset()
    clean.SpecificCharacterSet = "ISO_IR 192"
    for keyword in _KEPT:
        value = _plain_value(source, keyword)
        if value is not None:
            setattr(clean, keyword, value)
    for keyword in _KEPT_CODES:
        if items := _clean_codes(source, tag_for_keyword(keyword) or 0):
            setattr(clean, keyword, items)
    for keyword in _EMPTIED:
        setattr(clean, keyword, [] if keyword.endswith("Sequence") else "")
    for keyword in _OF_THE_DEVICE if keep_device else ():
        setattr(clean, keyword, str(value_of(source, tag_for_keyword(keyword) or 0) or ""))
    for keyword in _REPLACED:
        uid = value_of(source, tag_for_keyword(keyword) or 0)
        if uid is not None or keyword == "SOPInstanceUID":
            setattr(clean, keyword, _new_uid(str(uid or uuid.uuid4()), key))
    clean.PatientIdentityRemoved = "YES"
    clean.DeidentificationMethod = METHOD
    clean.DeidentificationMethodCodeSequence = [_code(*METHOD_CODE)]
    clean.LongitudinalTemporalInformationModified = "REMOVED"
    clean.file_meta = FileMetaDataset()
    clean.file_meta.MediaStorageSOPClassUID = clean.SOPClassUID
    clean.file_meta.MediaStorageSOPInstanceUID = clean.SOPInstanceUID
    clean.file_meta.TransferSyntaxUID = UID(_set_pixels(clean, source, data, limits))
    return clean


def _written(dataset: Dataset) -> bytes:
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def _set_pixels(clean: Dataset, source: Dataset, data: bytes, limits: DecodeLimits) -> str:
    """Set the pixels, and return the transfer syntax of the file that they can be written in."""
    layout, syntax = layout_of(source), str(source.file_meta.TransferSyntaxUID)
    is_colour = layout.samples == 3
    as_stored = is_srgb(acceptable_profile(value_of(source, ICC_PROFILE))) and layout.photometric != "PALETTE COLOR"
    if as_stored and syntax in JPEG:
        from pydicom.encaps import encapsulate

        header = read_jpeg(first_frame(source))
        as_stored = is_srgb(header.icc_profile)
        clean.PixelData = encapsulate([header.essence])
        clean["PixelData"].VR = "OB"
    elif as_stored and syntax in (EXPLICIT, IMPLICIT, DEFLATED):
        _set_native(clean, value_of(source, PIXEL_DATA), layout)
        syntax = EXPLICIT
    elif as_stored and syntax == RLE:
        clean.PlanarConfiguration = 0
        if layout.photometric == "YBR_FULL_422":  # run-length coding holds the colours of every pixel all the same
            layout = attrs.evolve(layout, photometric="YBR_FULL")
            clean.PhotometricInterpretation = layout.photometric
        _set_native(clean, rle_samples(first_frame(source), layout).tobytes(), layout)
        syntax = EXPLICIT
    else:
        as_stored = False
    if not as_stored:
        pixels, syntax, is_colour = decode_image(data, limits=limits), EXPLICIT, True
        for keyword in _RENDERED:
            if keyword in clean:
                delattr(clean, keyword)
        clean.SamplesPerPixel, clean.PhotometricInterpretation, clean.PlanarConfiguration = 3, "RGB", 0
        clean.BitsAllocated, clean.BitsStored, clean.HighBit, clean.PixelRepresentation = 8, 8, 7, 0
        clean.PixelData = pixels.tobytes() + b"\0" * (pixels.size % 2)
        clean["PixelData"].VR = "OB"
    if is_colour:
        clean.ICCProfile = _srgb_profile()
    return syntax


def _set_native(clean: Dataset, pixels: bytes, layout: PixelLayout) -> None:
    if layout.samples == 1 and "PlanarConfiguration" in clean:
        del clean.PlanarConfiguration
    samples = _without_unused_bits(pixels, layout)
    clean.PixelData = samples + b"\0" * (len(samples) % 2)
    clean["PixelData"].VR = "OW" if layout.bits_allocated == 16 else "OB"


def _without_unused_bits(pixels: bytes, layout: PixelLayout) -> bytes:
    """Exactly the bytes of the image; overlays used to hide in the bits of which no sample is made.

    Those bits become zeros, and of a negative sample ones, which say nothing that the sample does not.
    """
    per_pixel = 2 if layout.photometric == "YBR_FULL_422" else layout.samples
    pixels = pixels[: layout.width_px * layout.height_px * per_pixel * layout.bits_allocated // 8]
    unused = layout.bits_allocated - layout.bits_stored
    if unused == 0:
        return pixels
    words = np.frombuffer(pixels, "<i2" if layout.is_signed else "<u2")
    return (words << unused >> unused).astype("<u2").tobytes()


def _plain_value(source: Dataset, keyword: str) -> Any:
    """Value of a kept element, ``None`` where it is absent or neither numbers nor words that are listed."""
    from pydicom.datadict import tag_for_keyword

    tag = tag_for_keyword(keyword) or 0
    try:
        value = value_of(source, tag)
        if value is None or source[tag].VR == "SQ":
            return None
        parts = [value] if isinstance(value, (str, int, float)) else list(value)
    except (ImageError, ValueError, TypeError, AttributeError):  # a damaged element is as good as none
        return None
    if keyword == "SOPClassUID":  # one of those that are accepted
        return value
    if keyword in TERMS:
        return value if all(TERMS[keyword].fullmatch(str(part)) for part in parts) else None
    return value if all(isinstance(part, (int, float)) for part in parts) else None


def _clean_codes(source: Dataset, tag: int) -> list[Dataset]:
    """The codes in a sequence that DICOM lists, each in its own words and without anything else."""
    if tag not in source or not is_short(source, tag) or source[tag].VR != "SQ":
        return []
    stated = (
        (str(item.get("CodeValue", "")), str(item.get("CodingSchemeDesignator", ""))) for item in source[tag].value
    )
    known = (known_code(value, scheme) for value, scheme in stated)
    return [_code(code.value, code.scheme_designator, code.meaning) for code in known if code is not None]


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _new_uid(uid: str, key: bytes) -> str:
    """Another UID, which tells nothing of the old one without the key (2.25 and a UUID: PS3.5, annex B.2)."""
    digest = hmac.new(key, uid.encode(), hashlib.sha256).digest()
    return f"2.25.{uuid.UUID(bytes=digest[:16], version=5).int}"


def _srgb_profile() -> bytes:
    """A profile that says sRGB; classes of colour photographs demand one. Its own date is set to zero."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile[:24] + bytes(12) + profile[36:] + b"\0" * (len(profile) % 2)
