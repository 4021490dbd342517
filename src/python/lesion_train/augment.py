"""Random changes to training images that leave the diagnosis as it is, in three presets.

A lesion has no up and no left, and cameras differ in distance, light and colour.

| preset | crop: area, aspect | free rotation | brightness, contrast, saturation, hue | artefacts          | ms        |
|--------|--------------------|---------------|---------------------------------------|--------------------|-----------|
| light  | ≥ 90 %, 0.95-1.05  | none          | ±10 %, ±10 %, none, none              | none               | 0.7 / 0.9 |
| medium | ≥ 75 %, 0.85-1.18  | 30 %: ±45°    | ±20 %, ±20 %, ±20 %, ±0.03 turns      | none               | 0.9 / 1.8 |
| heavy  | ≥ 50 %, 0.75-1.33  | all: any      | ±30 %, ±30 %, ±30 %, ±0.05 turns      | one; 25 %: erasing | 1.5 / 3.6 |

Quarter turns and mirrors come with all three. ``medium`` is what the scores in the README were reached with; the
corners that its rotation uncovers are black, as the surround of a dermatoscope's field is, while ``heavy`` mirrors the
image into them. Its artefacts are in ``artefacts``.

All randomness comes from the generator that is passed in. torchvision's transforms v2 make the antialiased crop. Their
rotation and hue take 1-6 ms an image on one core, so OpenCV rotates and colours, within rounding of them
(``test_augment`` compares). The column ms: one image, one thread of a shared 2.8 GHz Xeon, 147 → 128 px / 258 → 224 px;
``medium`` with torchvision alone takes 4.7 / 9.7.
"""

# P side of the stored square · S = side_px

from __future__ import annotations

import math

import attrs
import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from lesion_plugins import torchvision_remedy
from lesion_train.artefacts import add_artefact, erase
from lesion_train.config import Augmentation

torchvision_remedy.apply()

from torchvision.transforms.v2 import functional  # noqa: E402  (needs the remedy first)

# ITU-R BT.601, as torchvision's rgb_to_grayscale
LUMA = np.array([0.2989, 0.587, 0.114])
CROP_TRIES = 10  # before the whole square is taken, as torchvision's RandomResizedCrop


@attrs.frozen(kw_only=True)
class Strength:
    """How far a preset goes.

    Attributes:
        smallest_crop: share of the square's area, in (0, 1].
        widest_aspect: width over height of the crop, at most; its inverse at least.
        rotated: share of the images that are rotated freely, in [0, 1].
        largest_angle: in degrees, either way.
        mirrored_corners: whether the image goes on, mirrored, beyond its border; black if not.
        brightness, contrast, saturation: largest change of the factor 1.
        hue: largest change, in turns of the colour circle.
        artefacts: whether each image gets one.
        erased: share of the images of which a rectangle is erased, in [0, 1].
    """

    smallest_crop: float
    widest_aspect: float
    rotated: float = 0.0
    largest_angle: float = 0.0
    mirrored_corners: bool = False
    brightness: float
    contrast: float
    saturation: float = 0.0
    hue: float = 0.0
    artefacts: bool = False
    erased: float = 0.0


PRESETS = {
    Augmentation.LIGHT: Strength(smallest_crop=0.9, widest_aspect=1.05, brightness=0.1, contrast=0.1),
    Augmentation.MEDIUM: Strength(
        smallest_crop=0.75,
        widest_aspect=1.18,
        rotated=0.3,
        largest_angle=45,
        brightness=0.2,
        contrast=0.2,
        saturation=0.2,
        hue=0.03,
    ),
    Augmentation.HEAVY: Strength(
        smallest_crop=0.5,
        widest_aspect=4 / 3,
        rotated=1.0,
        largest_angle=180,
        mirrored_corners=True,
        brightness=0.3,
        contrast=0.3,
        saturation=0.3,
        hue=0.05,
        artefacts=True,
        erased=0.25,
    ),
}


def augment(
    square: NDArray[np.uint8], side_px: int, augmentation: Augmentation, random: np.random.Generator
) -> NDArray[np.uint8]:
    """Change one image at random: uint8 ``(P, P, 3)`` → uint8 ``(S, S, 3)``.

    Equal generators give equal images, whatever else is drawn from other generators.
    """
    strength = PRESETS[augmentation]
    image = square
    if random.random() < strength.rotated:
        angle = random.uniform(-strength.largest_angle, strength.largest_angle)
        image = rotate(image, angle, mirrored_corners=strength.mirrored_corners)
    image = _random_crop(image, side_px, strength, random)
    image = _random_colours(image, strength, random)
    image = np.rot90(image, int(random.integers(4)))
    if random.integers(2):
        image = image[:, ::-1]
    image = np.ascontiguousarray(image)
    if strength.artefacts:
        image = add_artefact(image, random)
    if random.random() < strength.erased:
        image = erase(image, random)
    return image


def rotate(image: NDArray[np.uint8], angle: float, *, mirrored_corners: bool) -> NDArray[np.uint8]:
    """Turn counter-clockwise about the centre by ``angle`` degrees, bilinearly: uint8 ``(H, W, 3)`` as it came."""
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1.0)
    border = cv2.BORDER_REFLECT_101 if mirrored_corners else cv2.BORDER_CONSTANT
    return np.asarray(cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=border))


def adjust_brightness(image: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    """Multiply by ``factor``, within [0, 255]."""
    return _linear(image, np.eye(3) * factor)


def adjust_contrast(image: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    """Scale distances from the image's mean grey by ``factor``, within [0, 255]."""
    mean_grey = float(LUMA @ np.array(cv2.mean(image)[:3]))
    return _linear(image, np.eye(3) * factor, offset=(1 - factor) * mean_grey)


def adjust_saturation(image: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    """Scale distances from each pixel's own grey by ``factor``, within [0, 255]."""
    return _linear(image, factor * np.eye(3) + (1 - factor) * np.tile(LUMA, (3, 1)))


def adjust_hue(image: NDArray[np.uint8], turns: float) -> NDArray[np.uint8]:
    """Shift hue on the HSV colour circle, in steps of 1/256 turn."""
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
    hsv[..., 0] += np.uint8(round(turns * 256) % 256)  # wraps around, as the circle does
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL), dtype=np.uint8)


def _linear(image: NDArray[np.uint8], matrix: NDArray[np.float64], offset: float = 0.0) -> NDArray[np.uint8]:
    return np.asarray(cv2.transform(image, np.column_stack([matrix, np.full(3, offset)])), dtype=np.uint8)


def _random_crop(
    image: NDArray[np.uint8], side_px: int, strength: Strength, random: np.random.Generator
) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    top, left, rows, columns = 0, 0, height, width
    widest = math.log(strength.widest_aspect)
    for _ in range(CROP_TRIES):
        area = height * width * random.uniform(strength.smallest_crop, 1.0)
        aspect = math.exp(random.uniform(-widest, widest))
        wide, high = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if wide <= width and high <= height:
            top, left = int(random.integers(height - high + 1)), int(random.integers(width - wide + 1))
            rows, columns = high, wide
            break
    cut = torch.from_numpy(image[top : top + rows, left : left + columns].copy()).permute(2, 0, 1)
    scaled = functional.resize(cut, [side_px, side_px], antialias=True)
    return np.ascontiguousarray(scaled.permute(1, 2, 0).numpy())


def _random_colours(image: NDArray[np.uint8], strength: Strength, random: np.random.Generator) -> NDArray[np.uint8]:
    changes = (
        (adjust_brightness, 1 + random.uniform(-strength.brightness, strength.brightness)),
        (adjust_contrast, 1 + random.uniform(-strength.contrast, strength.contrast)),
        (adjust_saturation, 1 + random.uniform(-strength.saturation, strength.saturation)),
        (adjust_hue, random.uniform(-strength.hue, strength.hue)),
    )
    used = (True, True, strength.saturation > 0, strength.hue > 0)
    for number in random.permutation(len(changes)):
        change, amount = changes[number]
        if used[number]:
            image = change(image, amount)
    return image
