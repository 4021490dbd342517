"""Images that say whose they are, wherever a format lets them: for tests that nothing of it is left."""

from __future__ import annotations

import io
import re
import struct
import warnings
import zlib
from fractions import Fraction

import numpy as np
import pydicom
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import IFDRational, ImageFileDirectory_v2
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import UID

from support.image_files import DERMOSCOPIC, SYNTAXES, drawn, png_chunk, rle_frame, srgb_profile

NAME, NUMBER, DATE, EXIF_DATE, PLACE = "Quux", "MRN77441", "19870605", "1987:06:05", "Vindobona"
LATITUDE = (Fraction(48), Fraction(12), Fraction(29517, 1000))
SECRETS = (NAME, NUMBER, DATE, EXIF_DATE, PLACE)
WHO = f"{NAME}^Zebediah {NUMBER} {PLACE} {EXIF_DATE} {DATE}"


def traces(data: bytes) -> set[str]:
    """Which secrets are found in a file: as they are, in two bytes a letter, in anything that inflates, the place."""
    found = set()
    for part in (data, *_inflated(data)):
        for secret in SECRETS:
            forms = (secret.encode(), secret.encode("utf-16-le"), secret.encode("utf-16-be"))
            if any(form.lower() in part.lower() for form in forms):
                found.add(secret)
        for order in "<>":
            if struct.pack(f"{order}II", LATITUDE[2].numerator, LATITUDE[2].denominator) in part:
                found.add("latitude")
        if b"48\\12\\29.517" in part:
            found.add("latitude")
    return found


def _inflated(data: bytes) -> list[bytes]:
    parts = []
    for match in re.finditer(rb"\x78[\x01\x5e\x9c\xda]", data):
        try:
            parts.append(zlib.decompressobj().decompress(data[match.start() :], 2**20))
        except zlib.error:
            continue
    return parts


def tagged_images() -> dict[str, bytes]:
    """Files by name; each holds several secrets."""
    image, exif = drawn(), _exif()
    xmp = f"<x:xmpmeta xmlns:x='adobe:ns:meta/'><dc:creator>{WHO}</dc:creator></x:xmpmeta>".encode()
    options = {"exif": exif, "icc_profile": _profile()}
    iptc = (
        b"Photoshop 3.0\0"
        + b"8BIM\x04\x04\0\0"
        + struct.pack(">I", len(WHO) + 5)
        + b"\x1c\x02\x50\0\x40"
        + WHO.encode()
    )
    files = {}
    for name, extra in (("jpeg", {}), ("jpeg-progressive", {"progressive": True})):
        jpeg = _saved(image, "JPEG", comment=WHO, xmp=xmp, **options, **extra)
        app13 = b"\xff\xed" + struct.pack(">H", len(iptc) + 2) + iptc
        preview = b"\xff\xee" + struct.pack(">H", 400) + _saved(image, "JPEG", comment=WHO)[:398]
        late = jpeg.index(b"\xff\xda")
        comment = b"\xff\xfe" + struct.pack(">H", len(WHO) + 2) + WHO.encode()
        files[name] = jpeg[:2] + app13 + preview + jpeg[2:late] + comment + jpeg[late:] + WHO.encode()
    texts = PngInfo()
    texts.add_text("Author", WHO)
    texts.add_text("Comment", WHO, zip=True)
    texts.add_itxt("Title", WHO, zip=True)
    png = _saved(image, "PNG", pnginfo=texts, **options)
    private = png_chunk(b"prVt", WHO.encode()) + png_chunk(b"tIME", struct.pack(">H5B", 1987, 6, 5, 1, 2, 3))
    files["png"] = png[:33] + private + png[33:] + WHO.encode()
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate"):
        tags = ImageFileDirectory_v2()
        for tag in (270, 271, 272, 285, 305, 306, 315, 316, 33432):
            tags[tag] = WHO
        tags[700], tags[33723], tags[34377] = xmp, iptc, iptc
        for tag in (700, 33723, 34377):
            tags.tagtype[tag] = 7
        files[f"tiff-{compression}"] = _saved(
            image, "TIFF", tiffinfo=tags, compression=compression, icc_profile=_profile()
        )
    for lossless in (False, True):
        webp = _saved(image, "WEBP", lossless=lossless, xmp=xmp, **options)
        files[f"webp-{lossless}"] = webp + b"PRVT" + struct.pack("<I", len(WHO)) + WHO.encode()
    bitmap = _saved(image, "BMP")
    (start,) = struct.unpack_from("<I", bitmap, 10)
    gap = bitmap[:10] + struct.pack("<I", start + 100) + bitmap[14:start] + WHO.encode().ljust(100) + bitmap[start:]
    files["bmp"] = gap + WHO.encode()
    other = _saved(image.rotate(90), "JPEG", comment=WHO)
    files["jpeg-and-another"] = _saved(image, "JPEG") + other
    return files


def tagged_dicoms() -> dict[str, bytes]:
    """DICOM files by transfer syntax."""
    image = drawn()
    jpeg = tagged_images()["jpeg"]
    planes = [np.asarray(image)[..., n].tobytes() for n in range(3)]
    frames = {
        "explicit": image.tobytes() + WHO.encode().ljust(200),
        "implicit": image.tobytes(),
        "deflated": image.tobytes(),
        "rle": encapsulate([rle_frame(planes)]),
        "jpeg": encapsulate([jpeg]),
        "jpeg2000": encapsulate([_codestream(image)]),
    }
    return {name: tagged_dicom(frame, name) for name, frame in frames.items()}


def tagged_dicom(pixels: bytes, syntax: str, *, texts_everywhere: bool = False) -> bytes:
    """A dermoscopic image with names, dates, places, nested sequences and private elements."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = UID(DERMOSCOPIC), UID(f"1.2.3.{DATE}.4")
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = UID(f"1.2.3.{DATE}"), UID(f"1.2.3.{DATE}.3")
    if texts_everywhere:
        _fill_texts(dataset)
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate, dataset.PatientSex = WHO, NUMBER, DATE, "F"
    dataset.StudyDate = dataset.ContentDate = dataset.SeriesDate = dataset.AcquisitionDate = DATE
    dataset.AcquisitionDateTime, dataset.StudyTime = DATE + "120000", "120000"
    dataset.ImageComments = dataset.PatientComments = dataset.StudyDescription = WHO
    dataset.InstitutionName, dataset.OperatorsName, dataset.DeviceSerialNumber = PLACE, NAME, NUMBER
    dataset.Manufacturer, dataset.ManufacturerModelName, dataset.Modality = "Lens & Co", "Scope 3", "XC"
    dataset.GPSLatitude, dataset.CameraOwnerName = ["48", "12", "29.517"], NAME
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.ImageType = ["ORIGINAL", "PRIMARY", NAME]  # a name is no code string, so the whole value goes
    dataset.ContactMethod, dataset.InstanceNumber = "CONTACT", "3"
    dataset.AnatomicRegionSequence = Sequence(
        [
            _code("66643007", "SCT", f"Skin of back of {NAME}"),
            _code("T-D2100", "SRT", NAME),
            _code(NAME, "SCT", "Skin"),
            _code("1", "99QUUX", NAME),
        ]
    )
    dataset.AnatomicRegionSequence[0].PersonName = NAME
    inner = Dataset()
    inner.PatientName, inner.ReferencedSOPInstanceUID = NAME, UID(f"1.2.3.{DATE}.9")
    outer = Dataset()
    outer.RequestAttributesSequence = Sequence([inner])
    dataset.RequestAttributesSequence = dataset.ReferencedStudySequence = Sequence([outer])
    block = dataset.private_block(0x0009, "QUUX CLINIC", create=True)
    block.add_new(1, "LO", WHO)
    block.add_new(2, "SQ", Sequence([inner]))
    dataset.add_new(0x60004000, "LT", WHO)  # of an overlay
    dataset.add_new(0xFFFCFFFC, "OB", WHO.encode().ljust(120))  # trailing padding
    dataset.ICCProfile = srgb_profile()
    dataset.Rows = dataset.Columns = drawn().width
    dataset.SamplesPerPixel, dataset.PlanarConfiguration = 3, 0
    dataset.PhotometricInterpretation = {"jpeg": "YBR_FULL_422", "jpeg2000": "YBR_RCT"}.get(syntax, "RGB")
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.BurnedInAnnotation = "NO"
    dataset.PixelData = pixels
    dataset["PixelData"].VR = "OB"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = UID(SYNTAXES[syntax])
    dataset.file_meta.SourceApplicationEntityTitle = NAME
    dataset.preamble = WHO.encode()[:128].ljust(128, b"\0")
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue()


def _fill_texts(dataset: Dataset) -> None:
    """Put a secret into every text, date and name of the dictionary."""
    values = {"CS": NAME.upper(), "DA": DATE, "DT": DATE + "1200", "UI": f"1.2.3.{DATE}.7", "AS": "036Y"}
    for tag, (vr, _, _, _, keyword) in DicomDictionary.items():
        group = tag >> 16
        if not keyword or group in (0x0000, 0x0002, 0x0028, 0x7FE0) or group > 0x5000:
            continue
        if vr in ("CS", "LO", "SH", "PN", "LT", "ST", "UT", "UC", "UR", "DA", "DT", "UI") and keyword not in dataset:
            dataset.add_new(tag, vr, values.get(vr, NAME))
    dataset.SpecificCharacterSet = "ISO_IR 192"


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _exif() -> Image.Exif:
    exif = Image.Exif()
    for tag in (0x010E, 0x010F, 0x0110, 0x0131, 0x013B, 0x8298, 0x9C9B):
        exif[tag] = WHO
    exif[0x0112] = 6
    exif[0x0132] = EXIF_DATE + " 12:00:00"
    exif[0x9C9D] = WHO.encode("utf-16-le")
    details = exif.get_ifd(0x8769)
    details[0x9003] = EXIF_DATE + " 12:00:00"
    details[0x9286] = b"UNICODE\0" + WHO.encode("utf-16-be")
    details[0x927C] = WHO.encode()
    details[0xA430] = WHO
    place = exif.get_ifd(0x8825)
    place[1], place[2] = "N", tuple(IFDRational(part) for part in LATITUDE)
    place[29] = EXIF_DATE
    return exif


def _profile() -> bytes:
    """A profile that was named after somebody; without this it is sRGB."""
    profile = srgb_profile()
    return profile.replace("sRGB".encode("utf-16-be"), NAME.encode("utf-16-be"))


def _codestream(image: Image.Image) -> bytes:
    return _saved(image, "JPEG2000", no_jp2=True, comment=WHO)


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()
