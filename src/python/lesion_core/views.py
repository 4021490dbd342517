"""Views of one image whose answers are averaged: test-time augmentation, as a setting of the bundle."""

# N images · S = input_size_px · V views · h, w cells of a map

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from lesion_core.preprocess import scale_square
from lesion_core.preprocess_spec import Views

CROP_SHARE = 7 / 8  # of a side, of each corner of ``multi_crop``
_SYMMETRIES = tuple((turns, is_mirrored) for turns in range(4) for is_mirrored in (False, True))


def views_of(squares: NDArray[np.uint8], views: Views) -> Iterator[NDArray[np.uint8]]:
    """Each view of all squares: uint8 ``(N, S, S, 3)``, the untouched one first.

    - ``none``: that one alone.
    - ``flips_and_rotations``: the eight symmetries of a square. A lesion has no up, so all are equally plausible.
    - ``multi_crop``: and the four corners, seven eighths of a side each, scaled to the whole.

    Logits and embeddings of the views are averaged, so that the averaged logits remain the head's of the averaged
    embedding. Networks cost once for each view.
    """
    yield squares
    if views is Views.FLIPS_AND_ROTATIONS:
        for turns, is_mirrored in _SYMMETRIES[1:]:
            turned = np.rot90(squares, turns, axes=(1, 2))
            yield np.ascontiguousarray(turned[:, :, ::-1] if is_mirrored else turned)
    if views is Views.MULTI_CROP:
        side = squares.shape[1]
        for rows, columns in _corners(side):
            yield np.stack([scale_square(corner, side) for corner in squares[:, rows, columns]])


def maps_on_square(maps: NDArray[np.float32], views: Views, side_px: int) -> NDArray[np.float32]:
    """Maps of the views of one square, laid back to where each view came from, and averaged.

    A value is a share: the mean of the result is the mean of all maps, up to interpolation. So a corner's map, which
    covers less than the square, counts more for each pixel that it covers; and a pixel gets from every view what it
    added to that view's answer, which is nothing from one that does not show it.

    Args:
        maps: float32 ``(V, h, w)``, in the order of ``views_of``.
        views: which ones.
        side_px: S, of the square.
    Returns:
        float32 ``(S, S)``, enlarged bilinearly.
    """
    if views is not Views.MULTI_CROP:
        symmetries = _SYMMETRIES if views is Views.FLIPS_AND_ROTATIONS else _SYMMETRIES[:1]
        upright = [
            np.rot90(one[:, ::-1] if is_mirrored else one, -turns)
            for one, (turns, is_mirrored) in zip(maps, symmetries, strict=True)
        ]
        return _enlarge(np.mean(upright, axis=0, dtype=np.float32), side_px)
    total = _enlarge(maps[0], side_px)
    for one, (rows, columns) in zip(maps[1:], _corners(side_px), strict=True):
        cut = rows.stop - rows.start
        total[rows, columns] += _enlarge(one, cut) * np.float32((side_px / cut) ** 2)
    return total / np.float32(len(maps))


def _corners(side: int) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of each corner of ``multi_crop``."""
    cut = round(side * CROP_SHARE)
    for top in (0, side - cut):
        for left in (0, side - cut):
            yield slice(top, top + cut), slice(left, left + cut)


def _enlarge(one: NDArray[np.float32], side_px: int) -> NDArray[np.float32]:
    return np.asarray(cv2.resize(one, (side_px, side_px), interpolation=cv2.INTER_LINEAR), dtype=np.float32)
