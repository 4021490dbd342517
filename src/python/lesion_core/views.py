"""Views of one image whose answers are averaged: test-time augmentation, as a setting of the bundle."""

# N images · S = input_size_px

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from lesion_core.preprocess import scale_square
from lesion_core.preprocess_spec import Views

CROP_SHARE = 7 / 8  # of a side, of each corner of ``multi_crop``


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
        for turns in range(4):
            turned = np.rot90(squares, turns, axes=(1, 2))
            if turns:
                yield np.ascontiguousarray(turned)
            yield np.ascontiguousarray(turned[:, :, ::-1])
    if views is Views.MULTI_CROP:
        side = squares.shape[1]
        cut = round(side * CROP_SHARE)
        for top in (0, side - cut):
            for left in (0, side - cut):
                corners = squares[:, top : top + cut, left : left + cut]
                yield np.stack([scale_square(corner, side) for corner in corners])
