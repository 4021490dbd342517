"""PlainNet: a stem, three stages of residual blocks, and the mean over places. Plain torch, no pretrained weights."""

# N images · C channels · H, W pixels · h, w cells of the last map

from __future__ import annotations

from torch import Tensor, nn

WIDTHS = (32, 64, 128)


class Residual(nn.Module):
    """Two convolutions, added to what came in: ``(N, C, h, w)`` → the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.change = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, cells: Tensor) -> Tensor:
        """Change the cells a little."""
        return cells + self.change(cells)


class PlainNet(nn.Module):
    """Images, float32 ``(N, 3, H, W)`` → features, float32 ``(N, 128)``."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, WIDTHS[0], 4, stride=4)
        stages = []
        for before, width in zip((WIDTHS[0], *WIDTHS), WIDTHS, strict=False):
            stages.append(nn.Sequential(nn.Conv2d(before, width, 2, stride=2), Residual(width), Residual(width)))
        self.stages = nn.Sequential(*stages)

    def forward(self, images: Tensor) -> Tensor:
        """The mean of the last map over its places."""
        return self.stages(self.stem(images)).mean(dim=(2, 3))
