"""Reading DICOM files of photographs safely; their pixels: ``dicom_pixels``.

Read with pydicom, under bounds: the number of reads, what a deflated file may grow to, and the lengths of values.
pydicom is imported where it is used, so that programs which never meet a DICOM file do not load it.
"""

from __future__ import annotations

import io
import logging
import struct
import warnings
import zlib
from typing import TYPE_CHECKING, Any

import attrs

from lesion_core.errors import ImageError
from lesion_core.imaging.header import unsupported

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

SOP_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.77.1.4": "VL Photographic Image",
    "1.2.840.10008.5.1.4.1.1.77.1.7": "Dermoscopic Photography Image",
    "1.2.840.10008.5.1.4.1.1.7": "Secondary Capture Image",
    "1.2.840.10008.5.1.4.1.1.7.4": "Multi-frame True Color Secondary Capture Image",
}
"""Classes that are accepted, with one frame; dermatoscopes export secondary captures too."""

IMPLICIT, EXPLICIT, DEFLATED, BIG_ENDIAN = (f"1.2.840.10008.1.2{end}" for end in ("", ".1", ".1.99", ".2"))
NATIVE = frozenset({IMPLICIT, EXPLICIT, DEFLATED, BIG_ENDIAN})
JPEG = frozenset({"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"})
JPEG_2000 = frozenset({"1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"})
RLE = "1.2.840.10008.1.2.5"

# Ceilings that keep any file under 2 s and 500 MB (tests/faults measures it).
MAX_INFLATED_BYTES = 80 * 2**20
MAX_READS = 50_000
MAX_VALUE_BYTES = 2**16
UNDEFINED_LENGTH = 0xFFFFFFFF

PIXEL_DATA, ICC_PROFILE = 0x7FE00010, 0x00282000
PALETTES = (0x00281101, 0x00281102, 0x00281103, 0x00281201, 0x00281202, 0x00281203)
_LARGE_VALUES = {PIXEL_DATA: 2**31, ICC_PROFILE: 2**23, **dict.fromkeys(PALETTES, 2**18)}
_LONG_VRS = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
_PHOTOMETRICS = {
    1: ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"),
    3: ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"),
}


@attrs.frozen(kw_only=True)
class PixelLayout:
    """How the samples of one image are stored (DICOM PS3.3, image pixel module)."""

    width_px: int
    height_px: int
    samples: int
    photometric: str
    bits_allocated: int
    bits_stored: int
    is_signed: bool


class _BoundedReader(io.BytesIO):
    """Fails after so many reads as no photograph needs: each of a million tiny elements costs time and memory."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._left = MAX_READS

    def read(self, size: int | None = -1, /) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise ImageError("The DICOM file has more elements than a photograph needs.")
        return super().read(size)


def read_dicom(data: bytes, *, only: list[int] | None = None) -> Dataset:
    """Read the data set of a file that holds one photograph.

    Args:
        data: with preamble and file meta information.
        only: tags to keep; all by default.
    Raises:
        ImageError: ``unsupported_encoding``: the class or the transfer syntax is none of those above;
            ``too_many_bytes``: a deflated file that grows beyond the limit.
    """
    from pydicom.dataset import FileMetaDataset
    from pydicom.filereader import read_dataset
    from pydicom.uid import UID

    syntax, start = _transfer_syntax(data)
    if syntax not in NATIVE | JPEG | JPEG_2000 | {RLE}:
        raise unsupported(
            f"This DICOM file is stored as {UID(syntax).name} ({syntax or 'no transfer syntax'}), which is not read "
            "here. Convert it to Explicit VR Little Endian, for example with 'gdcmconv --raw' or 'dcmconv'."
        )
    body = _inflated(data[start:]) if syntax == DEFLATED else data[start:]
    dataset = read_dataset(
        _BoundedReader(body),
        is_implicit_VR=syntax == IMPLICIT,
        is_little_endian=syntax != BIG_ENDIAN,
        specific_tags=only,
    )
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    sop_class = str(value_of(dataset, 0x00080016) or "")
    if sop_class not in SOP_CLASSES:
        raise unsupported(
            f"This DICOM file is of the class {UID(sop_class).name!r}; accepted are {', '.join(SOP_CLASSES.values())}. "
            "Export the photograph itself as JPEG or PNG."
        )
    return dataset


def layout_of(dataset: Dataset) -> PixelLayout:
    """How the pixels of a data set are stored.

    Raises:
        ImageError: ``several_images``, ``unsupported_encoding``, ``corrupt_image``.
    """
    frames = int(value_of(dataset, 0x00280008) or 1)
    if frames != 1:
        raise ImageError(f"The DICOM file holds {frames} frames; send one photograph.", code="several_images")
    allocated = int(value_of(dataset, 0x00280100))
    layout = PixelLayout(
        width_px=int(value_of(dataset, 0x00280011)),
        height_px=int(value_of(dataset, 0x00280010)),
        samples=int(value_of(dataset, 0x00280002)),
        photometric=str(value_of(dataset, 0x00280004)),
        bits_allocated=allocated,
        bits_stored=int(value_of(dataset, 0x00280101) or allocated),
        is_signed=bool(value_of(dataset, 0x00280103)),
    )
    if layout.photometric not in _PHOTOMETRICS.get(layout.samples, ()) or allocated not in (8, 16):
        raise unsupported(
            f"This DICOM file has {layout.samples} samples a pixel of {allocated} bits as {layout.photometric}; "
            "greyscale, palette, RGB and YBR with 8 or 16 bits are read. Convert it to RGB with 8 bits."
        )
    if not 8 <= layout.bits_stored <= allocated or (layout.samples == 3 and layout.is_signed):
        raise unsupported(f"This DICOM file stores {layout.bits_stored} of {allocated} bits. Convert it to 8 bits.")
    high_bit = value_of(dataset, 0x00280102)
    if high_bit is not None and int(high_bit) != layout.bits_stored - 1:
        raise unsupported(
            f"The samples of this DICOM file have {layout.bits_stored} bits, the highest of them bit {high_bit}; read "
            f"are those whose highest is bit {layout.bits_stored - 1}, as the standard demands (PS3.5, section 8.1.1). "
            "Convert it to 8 bits."
        )
    return layout


def value_of(dataset: Dataset, tag: int) -> Any:
    """Value of an element, ``None`` where it is absent or empty.

    Raises:
        ImageError: it is longer than it can reasonably be, or a sequence where none belongs.
    """
    if tag not in dataset:
        return None
    if not is_short(dataset, tag) or dataset.get_item(tag).VR == "SQ":
        raise ImageError(f"The DICOM element ({tag >> 16:04X},{tag & 0xFFFF:04X}) is not what it has to be.")
    value = dataset[tag].value
    return None if value is None or value == "" else value


def is_short(dataset: Dataset, tag: int) -> bool:
    """Whether an element that is there can be looked at: a sequence in 20 MB of bytes would take long to take apart."""
    length = getattr(dataset.get_item(tag), "length", 0)
    return length == UNDEFINED_LENGTH or length <= _LARGE_VALUES.get(tag, MAX_VALUE_BYTES)


def first_frame(dataset: Dataset) -> bytes:
    """The bytes of the one compressed frame."""
    from pydicom.encaps import get_frame

    return get_frame(_BoundedReader(value_of(dataset, PIXEL_DATA)), 0, number_of_frames=1)


def silence_pydicom() -> None:
    """Keep pydicom from warning about damaged files: its messages quote the values, which may name a patient.

    For good, and before each file, in case that a program has put a filter in front. Filters belong to the process: to
    set them for a while would end one thread's silence in another.
    """
    logging.getLogger("pydicom").propagate = False
    warnings.filterwarnings("ignore", module=r"(pydicom|lesion_core\.imaging)\b")


def _transfer_syntax(data: bytes) -> tuple[str, int]:
    """Transfer syntax and where the data set starts; the group before it is always explicit little endian."""
    syntax, position = "", 132
    while data[position : position + 2] == b"\x02\x00":
        element, vr, length = struct.unpack_from("<H2sH", data, position + 2)
        value_at = position + 8
        if vr in _LONG_VRS:
            (length,) = struct.unpack_from("<I", data, position + 8)
            value_at = position + 12
        position = value_at + length
        if element == 0x0010:
            syntax = data[value_at:position].rstrip(b"\0 ").decode("ascii")
    return syntax, position


def _inflated(deflated: bytes) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    body = inflater.decompress(deflated, MAX_INFLATED_BYTES)
    if inflater.unconsumed_tail:
        raise ImageError(
            f"The deflated DICOM file holds more than {MAX_INFLATED_BYTES:,} bytes.", code="too_many_bytes"
        )
    if not inflater.eof:
        raise ImageError("The deflated DICOM file is cut off.")
    return body
