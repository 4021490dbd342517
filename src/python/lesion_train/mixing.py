"""Mixup and CutMix: images made of two, with targets and metadata in the same proportion."""

# B images · C=3 RGB · S side in pixels · K trained classes · M metadata features

from __future__ import annotations

import math
from typing import NamedTuple

import attrs
import numpy as np
import torch
from attrs.validators import ge
from torch import Tensor


@attrs.frozen(kw_only=True)
class Mixing:
    """What is mixed into the images of a batch; where both are on, a fair coin chooses for each batch.

    Attributes:
        mixup: α of Beta(α, α), from which the first image's share λ is drawn; 0 is off.
        cutmix: α of Beta(α, α), from which the share λ of the area that stays is drawn; 0 is off.
    """

    mixup: float = attrs.field(default=0.0, validator=ge(0))
    cutmix: float = attrs.field(default=0.0, validator=ge(0))

    @property
    def is_on(self) -> bool:
        """Whether a batch is changed at all."""
        return self.mixup > 0 or self.cutmix > 0


class Mixed(NamedTuple):
    """Images float32 ``(B, 3, S, S)``, targets float32 ``(B, K)`` and, where there is any, metadata ``(B, M)``."""

    images: Tensor
    targets: Tensor
    metadata: Tensor | None


def mix(images: Tensor, targets: Tensor, metadata: Tensor | None, mixing: Mixing, random: np.random.Generator) -> Mixed:
    """Mix each image with another one of the batch, all in the same way, with what is known of the two patients.

    Args:
        images: float32 ``(B, 3, S, S)``, normalised; left as they are.
        targets: float32 ``(B, K)``; rows sum to 1.
        metadata: float32 ``(B, M)``, or ``None`` where the network takes none.
        mixing: what is done.
        random: decides on the kind, λ, the partners and the rectangle.
    Returns:
        All of them mixed; where mixing is off, what came.
    """
    if not mixing.is_on:
        return Mixed(images, targets, metadata)
    pasted = mixing.cutmix > 0 and (mixing.mixup == 0 or random.random() < 0.5)
    alpha = mixing.cutmix if pasted else mixing.mixup
    share = float(random.beta(alpha, alpha))
    partners = torch.from_numpy(random.permutation(len(images)))
    if pasted:
        mixed, share = paste(images, partners, share, random)
    else:
        mixed = _blend(images, partners, share)
    known = None if metadata is None else _blend(metadata, partners, share)
    return Mixed(mixed, _blend(targets, partners, share), known)


def _blend(rows: Tensor, partners: Tensor, share: float) -> Tensor:
    return share * rows + (1 - share) * rows[partners]


def paste(images: Tensor, partners: Tensor, share: float, random: np.random.Generator) -> tuple[Tensor, float]:
    """Paste one rectangle of each partner in its own place, about ``1 - share`` of the area.

    The rectangle has the image's aspect and its centre anywhere, so the border may cut it.

    Returns:
        Images ``(B, 3, S, S)`` and the share of the pixels that stayed, exactly.
    Source: Yun et al. 2019, "CutMix", eq. 2 and algorithm A1. Mixup: Zhang et al. 2018, "mixup", eq. 1.
    """
    height, width = images.shape[-2:]
    half_high, half_wide = (round(side * math.sqrt(1 - share) / 2) for side in (height, width))
    row, column = int(random.integers(height)), int(random.integers(width))
    top, bottom = max(0, row - half_high), min(height, row + half_high)
    left, right = max(0, column - half_wide), min(width, column + half_wide)
    mixed = images.clone()
    mixed[..., top:bottom, left:right] = images[partners, :, top:bottom, left:right]
    return mixed, 1 - (bottom - top) * (right - left) / (height * width)
