"""Where in a network its feature map is found, and how to lay it out. Imports no torch: a spec holds these values."""

# N images · D features · h, w cells of the map · T = h·w patch tokens · P prefix tokens, the class token first

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from torch import Tensor


@attrs.frozen(kw_only=True)
class FeatureMap:
    """The feature map of a network: what one of its layers puts out, in our layout.

    Attributes:
        layer: name of the layer, as in ``named_modules()`` of the built network.
        reshape: float32 in the layer's own layout → float32 ``(N, D, h, w)``, D the backbone's ``feature_dim``. Row 0
            is the top of the image, column 0 its left.
        norm: name of the layer norm that stands between the mean of the map and the embedding, if one does. It is
            then applied to every cell, with the statistics of the mean, so that the map is in the embedding's space.
        is_pooled_by_mean: the embedding is the mean of the map over its cells, so class activation maps add up to the
            logits. ``False`` makes no such promise: the maps are then the head's opinion of every cell.
    """

    layer: str = attrs.field(validator=attrs.validators.min_len(1))
    reshape: Callable[[Tensor], Tensor] = attrs.field(validator=attrs.validators.is_callable())
    norm: str | None = None
    is_pooled_by_mean: bool = False


def channels_first(output: Tensor) -> Tensor:
    """``(N, D, h, w)`` as it is: most convolutional networks."""
    return output


def channels_last(output: Tensor) -> Tensor:
    """``(N, h, w, D)`` → ``(N, D, h, w)``: Swin, MetaFormer."""
    return output.permute(0, 3, 1, 2)


def patch_tokens(prefix_tokens: int) -> Callable[[Tensor], Tensor]:
    """``(N, P + T, D)`` → ``(N, D, h, w)`` of square images: transformers, without class and register tokens."""
    return partial(_patch_tokens, prefix_tokens=prefix_tokens)


def class_and_patch_tokens(prefix_tokens: int) -> Callable[[Tensor], Tensor]:
    """``(N, P + T, D / 2)`` → ``(N, D, h, w)``: every cell holds the class token, then its own patch token.

    The map of embeddings that join the class token and the mean of the patch tokens: its mean is that embedding.
    """
    return partial(_class_and_patch_tokens, prefix_tokens=prefix_tokens)


def _patch_tokens(output: Tensor, *, prefix_tokens: int) -> Tensor:
    patches = output[:, prefix_tokens:]
    side = round(patches.shape[1] ** 0.5)
    return patches.transpose(1, 2).reshape(patches.shape[0], -1, side, side)  # len() would fix the batch in an export


def _class_and_patch_tokens(output: Tensor, *, prefix_tokens: int) -> Tensor:
    from torch import cat

    patches = _patch_tokens(output, prefix_tokens=prefix_tokens)
    class_token = output[:, 0, :, None, None].expand(-1, -1, *patches.shape[2:])
    return cat((class_token, patches), dim=1)
