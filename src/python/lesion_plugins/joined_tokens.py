"""Class token and mean of the patch tokens, side by side: the features of a vision transformer."""

# N images · H, W pixels · P prefix tokens · T patch tokens · D width of a token

from __future__ import annotations

import torch
from torch import Tensor, nn


class JoinedTokens(nn.Module):
    """A network that puts out tokens ``(N, P + T, D)`` → features ``(N, 2 D)``.

    Source: Oquab et al. 2023, DINOv2, appendix B.3 (the linear evaluation).
    """

    def __init__(self, network: nn.Module, *, prefix_tokens: int) -> None:
        super().__init__()
        self.network = network
        self.prefix_tokens = prefix_tokens

    def forward(self, images: Tensor) -> Tensor:
        """Features float32 ``(N, 2 D)`` of normalised images, float32 ``(N, 3, H, W)``."""
        tokens: Tensor = self.network(images)
        return torch.cat((tokens[:, 0], tokens[:, self.prefix_tokens :].mean(dim=1)), dim=1)
