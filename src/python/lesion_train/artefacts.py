"""What cameras, files and bodies add to a photograph of a lesion, for heavy augmentation.

Each image gets one artefact of one strength, both drawn evenly: TrivialAugment (Müller and Hutter 2021) with a choice
that dermoscopy knows. Inverting, solarising and the like are left out: colour is what a lesion is recognised by.
"""

# S side of the image in pixels

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

_Image = NDArray[np.uint8]

STRONGEST_BLUR = 0.012  # standard deviation over the side: 1.5 px at 128 px
LOWEST_JPEG_QUALITY = 30
STRONGEST_NOISE = 12.0  # standard deviation, in grey levels of 255
STRONGEST_TINT = 0.12  # change of a channel's gain: another white balance
STRONGEST_SHARPENING = 1.0
WIDEST_GAMMA = 1.5
MOST_HAIRS = 8
ERASED_AREA = (0.02, 0.2)  # share of the image; Zhong et al. 2020, "Random Erasing", but at most 0.2 instead of 0.4
ERASED_ASPECT = 1 / 0.3  # height over width, at most; its inverse at least; Zhong et al. 2020


def add_artefact(image: _Image, random: np.random.Generator) -> _Image:
    """One artefact of a strength in [0, 1]: uint8 ``(S, S, 3)`` as it came."""
    change = ARTEFACTS[random.integers(len(ARTEFACTS))]
    return change(image, random.random(), random)


def erase(image: _Image, random: np.random.Generator) -> _Image:
    """Paint a rectangle in the image's mean colour, as a sticker or a marker hides skin: uint8 ``(S, S, 3)``.

    Source: Zhong et al. 2020, "Random Erasing Data Augmentation", algorithm 1; DeVries and Taylor 2017, "Cutout".
    """
    side = image.shape[0]
    area = side * side * random.uniform(*ERASED_AREA)
    aspect = np.exp(random.uniform(-np.log(ERASED_ASPECT), np.log(ERASED_ASPECT)))
    high = min(side, max(1, round(np.sqrt(area * aspect))))
    wide = min(side, max(1, round(np.sqrt(area / aspect))))
    top, left = random.integers(side - high + 1), random.integers(side - wide + 1)
    erased = image.copy()
    erased[top : top + high, left : left + wide] = np.array(cv2.mean(image)[:3]).round()
    return erased


def _blur(image: _Image, strength: float, random: np.random.Generator) -> _Image:
    sigma = max(0.2, strength * STRONGEST_BLUR * image.shape[0])
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), dtype=np.uint8)


def _sharpen(image: _Image, strength: float, random: np.random.Generator) -> _Image:
    amount = strength * STRONGEST_SHARPENING
    return np.asarray(
        cv2.addWeighted(image, 1 + amount, cv2.GaussianBlur(image, (0, 0), 1.0), -amount, 0), dtype=np.uint8
    )


def _compress(image: _Image, strength: float, random: np.random.Generator) -> _Image:
    quality = round(95 - strength * (95 - LOWEST_JPEG_QUALITY))
    _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), dtype=np.uint8)
    return np.ascontiguousarray(decoded[..., ::-1])


def _noise(image: _Image, strength: float, random: np.random.Generator) -> _Image:
    grain = random.standard_normal(image.shape, dtype=np.float32) * np.float32(strength * STRONGEST_NOISE)
    return (image + grain).round().clip(0, 255).astype(np.uint8)


def _gamma(image: _Image, strength: float, random: np.random.Generator) -> _Image:
    gamma = WIDEST_GAMMA ** (strength if random.integers(2) else -strength)
    table = (255 * (np.arange(256) / 255) ** gamma).round().astype(np.uint8)
    return np.asarray(cv2.LUT(image, table), dtype=np.uint8)


def _tint(image: _Image, strength: float, random: np.random.Generator) -> _Image:
    gains = 1 + strength * STRONGEST_TINT * random.uniform(-1, 1, 3)
    return np.asarray(cv2.transform(image, np.diag(gains)), dtype=np.uint8)


def _hairs(image: _Image, strength: float, random: np.random.Generator) -> _Image:
    """Dark, slightly bent lines; for all of them one shade."""
    side = image.shape[0]
    hairy = image.copy()
    shade = random.integers(10, 70) * np.array([1.0, 0.8, 0.7])
    along = np.linspace(0, 1, 12)[:, None]
    for _ in range(1 + round(strength * (MOST_HAIRS - 1))):
        start, bend, end = random.uniform(-0.2 * side, 1.2 * side, (3, 2))
        middle = (start + end) / 2 + 0.15 * (bend - side / 2)
        curve = (1 - along) ** 2 * start + 2 * along * (1 - along) * middle + along**2 * end
        thickness = int(random.integers(1, max(1, side // 100) + 1))
        cv2.polylines(hairy, [curve.round().astype(np.int32)], False, shade.tolist(), thickness, cv2.LINE_AA)
    return hairy


ARTEFACTS: tuple[Callable[[_Image, float, np.random.Generator], _Image], ...] = (
    _blur,
    _sharpen,
    _compress,
    _noise,
    _gamma,
    _tint,
    _hairs,
)
