"""From records to the batches that a network is trained on."""

# N images · B of them in a batch · P side of the stored squares · S = input_size_px · K trained classes

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

import attrs
import numpy as np
import torch
from numpy.typing import NDArray

from lesion_core.errors import DatasetError, ImageError
from lesion_core.preprocess import load_square, normalise, scale_square
from lesion_core.preprocess_spec import PreprocessSpec
from lesion_core.records import ImageRecord
from lesion_train.augment import augment
from lesion_train.config import Augmentation
from lesion_train.mixing import Mixing, mix

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


class Batch(NamedTuple):
    """Images float32 ``(B, 3, S, S)``, normalised, and targets: int64 ``(B,)``, or float32 ``(B, K)`` if mixed."""

    images: torch.Tensor
    targets: torch.Tensor


UNMIXED = Mixing()


def epoch_batches(
    squares: NDArray[np.uint8],
    labels: NDArray[np.int64],
    spec: PreprocessSpec,
    augmentation: Augmentation,
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    classes: int,
    first_step: int = 0,
    balance: float = 0.0,
    mixing: Mixing = UNMIXED,
) -> Iterator[Batch]:
    """The batches of one epoch, from ``first_step`` on; a last incomplete one is dropped.

    Batch k depends on nothing but the data, the settings and ``(seed, epoch, k)``: no random state is carried from one
    to the next, so a run that was interrupted goes on with exactly the batches that it would have seen, at no cost.

    Args:
        squares: uint8 ``(N, P, P, 3)``.
        labels: int64 ``(N,)`` in ``[0, K)``.
        spec: the network's preprocessing; S is its ``input_size_px``.
        augmentation: preset of the random changes.
        batch_size: B.
        seed: of the run.
        epoch: its number.
        classes: K.
        first_step: how many batches to leave out, at least 0.
        balance: see ``epoch_order``. An epoch has ``N // B`` steps in any case.
        mixing: of the images in a batch.
    """
    order = epoch_order(labels, balance=balance, seed=seed, epoch=epoch)
    for step in range(first_step, len(order) // batch_size):
        places = range(step * batch_size, (step + 1) * batch_size)
        rows = np.sort(order[places.start : places.stop])  # a memory-mapped file is read forwards
        pixels = np.stack(
            [
                augment(square, spec.input_size_px, augmentation, _random(seed, epoch, _Draw.AUGMENTATION, place))
                for square, place in zip(squares[rows], places, strict=True)
            ]
        )
        images, targets = torch.from_numpy(normalise(pixels, spec)), torch.from_numpy(labels[rows])
        if mixing.is_on:
            one_hot = torch.nn.functional.one_hot(targets, classes).float()
            images, targets = mix(images, one_hot, mixing, _random(seed, epoch, _Draw.MIXING, step))
        yield Batch(images, targets)


def epoch_order(labels: NDArray[np.int64], *, seed: int, epoch: int, balance: float = 0.0) -> NDArray[np.int64]:
    """Which image is shown when in an epoch: rows, int64 ``(N,)``; depends on ``(seed, epoch)`` alone.

    A class of n images is shown in proportion to ``n ** (1 - balance)``: at 0 each image once, at 1 all classes equally
    often. An image expected x times is shown ⌊x⌋ or ⌈x⌉ times, and a class expected y times within one of y (systematic
    sampling: Madow and Madow 1944). Independent draws would show a class of 20 images anything from 10 to 30 times.
    """
    random = _random(seed, epoch, _Draw.ORDER, 0)
    order = random.permutation(len(labels))
    if balance == 0:
        return order
    order = order[np.argsort(labels[order], kind="stable")]
    expected = np.bincount(labels)[labels[order]] ** -balance
    passed = np.cumsum(expected) * (len(labels) / expected.sum())
    ticks = random.random() + np.arange(len(labels))
    drawn = np.searchsorted(passed, ticks, side="right").clip(max=len(labels) - 1)
    return random.permutation(order[drawn])


class _Draw(IntEnum):
    """What random numbers are for: each use has its own, so that a change to one leaves the others."""

    ORDER = 0
    AUGMENTATION = 1
    MIXING = 2


def _random(seed: int, epoch: int, draw: _Draw, number: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(epoch, draw, number)))


def plain_batches(squares: NDArray[np.uint8], spec: PreprocessSpec, *, batch_size: int) -> Iterator[torch.Tensor]:
    """The stored squares in order, scaled to the input size where they are larger: float32 ``(B, 3, S, S)``."""
    for start in range(0, len(squares), batch_size):
        pixels = np.stack([scale_square(square, spec.input_size_px) for square in squares[start : start + batch_size]])
        yield torch.from_numpy(normalise(pixels, spec))
