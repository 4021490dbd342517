"""Synthetic dermoscopy-like images, for demonstrations and tests where no real data is at hand.

They are drawn, not photographed: a score on them says that the software works, nothing about skin. Every image bears
the word SYNTHETIC and every id starts with it.
"""

# N images · S side in pixels

from __future__ import annotations

import csv
import io
from pathlib import Path

import attrs
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from lesion_core.datasets.isic import DRAWN_PREFIX, GROUND_TRUTH, IMAGES, METADATA
from lesion_core.errors import DatasetError
from lesion_core.taxonomy import ISIC_2019


@attrs.frozen(kw_only=True)
class _Look:
    """How a class is drawn: colour of the lesion, of its inner structure, and how it is shaped."""

    colour: tuple[int, int, int]
    inner: tuple[int, int, int]
    irregularity: float
    size: float
    dots: int
    ring: bool


_LOOKS = {
    "MEL": _Look(colour=(60, 35, 35), inner=(70, 80, 120), irregularity=0.35, size=0.36, dots=14, ring=False),
    "NV": _Look(colour=(125, 80, 55), inner=(100, 60, 40), irregularity=0.06, size=0.28, dots=8, ring=False),
    "BCC": _Look(colour=(205, 130, 125), inner=(90, 90, 120), irregularity=0.15, size=0.30, dots=10, ring=False),
    "AK": _Look(colour=(215, 140, 120), inner=(235, 220, 190), irregularity=0.30, size=0.34, dots=30, ring=False),
    "BKL": _Look(colour=(160, 120, 80), inner=(225, 205, 150), irregularity=0.18, size=0.33, dots=24, ring=False),
    "DF": _Look(colour=(170, 115, 95), inner=(240, 225, 215), irregularity=0.08, size=0.24, dots=0, ring=True),
    "VASC": _Look(colour=(170, 25, 45), inner=(110, 10, 50), irregularity=0.10, size=0.26, dots=6, ring=False),
    "SCC": _Look(colour=(200, 95, 85), inner=(245, 235, 215), irregularity=0.25, size=0.32, dots=4, ring=True),
}


def draw_lesion(code: str, *, seed: int, side_px: int = 150) -> NDArray[np.uint8]:
    """Draw one image of a trained ISIC 2019 class: uint8 ``(S, S, 3)``; equal seeds give equal images."""
    random = np.random.default_rng([seed, ISIC_2019.index(code)])
    look = _LOOKS[code]
    skin = np.array([224, 178, 155]) + random.normal(0, 14) + random.normal(0, 5, 3)
    image = Image.fromarray((skin + random.normal(0, 5, (side_px, side_px, 3))).clip(0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    centre = side_px * (0.5 + random.uniform(-0.06, 0.06, 2))
    outline = _outline(random, centre, side_px * look.size * random.uniform(0.85, 1.15), look.irregularity)
    tint = tuple(int(v) for v in (np.array(look.colour) + random.normal(0, 25) + random.normal(0, 9, 3)).clip(0, 255))
    pen.polygon(outline, fill=tint)
    for _ in range(look.dots):
        spot = centre + random.normal(0, side_px * look.size * 0.35, 2)
        radius = side_px * random.uniform(0.01, 0.035)
        pen.ellipse([*(spot - radius), *(spot + radius)], fill=look.inner)
    if look.ring:
        radius = side_px * look.size * random.uniform(0.3, 0.45)
        pen.ellipse([*(centre - radius), *(centre + radius)], fill=look.inner)
    for _ in range(int(random.integers(0, 5))):  # hairs
        start, end = random.uniform(0, side_px, 2), random.uniform(0, side_px, 2)
        pen.line([*start, *end], fill=(60, 45, 40), width=1)
    image = image.filter(ImageFilter.GaussianBlur(side_px * random.uniform(0.004, 0.012)))
    ImageDraw.Draw(image).text((2, side_px - 12), "SYNTHETIC", fill=(120, 90, 80))
    return np.asarray(image)


def _outline(
    random: np.random.Generator, centre: NDArray[np.float64], radius: float, irregularity: float
) -> list[tuple[float, float]]:
    angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    wobble = np.ones_like(angles)
    for harmonic in range(2, 7):
        wobble += irregularity / harmonic * random.normal() * np.cos(harmonic * angles + random.uniform(0, 6.3))
    radii = radius * wobble.clip(0.4, 1.6)
    return [
        (float(centre[0] + r * np.cos(a)), float(centre[1] + r * np.sin(a))) for r, a in zip(radii, angles, strict=True)
    ]


def write_synthetic_dataset(folder: Path, *, images_per_class: int = 30, side_px: int = 150, seed: int = 0) -> Path:
    """Write a data set in the ISIC 2019 layout, two images a lesion; returns ``folder``, readable by ``read_dataset``.

    Data card:
        Content: drawn images of the 8 trained classes; ids ``SYNTHETIC_<code>_<number>``.
        Licence: Apache-2.0, as the generator. ``data_source.DRAWN`` says so to a model card.

    Raises:
        DatasetError: the folder holds a data set that is not drawn.
    """
    _require_own(folder / GROUND_TRUTH)
    images = folder / IMAGES
    images.mkdir(parents=True, exist_ok=True)
    codes = ISIC_2019.trained_codes
    truth_rows, metadata_rows = [], []
    for code in codes:
        for number in range(images_per_class):
            name = f"{DRAWN_PREFIX}{code}_{number:04d}"
            pixels = draw_lesion(code, seed=seed * 1_000_003 + number, side_px=side_px)
            _write_jpeg(images / f"{name}.jpg", pixels)
            truth_rows.append([name, *(float(code == other) for other in codes), 0.0])
            metadata_rows.append([name, 30 + number % 50, "", f"{DRAWN_PREFIX}{code}_L{number // 2:04d}", ""])
    _write_csv(folder / GROUND_TRUTH, ["image", *codes, "UNK"], truth_rows)
    _write_csv(folder / METADATA, ["image", "age_approx", "anatom_site_general", "lesion_id", "sex"], metadata_rows)
    return folder


def _require_own(truth: Path) -> None:
    if truth.exists():
        rows = truth.read_text(encoding="utf-8", errors="replace").splitlines()[1:]
        if not all(row.startswith(DRAWN_PREFIX) for row in rows if row):
            raise DatasetError(
                truth.parent, (f"{truth.name} is of other images, and would be lost: choose another folder",)
            )


def _write_jpeg(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Pillow itself, given a file, takes a part that a full disk has taken for the whole."""
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "JPEG", quality=92)
    path.write_bytes(encoded.getvalue())


def _write_csv(path: Path, header: list[str], rows: list[list[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        writer.writerows(rows)
