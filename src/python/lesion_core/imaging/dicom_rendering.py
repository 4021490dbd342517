"""From DICOM samples of one value a pixel to RGB: rescaling, windows, negatives and palettes.

All of it goes into one table from patterns of bits to colours, so that a sample means the same however its frame was
compressed. Where something that is not read here would change the picture, the file is refused.
"""

# H, W pixels · N patterns: 2 to the power of the bits stored

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lesion_core.errors import ImageError
from lesion_core.imaging.dicom import BIG_ENDIAN, PALETTES, PixelLayout, value_of
from lesion_core.imaging.header import unsupported

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_WINDOW_CENTER, _WINDOW_WIDTH, _WINDOW_FUNCTION = 0x00281050, 0x00281051, 0x00281056
_INTERCEPT, _SLOPE = 0x00281052, 0x00281053
_RESCALING_TABLE, _WINDOW_TABLE, _PRESENTATION_TABLE, _PRESENTATION = 0x00283000, 0x00283010, 0x20500010, 0x20500020
_SEGMENTED_PALETTES = (0x00281221, 0x00281222, 0x00281223)
RENDERING_TAGS = (
    *(_WINDOW_CENTER, _WINDOW_WIDTH, _WINDOW_FUNCTION, _INTERCEPT, _SLOPE),
    *(_RESCALING_TABLE, _WINDOW_TABLE, _PRESENTATION_TABLE, _PRESENTATION, *PALETTES, *_SEGMENTED_PALETTES),
)
"""What has to be read of a file for ``render``, besides the layout of its pixels."""

_SHAPES = {"MONOCHROME1": "INVERSE", "MONOCHROME2": "IDENTITY"}
# Bands of this many pixels go through the table, so that no wide copy of a whole image is made on the way.
_BAND_PIXELS = 2**17


def render(samples: NDArray[Any], layout: PixelLayout, dataset: Dataset) -> NDArray[np.uint8]:
    """Show samples as the file says.

    Args:
        samples: ``(H, W)``, whole numbers whose lowest bits are the stored ones; what the bits above hold is ignored.
        layout: of one sample a pixel.
        dataset: with the elements of ``RENDERING_TAGS``.
    Returns:
        uint8 ``(H, W, 3)``.
    Raises:
        ImageError: ``unsupported_encoding``: a table, a window function or a shape that is not read here;
            ``corrupt_image``: a palette or a rescaling that is none.
    """
    table = _palette_table(dataset, layout) if layout.photometric == "PALETTE COLOR" else _grey_table(dataset, layout)
    pixels = np.empty((*samples.shape, 3), np.uint8)
    rows = max(1, _BAND_PIXELS // samples.shape[1])
    for top in range(0, samples.shape[0], rows):
        patterns = samples[top : top + rows].astype(np.intp) & (len(table) - 1)
        # With mode "clip", which never has to clip, 4 times as fast as table[patterns].
        np.take(table, patterns, axis=0, out=pixels[top : top + rows], mode="clip")
    return pixels


def _values(layout: PixelLayout) -> NDArray[np.int64]:
    """``(N,)``: the number that each pattern stands for."""
    patterns = np.arange(2**layout.bits_stored, dtype=np.int64)
    return np.where(layout.is_signed & (patterns >= len(patterns) // 2), patterns - len(patterns), patterns)


@np.errstate(all="ignore")  # of what is too large for a number: the result says it
def _grey_table(dataset: Dataset, layout: PixelLayout) -> NDArray[np.uint8]:
    """``(N, 3)``: rescaling, then the window (DICOM PS3.3, C.11.1 and C.11.2), else the full range."""
    _require_readable(dataset, layout)
    slope, intercept = (
        default if (value := value_of(dataset, tag)) is None else float(value)
        for tag, default in ((_SLOPE, 1.0), (_INTERCEPT, 0.0))
    )
    values = (_values(layout) * slope + intercept).astype(np.float64)
    low, high = float(values.min()), float(values.max())
    if not 0 < high - low < np.inf:
        raise ImageError(
            f"The DICOM file rescales its samples by a slope of {slope} and an intercept of {intercept}, after which "
            "nothing can be told apart. Correct its Rescale Slope and Rescale Intercept."
        )
    window = _window(dataset)
    grey = (values - low) / (high - low) if window is None else _windowed(values, *window)
    levels = (np.nan_to_num(grey) * 255).round().clip(0, 255).astype(np.uint8)
    return np.stack([255 - levels if layout.photometric == "MONOCHROME1" else levels] * 3, axis=-1)


def _require_readable(dataset: Dataset, layout: PixelLayout) -> None:
    """Refuse tables in place of a rescaling or of a window. A file may offer a window as well, which then counts."""
    tables = {_RESCALING_TABLE: "Modality LUT Sequence", _PRESENTATION_TABLE: "Presentation LUT Sequence"}
    if _window(dataset) is None:
        tables[_WINDOW_TABLE] = "VOI LUT Sequence"
    for tag, name in tables.items():
        if tag in dataset and dataset.get_item(tag).value:
            raise unsupported(
                f"This DICOM file states its grey values by a table ({name}), which is not read here. Export it with a "
                "window (Window Center and Window Width), or as PNG."
            )
    shape = value_of(dataset, _PRESENTATION)
    if shape not in (None, _SHAPES[layout.photometric]):
        raise unsupported(
            f"This DICOM file is {layout.photometric} with a Presentation LUT Shape other than "
            f"{_SHAPES[layout.photometric]}, so that it is unclear whether it is a negative. Export it as PNG."
        )


def _window(dataset: Dataset) -> tuple[float, float, str] | None:
    """Centre, width and function of the first of one or several windows; ``None`` without one that is valid."""
    center, width = (_first_number(value_of(dataset, tag)) for tag in (_WINDOW_CENTER, _WINDOW_WIDTH))
    function = str(value_of(dataset, _WINDOW_FUNCTION) or "LINEAR")
    if center is None or width is None or not np.isfinite([center, width]).all():
        return None
    if not (width >= 1 if function == "LINEAR" else width > 0):
        return None
    return center, width, function


def _windowed(values: NDArray[np.float64], center: float, width: float, function: str) -> NDArray[np.float64]:
    """Values on a scale from 0 (black) to 1 (DICOM PS3.3, C.11.2.1.2 and C.11.2.1.3)."""
    if function == "LINEAR":
        return (values - (center - 0.5)) / max(width - 1, 1e-6) + 0.5
    if function == "LINEAR_EXACT":
        return (values - center) / width + 0.5
    if function == "SIGMOID":
        return 0.5 + 0.5 * np.tanh(2 * (values - center) / width)  # 1 / (1 + exp(-4 x)), without an overflow
    raise unsupported(
        "The window of this DICOM file has a VOI LUT Function other than LINEAR, LINEAR_EXACT and SIGMOID. "
        "Export it with one of these, or as PNG."
    )


def _first_number(value: Any) -> float | None:
    """The first of one or several values; a file may offer several windows."""
    if value is None:
        return None
    return float(value if isinstance(value, (int, float, str)) else value[0])


def _palette_table(dataset: Dataset, layout: PixelLayout) -> NDArray[np.uint8]:
    """``(N, 3)``: the colour of each pattern (DICOM PS3.3, C.7.6.3.1.5 and C.7.6.3.1.6)."""
    if any(tag in dataset for tag in _SEGMENTED_PALETTES):
        raise unsupported(
            "This DICOM file has a segmented palette, which is not read here. Convert it to RGB with 8 bits."
        )
    values = _values(layout)
    return np.stack([_palette(dataset, values, colour) for colour in range(3)], axis=-1)


def _palette(dataset: Dataset, values: NDArray[np.int64], colour: int) -> NDArray[np.uint8]:
    """``(N,)``: one colour of each value."""
    entries, first, bits = (int(number) for number in value_of(dataset, PALETTES[colour]))
    entries = entries % 2**16 or 2**16
    data = value_of(dataset, PALETTES[3 + colour])
    if bits not in (8, 16) or len(data) < entries:
        raise ImageError(f"The palette of the DICOM file has {len(data):,} bytes for {entries:,} colours.")
    # The bytes are words, in the byte order of the file; of an entry of 8 bits, two may share one.
    is_big = str(dataset.file_meta.TransferSyntaxUID) == BIG_ENDIAN
    words = np.frombuffer(data, ">u2" if is_big else "<u2", len(data) // 2).astype("<u2")
    is_wide = len(data) >= 2 * entries
    table = (words if is_wide else words.view(np.uint8))[:entries]
    colours = (table >> (bits - 8 if is_wide else 0)).clip(0, 255).astype(np.uint8)
    return np.asarray(colours[(values - first).clip(0, len(colours) - 1)])
