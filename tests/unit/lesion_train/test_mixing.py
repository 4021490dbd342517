"""Mixup and CutMix: targets and metadata say what the images are made of."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from lesion_train.mixing import Mixing, mix, paste

BATCH = 6
SEEDS = st.integers(0, 2**32 - 1)
ALPHAS = st.sampled_from([0.0, 0.1, 1.0, 5.0])
METADATA = torch.arange(BATCH * 2, dtype=torch.float32).reshape(BATCH, 2)


def batch(high: int = 12, wide: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    """Image n is filled with n and has class n: float32 ``(6, 3, 12, 16)`` and ``(6, 6)``."""
    numbers = torch.arange(BATCH, dtype=torch.float32)
    return numbers[:, None, None, None].expand(BATCH, 3, high, wide).contiguous(), torch.eye(BATCH)


@given(seed=SEEDS, mixup=ALPHAS, cutmix=ALPHAS)
def test_targets_say_what_an_image_is_made_of(seed: int, mixup: float, cutmix: float) -> None:
    """Its mean is that of its classes by their shares, which sum to 1."""
    images, targets = batch()

    mixed, shares, known = mix(
        images, targets, METADATA, Mixing(mixup=mixup, cutmix=cutmix), np.random.default_rng(seed)
    )

    torch.testing.assert_close(shares.sum(1), torch.ones(BATCH))
    assert (shares >= 0).all()
    expected = shares @ torch.arange(BATCH, dtype=torch.float32)
    torch.testing.assert_close(mixed.mean(dim=(1, 2, 3)), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(known, shares @ METADATA)


@given(seed=SEEDS, share=st.floats(0, 1))
def test_the_share_is_the_area_that_was_not_pasted_over(seed: int, share: float) -> None:
    """Counted pixel by pixel, also where the border cuts the rectangle."""
    images, _ = batch()
    partners = torch.arange(BATCH).roll(1)

    mixed, stayed = paste(images, partners, share, np.random.default_rng(seed))

    own = (mixed == images).float().mean(dim=(1, 2, 3))
    torch.testing.assert_close(own, torch.full((BATCH,), stayed))
    assert stayed >= share - 0.12  # whole pixels; a rectangle that is cut leaves more


@given(seed=SEEDS)
def test_mixing_that_is_off_changes_nothing(seed: int) -> None:
    """Not even copies are made."""
    images, targets = batch()

    mixed, shares, known = mix(images, targets, METADATA, Mixing(), np.random.default_rng(seed))

    assert mixed is images
    assert shares is targets
    assert known is METADATA


@given(seed=SEEDS, mixup=ALPHAS, cutmix=ALPHAS)
def test_equal_generators_mix_equally_and_leave_the_originals(seed: int, mixup: float, cutmix: float) -> None:
    """Pure, but for the generator."""
    images, targets = batch()
    before = images.clone()
    mixing = Mixing(mixup=mixup, cutmix=cutmix)

    first, second = (mix(images, targets, None, mixing, np.random.default_rng(seed)) for _ in range(2))

    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert torch.equal(images, before)


def test_both_kinds_are_used_where_both_are_on() -> None:
    """Pasted images have no values between whole numbers; blended ones do."""
    images, targets = batch()
    random = np.random.default_rng(0)

    kinds = {
        bool((mixed == mixed.round()).all())
        for mixed, *_ in (mix(images, targets, None, Mixing(mixup=1.0, cutmix=1.0), random) for _ in range(20))
    }

    assert kinds == {True, False}
