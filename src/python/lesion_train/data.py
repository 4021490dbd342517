"""From stored squares to the batches that a network is trained on."""

# N images · B of them in a batch · P side of the stored squares · S = input_size_px · K trained classes

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from enum import IntEnum
from functools import partial
from typing import NamedTuple

import attrs
import numpy as np
import torch
from numpy.typing import NDArray

from lesion_core.decision.metadata import PatientMetadata, encode_metadata, metadata_features
from lesion_core.preprocess import normalise, scale_square
from lesion_core.preprocess_spec import PreprocessSpec
from lesion_train.augment import augment
from lesion_train.config import Augmentation
from lesion_train.mixing import Mixing, mix
from lesion_train.squares import Squares

UNMIXED = Mixing()
METADATA_DROPOUT = 0.3


class Batch(NamedTuple):
    """One slice of a step's images.

    Images float32 ``(b, 3, S, S)``, normalised; their targets, int64 ``(b,)`` or, if mixed, float32 ``(b, K)``; the
    labels int64 ``(B,)`` of all images of the step, for whatever is averaged over them; and, of a network that takes
    it, metadata float32 ``(b, M)``.
    """

    images: torch.Tensor
    targets: torch.Tensor
    step_labels: torch.Tensor
    metadata: torch.Tensor | None = None


@attrs.frozen(kw_only=True)
class EpochPlan:
    """What the batches of an epoch are made by, beside the images.

    Attributes:
        spec: the network's preprocessing; S is its ``input_size_px``.
        augmentation: preset of the random changes.
        batch_size: B, images a step.
        seed: of the run.
        classes: K.
        balance: see ``epoch_order``. An epoch has ``N // B`` steps in any case.
        mixing: of the images of a slice.
        slices: equal parts of a step, for several processes, or for less memory; b = B / slices. Each has images from
            all over the step, so that its batch statistics and what is mixed in it are like the step's.
        workers: threads that make slices ahead; with 0 each is made when it is asked for.
    """

    spec: PreprocessSpec
    augmentation: Augmentation
    batch_size: int
    seed: int
    classes: int
    balance: float = 0.0
    mixing: Mixing = UNMIXED
    slices: int = 1
    workers: int = 0


def epoch_batches(
    squares: Squares,
    labels: NDArray[np.int64],
    plan: EpochPlan,
    *,
    epoch: int,
    first_step: int = 0,
    own_slices: range | None = None,
    metadata: NDArray[np.float32] | None = None,
) -> Iterator[Batch]:
    """The batches of one epoch, step by step, from ``first_step`` on; a last incomplete step is dropped.

    A batch depends on nothing but the data, the plan, the epoch, the step and the slice: no random state is carried
    from one to the next, so a run that was interrupted goes on with exactly the batches that it would have seen, at no
    cost. Unmixed, the slices of a step are the step's images, however many slices there are.

    Args:
        squares: uint8 ``(N, P, P, 3)``.
        labels: int64 ``(N,)`` in ``[0, K)``.
        plan: how they are made.
        epoch: its number.
        first_step: how many steps to leave out, at least 0.
        own_slices: the slices that are wanted of each step; all of them if not given.
        metadata: float32 ``(N, M)``; that of ``METADATA_DROPOUT`` of the images is taken away, at random, so that the
            network also learns to do without.
    """
    order = epoch_order(labels, balance=plan.balance, seed=plan.seed, epoch=epoch)

    def make(step: int, part: int) -> Batch:
        places = np.arange(step * plan.batch_size, (step + 1) * plan.batch_size)
        rows = np.sort(order[places])  # a file is read forwards
        own = np.arange(part, plan.batch_size, plan.slices)  # neighbours by id are often of one diagnosis or source
        pixels = np.stack(
            [
                augment(
                    square,
                    plan.spec.input_size_px,
                    plan.augmentation,
                    _random(plan.seed, epoch, _Draw.AUGMENTATION, int(place)),
                )
                for square, place in zip(squares[rows[own]], places[own], strict=True)
            ]
        )
        images, targets = torch.from_numpy(normalise(pixels, plan.spec)), torch.from_numpy(labels[rows[own]])
        known = None
        if metadata is not None:
            random = _random(plan.seed, epoch, _Draw.METADATA, step * plan.slices + part)
            is_lost = random.random((len(own), 1)) < METADATA_DROPOUT
            known = torch.from_numpy(np.where(is_lost, unknown_metadata(metadata.shape[1]), metadata[rows[own]]))
        if plan.mixing.is_on:
            one_hot = torch.nn.functional.one_hot(targets, plan.classes).float()
            random = _random(plan.seed, epoch, _Draw.MIXING, step * plan.slices + part)
            images, targets, known = mix(images, one_hot, known, plan.mixing, random)
        return Batch(images, targets, torch.from_numpy(labels[rows]), known)

    wanted = range(plan.slices) if own_slices is None else own_slices
    steps = range(first_step, len(order) // plan.batch_size)
    return _made_ahead([partial(make, step, part) for step in steps for part in wanted], plan.workers)


def unknown_metadata(features: int) -> NDArray[np.float32]:
    """Metadata of a patient of whom nothing is known: float32 ``(1, M)``."""
    sites = [""] * (features - metadata_features(()))
    return encode_metadata([PatientMetadata()], sites).astype(np.float32)


def _made_ahead(makers: Sequence[Callable[[], Batch]], workers: int) -> Iterator[Batch]:
    """Call them in order, the next ones already while the first is in use."""
    if workers == 0:
        yield from (make() for make in makers)
        return
    pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="batches")
    try:
        waiting: deque[Future[Batch]] = deque()
        for make in makers:
            waiting.append(pool.submit(make))
            if len(waiting) > workers + 1:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


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
    METADATA = 3


def _random(seed: int, epoch: int, draw: _Draw, number: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(epoch, draw, number)))


def plain_batches(squares: Squares, spec: PreprocessSpec, *, batch_size: int) -> Iterator[NDArray[np.uint8]]:
    """The stored squares in order, scaled to the input size where they are larger: uint8 ``(B, S, S, 3)``."""
    for start in range(0, len(squares), batch_size):
        yield np.stack([scale_square(square, spec.input_size_px) for square in squares[start : start + batch_size]])
