"""Optional steps before a network: the same light for all images, and no black surround.

Both are off unless the preprocessing specification asks for them; a model has to be trained with what it is served.
"""

# H, W pixels · h, w pixels of a reduced copy

from __future__ import annotations

from math import ceil, floor

import cv2
import numpy as np
from numpy.typing import NDArray

BLACK_LEVEL = 35  # of 255, in every channel: darker than the darkest tone of the Monk scale, whose red is 41
SMALLEST_SHARE = 1 / 3  # of either side that a crop keeps at least
LONGEST_SIDE = 16  # times the shorter one: a longer strip is no photograph, and would take minutes and gigabytes

_GRID_PX = 100
_DARK_SHARE = 0.02  # of an edge of the crop that may be black
_CORNER_PX = 3


def shades_of_grey(image: NDArray[np.uint8], *, p: float = 6) -> NDArray[np.uint8]:
    """Take the colour of the light out of an image.

    The light is estimated as the Minkowski p-norm of each channel; each channel is then divided by its own, on a
    scale on which white light changes nothing. p = 1 is the grey world, p → ∞ the brightest pixel.

    Args:
        image: uint8 ``(H, W, 3)``, RGB.
        p: of the norm, at least 1; 6 did best in the source.
    Returns:
        uint8 of the same shape. Values beyond 255 are clipped; a channel without any light stays black.
    Source: Finlayson & Trezzi 2004, Shades of gray and colour constancy; on dermoscopy Barata et al. 2015.
    """
    if p < 1:
        raise ValueError(f"p needs to be at least 1, got {p!r}")
    levels = np.arange(256) / 255
    counts = np.stack([np.bincount(channel.ravel(), minlength=256) for channel in cv2.split(image)])
    light = ((counts * levels**p).sum(axis=1) / counts.sum(axis=1)) ** (1 / p)
    white = np.sqrt((light**2).mean())
    gains = np.divide(white, light, out=np.ones(3), where=light > 0)
    table = (255 * levels[:, None] * gains).round().clip(0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(image, table[None]), dtype=np.uint8)


def dark_surround(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Near-black pixels connected with the frame: uint8 ``(H, W, 3)`` → uint8 ``(H, W)``, 255 there and 0 elsewhere."""
    dark = cv2.inRange(image, (0, 0, 0), (BLACK_LEVEL,) * 3)
    framed = cv2.copyMakeBorder(dark, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=(255,))
    cv2.floodFill(framed, None, (0, 0), (1,))
    return np.asarray(cv2.inRange(framed[1:-1, 1:-1], (1,), (1,)), dtype=np.uint8)


def shrink(image: NDArray[np.uint8], shorter_side_px: int) -> NDArray[np.uint8]:
    """Average areas until the shorter side is as given; smaller images stay as they are."""
    height, width = image.shape[:2]
    scale = shorter_side_px / min(height, width)
    if scale >= 1:
        return image
    size = (round(width * scale), round(height * scale))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def crop_dark_border(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Cut black bars and the black surround of a dermatoscope's round field.

    From the side that is the blackest, a row or column is taken away, until none of the four sides is black for more
    than 2 %: for a round field that ends near the largest rectangle inside. A dark lesion that touches the frame is
    not taken for a surround: that has to reach two corners.

    Args:
        image: uint8 ``(H, W, 3)``, RGB.
    Returns:
        A view into ``image``, each side at least a third of what it was; all of ``image`` where there is no surround,
        or none that leaves that much, and of a strip of ``LONGEST_SIDE``.
    """
    if max(image.shape[:2]) > LONGEST_SIDE * min(image.shape[:2]):
        return image
    surround = dark_surround(shrink(image, _GRID_PX))
    ends = slice(None, _CORNER_PX), slice(-_CORNER_PX, None)
    if sum(bool(surround[rows, columns].all()) for rows in ends for columns in ends) < 2:
        return image
    # Reducing the image mixed the pixels at the edge, which may pass for bright ones: one more goes with the black.
    box = _bright_box(np.asarray(cv2.dilate(surround, np.ones((3, 3), np.uint8)), dtype=np.uint8))
    if box is None:
        return image
    top, bottom, left, right = box
    down, across = image.shape[0] / surround.shape[0], image.shape[1] / surround.shape[1]
    return image[ceil(top * down) : floor(bottom * down), ceil(left * across) : floor(right * across)]


def _bright_box(surround: NDArray[np.uint8]) -> tuple[int, int, int, int] | None:
    """Top, bottom, left and right of what is left, or ``None`` where that is too small."""
    top, left = 0, 0
    bottom, right = surround.shape
    fewest_rows, fewest_columns = (SMALLEST_SHARE * side + 1 for side in surround.shape)  # edges are rounded inwards
    while bottom - top > fewest_rows and right - left > fewest_columns:
        box = surround[top:bottom, left:right]
        shares = [np.count_nonzero(edge) / edge.size for edge in (box[0], box[-1], box[:, 0], box[:, -1])]
        worst = int(np.argmax(shares))
        if shares[worst] <= _DARK_SHARE:
            return top, bottom, left, right
        top, bottom = top + (worst == 0), bottom - (worst == 1)
        left, right = left + (worst == 2), right - (worst == 3)
    return None
