"""From records to the batches that a network is trained on."""

# N images · C=3 RGB · P side of the stored squares · S = input_size_px

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs
import numpy as np
import torch
from numpy.typing import NDArray

from lesion_core.errors import DatasetError, ImageError
from lesion_core.preprocess import load_square, normalise, scale_square
from lesion_core.preprocess_spec import PreprocessSpec
from lesion_core.records import ImageRecord
from lesion_train.augment import Augmentation

CROP_MARGIN = (
    1.15  # training squares are stored a little larger than the input, so that a random crop loses no sharpness
)


def decode_squares(
    records: Sequence[ImageRecord], spec: PreprocessSpec, path: Path, *, threads: int, margin: float = 1.0
) -> NDArray[np.uint8]:
    """Decode every image once into a memory-mapped file: uint8 ``(N, P, P, 3)``.

    Memory use does not grow with the number of images; ``path`` is overwritten.

    Args:
        records: what to decode.
        spec: the steps; all but the last are taken here.
        path: of the file.
        threads: that decode.
        margin: P over the network's input side. At 1 the pixels are exactly those that serving shows the network, so
            that what is measured and set on a part holds for serving; augmentation wants ``CROP_MARGIN``.
    Raises:
        DatasetError: lists every image that cannot be decoded.
    """
    stored = attrs.evolve(spec, input_size_px=round(spec.input_size_px * margin))
    side = stored.input_size_px
    path.parent.mkdir(parents=True, exist_ok=True)
    squares = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(len(records), side, side, 3))

    def decode(row: int) -> str | None:
        try:
            squares[row] = load_square(records[row].path.read_bytes(), stored)
        except (ImageError, OSError) as error:
            return f"{records[row].path}: {error}"
        return None

    with ThreadPoolExecutor(max_workers=threads) as pool:
        problems = tuple(problem for problem in pool.map(decode, range(len(records))) if problem)
    if problems:
        raise DatasetError(records[0].path.parent, problems)
    return squares


def train_batches(
    squares: NDArray[np.uint8],
    labels: NDArray[np.int64],
    spec: PreprocessSpec,
    augmentation: Augmentation,
    *,
    batch_size: int,
    random: np.random.Generator,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """One epoch in random order: float32 ``(B, 3, S, S)`` and int64 ``(B,)``. A last incomplete batch is dropped."""
    order = random.permutation(len(labels))
    for start in range(0, len(order) - batch_size + 1, batch_size):
        rows = np.sort(order[start : start + batch_size])
        pixels = augmentation(squares[rows], spec.input_size_px)
        yield torch.from_numpy(normalise(pixels, spec)), torch.from_numpy(labels[rows])


def plain_batches(squares: NDArray[np.uint8], spec: PreprocessSpec, *, batch_size: int) -> Iterator[torch.Tensor]:
    """The stored squares in order, scaled to the input size where they are larger: float32 ``(B, 3, S, S)``."""
    for start in range(0, len(squares), batch_size):
        pixels = np.stack([scale_square(square, spec.input_size_px) for square in squares[start : start + batch_size]])
        yield torch.from_numpy(normalise(pixels, spec))
