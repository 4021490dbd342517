"""The batches of an epoch: what they show, how often, and that each can be had without those before it."""

# N images · K trained classes

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lesion_core.datasets.synthetic import draw_lesion
from lesion_core.preprocess_spec import PreprocessSpec
from lesion_train.config import Augmentation
from lesion_train.data import Batch, EpochPlan, epoch_batches, epoch_order
from lesion_train.mixing import Mixing

SIDE = 32
IMAGES = 22
SPEC = PreprocessSpec(input_size_px=SIDE)
SQUARES = np.stack([draw_lesion("NV", seed=n, side_px=37) for n in range(IMAGES)])
LABELS = np.array([0] * 16 + [1] * 4 + [2] * 2)
BALANCES = st.sampled_from([0.0, 0.5, 1.0])


def batches(*, epoch: int = 1, first_step: int = 0, own_slices: range | None = None, **changes: Any) -> Iterator[Batch]:
    defaults = {"spec": SPEC, "batch_size": 4, "seed": 0, "classes": 3, "augmentation": Augmentation.HEAVY}
    plan = EpochPlan(**{**defaults, **changes})
    return epoch_batches(SQUARES, LABELS, plan, epoch=epoch, first_step=first_step, own_slices=own_slices)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**64 - 1),
    epoch=st.integers(1, 1000),
    first_step=st.integers(0, 6),
    balance=BALANCES,
    augmentation=st.sampled_from(list(Augmentation)),
    mixing=st.sampled_from([Mixing(), Mixing(mixup=0.2), Mixing(mixup=0.4, cutmix=1.0)]),
)
def test_an_epoch_begun_in_the_middle_goes_on_as_the_whole_one(
    seed: int, epoch: int, first_step: int, balance: float, augmentation: Augmentation, mixing: Mixing
) -> None:
    """To the last bit, whatever the settings."""
    asked: dict[str, Any] = {
        "seed": seed,
        "epoch": epoch,
        "balance": balance,
        "augmentation": augmentation,
        "mixing": mixing,
    }

    whole, rest = list(batches(**asked)), list(batches(**asked, first_step=first_step))

    assert len(whole) == IMAGES // 4
    assert len(rest) == max(0, len(whole) - first_step)
    for one, other in zip(whole[first_step:], rest, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.targets, other.targets)


def test_torch_s_and_numpy_s_global_random_states_play_no_part() -> None:
    """Nothing else that a run does can change its images."""
    torch.manual_seed(1)
    np.random.seed(1)
    first = [batch.images for batch in batches()]
    torch.manual_seed(2)
    np.random.seed(2)

    assert all(torch.equal(one, batch.images) for one, batch in zip(first, batches(), strict=True))


@pytest.mark.parametrize("change", [{"seed": 1}, {"epoch": 2}])
def test_another_seed_or_epoch_gives_another_order_and_other_images(change: dict[str, Any]) -> None:
    """The order of the rows and the pixels."""
    known = {"seed": 0, "epoch": 1}

    assert epoch_order(LABELS, **known).tolist() != epoch_order(LABELS, **{**known, **change}).tolist()
    assert not torch.equal(next(batches()).images, next(batches(**change)).images)


def test_targets_stay_with_their_images() -> None:
    """Each image has a colour of its own, by which it is known."""
    squares = np.broadcast_to(np.arange(24, dtype=np.uint8)[:, None, None, None] * 10, (24, 37, 37, 3))

    plan = EpochPlan(spec=SPEC, augmentation=Augmentation.LIGHT, batch_size=6, seed=0, classes=24)

    for images, targets, *_ in epoch_batches(squares, np.arange(24), plan, epoch=1):
        assert images.shape == (6, 3, SIDE, SIDE)
        assert (images.mean(dim=(1, 2, 3)).argsort() == targets.argsort()).all()


def test_unmixed_targets_are_labels_and_mixed_ones_shares() -> None:
    """int64 ``(B,)`` or float32 ``(B, K)``."""
    assert next(batches()).targets.dtype == torch.int64
    mixed = next(batches(mixing=Mixing(mixup=0.4))).targets
    assert mixed.shape == (4, 3)
    torch.testing.assert_close(mixed.sum(1), torch.ones(4))


@given(st.lists(st.integers(0, 60), min_size=2, max_size=8).filter(any), st.integers(0, 99), st.floats(0, 1))
def test_a_class_is_shown_in_proportion_to_a_power_of_its_size(counts: list[int], seed: int, balance: float) -> None:
    """Within one image; and every image of it equally often, within one."""
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))

    order = epoch_order(labels, seed=seed, epoch=1, balance=balance)

    assert len(order) == len(labels)
    powers = np.array([count ** (1 - balance) if count else 0.0 for count in counts])
    expected = len(labels) * powers / powers.sum()
    assert np.abs(np.bincount(labels[order], minlength=len(counts)) - expected).max() < 1 + 1e-6
    shown = np.bincount(order, minlength=len(labels))
    for label, count in enumerate(counts):
        if count:
            times = shown[labels == label]
            assert np.floor(expected[label] / count - 1e-6) <= times.min()
            assert times.max() <= np.ceil(expected[label] / count + 1e-6)


@given(st.integers(0, 10**6), st.integers(1, 100))
def test_without_balance_each_image_is_shown_once(seed: int, epoch: int) -> None:
    """In another order than they are stored in."""
    order = epoch_order(LABELS, seed=seed, epoch=epoch)

    assert Counter(order.tolist()) == Counter(range(IMAGES))
    assert order.tolist() != list(range(IMAGES))


def test_full_balance_shows_every_class_equally_often() -> None:
    """Of 16, 4 and 2 images, 22 draws."""
    shown = np.bincount(LABELS[epoch_order(LABELS, seed=3, epoch=1, balance=1.0)])

    assert set(shown.tolist()) <= {7, 8}


@settings(max_examples=15, deadline=None)
@given(slices=st.sampled_from([1, 2, 4]), workers=st.integers(0, 3), balance=BALANCES)
def test_slices_and_workers_change_nothing_but_the_time(slices: int, workers: int, balance: float) -> None:
    """The slices of a step, put together again, are the step; whoever makes them, and however far ahead."""
    whole = list(batches(balance=balance))
    sliced = list(batches(balance=balance, slices=slices, workers=workers))

    assert len(sliced) == slices * len(whole)
    for step, batch in enumerate(whole):
        own = sliced[step * slices : (step + 1) * slices]
        assert torch.equal(torch.stack([one.images for one in own], dim=1).flatten(0, 1), batch.images)
        assert torch.equal(torch.stack([one.targets for one in own], dim=1).flatten(), batch.targets)
        assert all(torch.equal(one.step_labels, batch.targets) for one in own)


def test_each_slice_has_images_from_all_over_the_step() -> None:
    """Class folders sort their images by diagnosis: a slice of neighbours would have one, and mix it with itself."""
    by_class = np.array([0] * 11 + [1] * 11)
    plan = EpochPlan(spec=SPEC, augmentation=Augmentation.LIGHT, batch_size=22, seed=0, classes=2, slices=2)

    shown = [Counter(one.targets.tolist()) for one in epoch_batches(SQUARES, by_class, plan, epoch=1)]

    assert shown == [{0: 6, 1: 5}, {0: 5, 1: 6}]


def test_processes_that_take_their_own_slices_take_all_of_them() -> None:
    """Each process makes only its own."""
    whole = list(batches(slices=4, mixing=Mixing(mixup=0.4)))

    parts = [list(batches(slices=4, mixing=Mixing(mixup=0.4), own_slices=range(n, n + 2))) for n in (0, 2)]

    shared = [batch for step in range(IMAGES // 4) for part in parts for batch in part[2 * step : 2 * step + 2]]
    for one, other in zip(whole, shared, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.targets, other.targets)


def test_an_error_while_preparing_images_ahead_is_not_lost() -> None:
    """It comes when the batch is asked for, and no thread stays behind."""
    plan = EpochPlan(spec=SPEC, augmentation=Augmentation.LIGHT, batch_size=4, seed=0, classes=3, workers=2)

    with pytest.raises(IndexError):
        list(epoch_batches(SQUARES[:10], LABELS, plan, epoch=1))

    assert not [thread for thread in threading.enumerate() if thread.name.startswith("batches")]
