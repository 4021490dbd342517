"""What can be measured on a photograph of skin: numbers, without a verdict.

Every measure but the size is taken on a copy whose shorter side is ``GRID_PX``, so that 150 and 6000 pixels are
judged alike; of a strip that is more than 16 times as long as wide the middle is judged. Inside means: without the
black surround of a dermatoscope's round field.
"""

# H, W pixels of the image · h, w pixels of the copy, the shorter GRID_PX at most

from __future__ import annotations

import attrs
import cv2
import numpy as np
from numpy.typing import NDArray

from lesion_core.colour import BLACK_LEVEL, LONGEST_SIDE, dark_surround, shrink

GRID_PX = 150
CELL_PX = 6  # colour and structure are read from averages over cells: noise and hairs cancel out

_Grey = NDArray[np.uint8]  # and masks: 255 where it holds, 0 elsewhere
_HAIR_LENGTH_PX, _HAIR_WIDTH_PX, _HAIR_CONTRAST = 15, 7, 12
_RULER_SHARE = 0.25  # of the shorter side that a straight axis-parallel line has to run
_TICKS = 4  # that follow one another at equal distances


@attrs.frozen(kw_only=True)
class QualityMeasures:
    """The numbers; ``None`` where the image is too small for one. Grey levels are in [0, 255], shares in [0, 1].

    Attributes:
        shorter_side_px: of the image as given.
        dark_surround: share of near-black pixels that touch the frame: vignette, dark corners, black bars.
        bright_level: grey level that only the brightest 5 % of the inside exceed.
        median_level: median grey level of the inside.
        clipped: share of the inside that is pure white, or pure black, in all channels.
        structure: largest standard deviation over the cells among the three channels, in grey levels.
        focus: energy of the finest details over that of details twice as large, in the blurrier of two directions;
            does not depend on contrast.
        non_skin: share of the cells that are greener or bluer than skin of any tone.
        hair: share of the inside under dark lines.
        ruler: how strictly marks repeat along a straight dark line parallel to the frame; about 0 without one, at
            most 1.3.
    """

    shorter_side_px: int
    dark_surround: float
    bright_level: float
    median_level: float
    clipped: float
    structure: float
    non_skin: float
    focus: float | None
    hair: float | None
    ruler: float | None


def measure_quality(image: NDArray[np.uint8]) -> QualityMeasures:
    """Measure one image: uint8 ``(H, W, 3)``, RGB."""
    shorter = min(image.shape[:2])
    small = shrink(_middle(image, LONGEST_SIDE * shorter), GRID_PX)
    grey = _levels(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY))
    surround = dark_surround(small)
    inside = _levels(cv2.inRange(cv2.dilate(surround, np.ones((7, 7), np.uint8)), (0,), (0,)))
    if cv2.countNonZero(inside) < 0.02 * inside.size:  # all is black: then that is what is judged
        inside = np.full_like(inside, 255)
    pixels = cv2.countNonZero(inside)
    levels = np.cumsum(cv2.calcHist([grey], [0], inside, [256], (0, 256)).ravel()) / pixels
    white, black = cv2.inRange(small, (250,) * 3, (255,) * 3), cv2.inRange(small, (0,) * 3, (5,) * 3)
    structure, non_skin = _cells(small, inside)
    judged = shorter >= GRID_PX
    return QualityMeasures(
        shorter_side_px=shorter,
        dark_surround=cv2.countNonZero(surround) / surround.size,
        bright_level=float(np.searchsorted(levels, 0.95)),
        median_level=float(np.searchsorted(levels, 0.5)),
        clipped=cv2.countNonZero(cv2.bitwise_and(cv2.bitwise_or(white, black), inside)) / pixels,
        structure=structure,
        non_skin=non_skin,
        focus=_focus(grey, inside) if judged else None,
        hair=_hair(grey, inside) if judged else None,
        ruler=max(_scale_bar(grey, inside), _scale_bar(np.ascontiguousarray(grey.T), inside.T)) if judged else None,
    )


def _middle(image: NDArray[np.uint8], longest_px: int) -> NDArray[np.uint8]:
    """The middle of an image of which a side is longer; otherwise all of it."""
    rows, columns = (slice(max(0, side - longest_px) // 2, (side + longest_px) // 2) for side in image.shape[:2])
    return image[rows, columns]


def _levels(values: object) -> _Grey:
    """OpenCV's stubs do not say what type an array of it has."""
    return np.asarray(values, dtype=np.uint8)


def _cells(small: NDArray[np.uint8], inside: _Grey) -> tuple[float, float]:
    """Structure and non-skin share, from averages over cells.

    Melanin and haemoglobin absorb least in the red, so skin of every tone, and what is in it, is at least as red as
    green. A blue naevus, a violet stain or a bluish white balance may make a part of it bluer than red.
    """
    rows, columns = (max(1, pixels // CELL_PX) for pixels in inside.shape)
    whole_px = slice(rows * CELL_PX), slice(columns * CELL_PX)  # whole cells only, for which averaging is fastest
    share = cv2.resize(inside[whole_px], (columns, rows), interpolation=cv2.INTER_AREA)
    cells = cv2.resize(small[whole_px], (columns, rows), interpolation=cv2.INTER_AREA)[share == share.max()]
    cells = cells.astype(np.float32)
    red, green, blue = cells.T
    lit = cells.max(axis=1) > BLACK_LEVEL
    return float(cells.std(axis=0).max()), float((((green > 1.03 * red) | (blue > 1.15 * red)) & lit).mean())


def _focus(grey: _Grey, inside: _Grey) -> float:
    """The smaller ratio of two octaves of detail, across and down: motion blurs along one direction only."""
    values = grey.astype(np.float32)
    return min(_octaves(values, inside, across=True), _octaves(values, inside, across=False))


def _octaves(values: NDArray[np.float32], inside: _Grey, *, across: bool) -> float:
    fine = cv2.GaussianBlur(values, (7, 1) if across else (1, 7), 1.0)
    coarse = cv2.GaussianBlur(fine, (13, 1) if across else (1, 13), 2.0)
    (_, finest), (_, finer) = (
        cv2.meanStdDev(band, mask=inside) for band in (cv2.subtract(values, fine), cv2.subtract(fine, coarse))
    )
    detail = max(0.0, float(finest[0, 0]) ** 2 - 1 / 12)  # 1/12 is what rounding to whole grey levels adds
    return detail / (float(finer[0, 0]) ** 2 + 0.05)


def _line(degrees: float) -> _Grey:
    """A line through the centre as a structuring element."""
    element, centre = np.zeros((_HAIR_LENGTH_PX, _HAIR_LENGTH_PX), np.uint8), _HAIR_LENGTH_PX // 2
    x, y = (round(centre * float(f(np.radians(degrees)))) for f in (np.cos, np.sin))
    return np.asarray(cv2.line(element, (centre - x, centre - y), (centre + x, centre + y), (1,)), dtype=np.uint8)


_LINES = tuple(_line(degrees) for degrees in np.arange(0, 180, 22.5))


def _hair(grey: _Grey, inside: _Grey) -> float:
    """Pixels that are dark against what lies across, and not against what lies along some direction.

    The black-hat transform of DullRazor (Lee et al. 1997) in eight directions; asking for one direction along which
    nothing is filled leaves out dots and most meshes of a pigment network. Light hairs are not seen.
    """
    box = np.ones((_HAIR_WIDTH_PX, _HAIR_WIDTH_PX), np.uint8)
    across = cv2.morphologyEx(grey, cv2.MORPH_BLACKHAT, box)
    least = np.minimum.reduce([cv2.morphologyEx(grey, cv2.MORPH_CLOSE, line) for line in _LINES])
    along = (least - grey).astype(np.int16)  # a closing is never darker
    hair = (across > np.maximum(_HAIR_CONTRAST, 3 * along)) & (inside > 0)
    return float(np.count_nonzero(hair) / np.count_nonzero(inside))


def _scale_bar(grey: _Grey, inside: _Grey) -> float:
    """Regularity of the marks beside the strongest straight, dark, horizontal line off the centre."""
    height, width = grey.shape
    length = int(min(height, width) * _RULER_SHARE)
    thin = cv2.morphologyEx(grey, cv2.MORPH_BLACKHAT, np.ones((5, 1), np.uint8))
    whole = cv2.morphologyEx(thin, cv2.MORPH_CLOSE, np.ones((1, 5), np.uint8))  # marks interrupt the line
    straight = cv2.morphologyEx(whole, cv2.MORPH_OPEN, np.ones((1, length), np.uint8))
    straight[2 * height // 5 : 3 * height // 5] = 0
    straight[inside == 0] = 0
    row = int(straight.max(axis=1).argmax())
    if straight[row].max() < _HAIR_CONTRAST:
        return 0.0
    top, bottom = max(row - 8, 0), min(row + 9, height)
    band = grey[top:bottom].astype(np.float32)
    contrast = np.asarray(band - np.asarray(cv2.blur(band, (9, 1)), dtype=np.float32))
    marks = np.asarray(cv2.blur(contrast.clip(-40, 20), (1, 5)), dtype=np.float32)
    marks -= marks.mean(axis=1, keepdims=True)
    marks /= marks.std(axis=1, keepdims=True) + 4
    power = np.abs(np.fft.rfft(marks, 2 * width, axis=1)) ** 2
    similarity = np.fft.irfft(power, axis=1)[:, :width] / (width - np.arange(width))
    distances = np.arange(4, width // (2 * _TICKS) + 1)
    peaks = np.min([similarity[:, n * distances] for n in range(1, _TICKS + 1)], axis=0)
    between = np.max([similarity[:, (n * distances + distances // 2)] for n in range(_TICKS)], axis=0)
    return max(0.0, float((peaks - np.maximum(between, -0.3)).max()))
