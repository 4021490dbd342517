"""What a worse photograph does to an answer: corruptions of an image at five severities.

The general ones and their strengths are those of ImageNet-C, whose code is for a side of 224 px; lengths scale with
the side here, and noise does as in a photograph that is scaled: it is averaged away in a smaller one. Source: Hendrycks
and Dietterich 2019, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", arXiv:1903.12261;
https://github.com/hendrycks/robustness (Apache-2.0). Maron et al. 2021, "A benchmark for neural network robustness in
skin cancer classification", European Journal of Cancer 155, did this for dermoscopy.

Those of dermoscopy itself are ours, and so are their strengths: darkness, white balance, hair, air bubbles in the
contact fluid, reflections, a dark surround, and skin marking (Winkler et al. 2019, JAMA Dermatology 155: beside ink, a
network took nevi for melanomas).

They differ from ``lesion_train.artefacts``, which a network may have been trained on: robustness to what was
practised says less.
"""

# S side of the image in pixels

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

SEVERITIES = (1, 2, 3, 4, 5)
REFERENCE_SIDE_PX = 224


def corrupt(image: Image, corruption: str, severity: int, *, row: int) -> Image:
    """One corruption of one image; equal arguments give equal pixels.

    A higher severity has the same hairs, bubbles or marks and more of them.

    Args:
        image: uint8 ``(S, S, 3)``, RGB.
        corruption: a key of ``CORRUPTIONS``.
        severity: 1 to 5.
        row: number of the image, so that no two images get the same hairs.
    Returns:
        uint8 ``(S, S, 3)``.
    """
    seed = np.random.SeedSequence(row, spawn_key=(zlib.crc32(corruption.encode()),))
    return CORRUPTIONS[corruption](image, severity - 1, np.random.default_rng(seed))


def _pixels(values: NDArray[Any]) -> Image:
    return np.asarray(values.round().clip(0, 255), dtype=np.uint8)


def _length(image: Image, pixels: float) -> float:
    """What is so many pixels long at the reference side, in pixels of this image."""
    return pixels * image.shape[0] / REFERENCE_SIDE_PX


# --- ImageNet-C ------------------------------------------------------------------------------------------------------


def _gaussian_noise(image: Image, level: int, random: np.random.Generator) -> Image:
    deviation = 255 * _length(image, (0.08, 0.12, 0.18, 0.26, 0.38)[level])
    return _pixels(image + deviation * random.standard_normal(image.shape, dtype=np.float32))


def _shot_noise(image: Image, level: int, random: np.random.Generator) -> Image:
    photons = (60, 25, 12, 5, 3)[level] / _length(image, 1) ** 2  # that white is counted from
    return _pixels(random.poisson(image * (photons / 255)) * (255 / photons))


def _defocus_blur(image: Image, level: int, random: np.random.Generator) -> Image:
    """A disc of confusion with a soft edge."""
    radius = _length(image, (3, 4, 6, 8, 10)[level])
    along = np.arange(-int(np.ceil(radius)) - 1, int(np.ceil(radius)) + 2)
    disc = (radius + 0.5 - np.hypot(*np.meshgrid(along, along))).clip(0, 1)
    return np.asarray(cv2.filter2D(image, -1, disc / disc.sum(), borderType=cv2.BORDER_REFLECT_101), dtype=np.uint8)


def _motion_blur(image: Image, level: int, random: np.random.Generator) -> Image:
    """A line with Gaussian weights, at an angle of up to 45° to the horizontal."""
    radius, sigma = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))[level]
    reach, sigma_px = max(1, round(_length(image, radius))), _length(image, sigma)
    angle = np.deg2rad(random.uniform(-45, 45))
    steps = np.linspace(-reach, reach, 8 * reach + 1)
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1))
    places = (reach + np.stack([steps * np.sin(angle), steps * np.cos(angle)])).round().astype(int)
    np.add.at(kernel, tuple(places), np.exp(-(steps**2) / (2 * sigma_px**2)))
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT_101), dtype=np.uint8)


def _jpeg(image: Image, level: int, random: np.random.Generator) -> Image:
    quality = (25, 18, 15, 10, 7)[level]
    _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.ascontiguousarray(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), dtype=np.uint8)[..., ::-1])


def _pixelation(image: Image, level: int, random: np.random.Generator) -> Image:
    """As from a smaller image: scaled down and up again."""
    side = image.shape[0]
    small = max(1, int(side * (0.6, 0.5, 0.4, 0.3, 0.25)[level]))
    reduced = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(reduced, (side, side), interpolation=cv2.INTER_NEAREST_EXACT), dtype=np.uint8)


def _brighten(image: Image, by: float) -> Image:
    """Add to the value of HSV, which is the largest channel, and keep hue and saturation."""
    value = image.max(axis=2, keepdims=True).astype(np.float32)
    factor = (value + 255 * by).clip(0, 255) / np.maximum(value, 1)
    return _pixels(image * factor)


def _brightness(image: Image, level: int, random: np.random.Generator) -> Image:
    return _brighten(image, (0.1, 0.2, 0.3, 0.4, 0.5)[level])


def _darkness(image: Image, level: int, random: np.random.Generator) -> Image:
    return _brighten(image, -(0.1, 0.2, 0.3, 0.4, 0.5)[level])


def _contrast(image: Image, level: int, random: np.random.Generator) -> Image:
    means = image.mean(axis=(0, 1), keepdims=True)
    return _pixels(means + (image - means) * (0.4, 0.3, 0.2, 0.1, 0.05)[level])


# --- dermoscopy ------------------------------------------------------------------------------------------------------


def _white_balance(image: Image, level: int, random: np.random.Generator) -> Image:
    """Another colour temperature: red up and blue down, or the other way round."""
    shift = (0.05, 0.1, 0.15, 0.22, 0.3)[level] * random.choice([-1, 1])
    return _pixels(image * np.array([1 + shift, 1.0, 1 - shift]))


def _hair(image: Image, level: int, random: np.random.Generator) -> Image:
    """Dark bent lines that cross the image."""
    hairy, side = image.copy(), image.shape[0]
    thickness = max(1, round(_length(image, 2)))
    along = np.linspace(0, 1, 16)[:, None]
    for _ in range((4, 8, 16, 28, 45)[level]):
        angle = random.uniform(0, 2 * np.pi)
        direction = np.array([np.cos(angle), np.sin(angle)])
        middle, bend = random.uniform(0, side, 2), random.normal(0, 0.15 * side, 2)
        reach = random.uniform(0.25, 0.7) * side
        curve = middle + (2 * along - 1) * reach * direction + 4 * along * (1 - along) * bend
        shade = random.uniform(15, 60) * np.array([1.0, 0.8, 0.65])
        points = [curve.round().astype(np.int32)]
        cv2.polylines(hairy, points, False, shade.tolist(), thickness, cv2.LINE_AA)
    return hairy


def _air_bubbles(image: Image, level: int, random: np.random.Generator) -> Image:
    """Bubbles in the contact fluid: a bright rim, a paler inside, and a glint."""
    wet, side = image.astype(np.float32), image.shape[0]
    for _ in range((3, 6, 10, 16, 24)[level]):
        centre = random.uniform(0, side, 2).round().astype(int).tolist()
        radius = max(2, round(_length(image, random.uniform(4, 16))))
        bubble, rim = np.zeros((2, side, side), np.float32)
        cv2.circle(bubble, centre, radius, 1.0, cv2.FILLED, cv2.LINE_AA)
        cv2.circle(rim, centre, radius, 1.0, max(1, radius // 5), cv2.LINE_AA)
        glint = (np.array(centre) - radius // 3).tolist()
        cv2.circle(rim, glint, max(1, radius // 4), 1.0, cv2.FILLED, cv2.LINE_AA)
        for mask, opacity in ((bubble, 0.25), (rim, 0.8)):
            wet += opacity * mask[..., None] * (255 - wet)
    return _pixels(wet)


def _reflection(image: Image, level: int, random: np.random.Generator) -> Image:
    """A lamp's reflection in glass or fluid: white spots with soft edges, up to saturation."""
    spots = np.zeros(image.shape[:2], np.float32)
    for _ in range((1, 2, 3, 4, 6)[level]):
        centre = random.uniform(0, image.shape[0], 2).round().astype(int).tolist()
        axes = [max(1, round(_length(image, size))) for size in random.uniform(6, 22, 2)]
        cv2.ellipse(spots, centre, axes, random.uniform(0, 180), 0, 360, 1.0, cv2.FILLED, cv2.LINE_AA)
    light = cv2.GaussianBlur(spots, (0, 0), max(0.5, _length(image, 4)))[..., None]
    return _pixels(image + light * (255.0 - image))


def _vignette(image: Image, level: int, random: np.random.Generator) -> Image:
    """The dark surround of a dermatoscope: black beyond a circle, with a soft edge."""
    side = image.shape[0]
    radius = (0.68, 0.62, 0.56, 0.5, 0.44)[level] * side
    centre = side / 2 + random.uniform(-0.04, 0.04, 2) * side
    along = np.arange(side) + 0.5
    distance = np.hypot(along[:, None] - centre[0], along[None, :] - centre[1])
    return _pixels(image * (0.5 + (radius - distance) / (0.08 * side)).clip(0, 1)[..., None])


def _skin_marking(image: Image, level: int, random: np.random.Generator) -> Image:
    """Strokes of violet ink of a surgical marker, around the lesion."""
    ink, side = np.zeros(image.shape[:2], np.float32), image.shape[0]
    along = np.linspace(0, 1, 24)
    for _ in range((1, 2, 3, 4, 6)[level]):
        angle, sweep = random.uniform(0, 2 * np.pi), random.uniform(0.5, 1.2)
        radius = side * random.uniform(0.36, 0.5)
        angles = angle + sweep * (along - 0.5)
        curve = side / 2 + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        thickness = max(1, round(_length(image, 9)))
        cv2.polylines(ink, [curve.round().astype(np.int32)], False, 1.0, thickness, cv2.LINE_AA)
    cover = 0.85 * cv2.GaussianBlur(ink, (0, 0), max(0.5, _length(image, 1.5)))[..., None]
    return _pixels(image + cover * (np.array([75.0, 45.0, 135.0]) * image.mean() / 160 - image))


CORRUPTIONS: Mapping[str, Callable[[Image, int, np.random.Generator], Image]] = {
    "gaussian noise": _gaussian_noise,
    "shot noise": _shot_noise,
    "defocus blur": _defocus_blur,
    "motion blur": _motion_blur,
    "JPEG compression": _jpeg,
    "pixelation": _pixelation,
    "brightness": _brightness,
    "darkness": _darkness,
    "low contrast": _contrast,
    "white balance": _white_balance,
    "hair": _hair,
    "air bubbles": _air_bubbles,
    "reflection": _reflection,
    "dark surround": _vignette,
    "skin marking": _skin_marking,
}
