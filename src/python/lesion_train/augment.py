"""Random changes to training images that leave the diagnosis as it is.

A lesion has no up and no left, and cameras differ in light: so crops, flips, quarter turns, free rotation and mild
changes of colour. Done by torchvision's transforms v2.
"""

# B images · P side of the stored squares · S = input_size_px

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from lesion_plugins import torchvision_remedy

torchvision_remedy.apply()

from torchvision.transforms import v2  # noqa: E402  (needs the remedy first)


class Augmentation:
    """The random changes; they draw from torch's global random state, so seed that."""

    def __init__(self, *, smallest_crop: float = 0.75) -> None:
        self._smallest_crop = smallest_crop
        self._colour = v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.03)
        self._rotation = v2.RandomApply([v2.RandomRotation(45, interpolation=v2.InterpolationMode.BILINEAR)], p=0.3)

    def __call__(self, images: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
        """Change each image on its own: uint8 ``(B, P, P, 3)`` → uint8 ``(B, S, S, 3)``."""
        crop = v2.RandomResizedCrop(side_px, scale=(self._smallest_crop, 1.0), ratio=(0.85, 1.18), antialias=True)
        changed = []
        for image in torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2):
            out = self._colour(crop(self._rotation(image)))
            turns, mirrored = int(torch.randint(4, ())), bool(torch.randint(2, ()))
            out = torch.rot90(out, turns, dims=(1, 2))
            changed.append(out.flip(2) if mirrored else out)
        return torch.stack(changed).permute(0, 2, 3, 1).contiguous().numpy()
