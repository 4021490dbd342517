"""Which images show the same thing? Exact and near duplicates, within a set and across the parts of a split.

A split by lesion rests on the source's lesion ids; where one lesion has two ids, or one picture was entered twice,
only the pixels tell.
"""

# N images · D features · W=4 words of 64 bits

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from enum import StrEnum

import attrs
import numpy as np
from numpy.typing import NDArray

from lesion_core.errors import LesionError
from lesion_core.imaging import decode_image
from lesion_core.records import ImageRecord
from lesion_core.scan import ImageScan

# Measured on ISIC 2019 at 84 px (20,854 images; benchmarks/duplicate_audit.py). Up to 32 of 256 bits there are
# 126 pairs of one lesion and 17 of two lesion ids; looked at one by one, all 17 show one lesion. From 33 to 36: one
# more pair of two ids, which shows two lesions; from 37 to 44: 28 more, of the 24 looked at one shows one lesion.
MAX_HASH_DISTANCE = 32
MAX_PAIRS = 200_000
_BLOCK = 256


class Likeness(StrEnum):
    """How alike two images are; the strongest that holds."""

    SAME_FILE = "same_file"
    SAME_PIXELS = "same_pixels"
    NEAR_HASH = "near_hash"
    NEAR_EMBEDDING = "near_embedding"


@attrs.frozen(kw_only=True)
class DuplicatePair:
    """Two images that show the same, or nearly.

    ``hash_distance`` counts differing bits of 256; ``cosine`` compares the embeddings, ``None`` where there are none.
    """

    likeness: Likeness
    first: ImageRecord
    second: ImageRecord
    first_part: str
    second_part: str
    hash_distance: int
    cosine: float | None = None

    @property
    def is_same_lesion(self) -> bool:
        """Does the source say that it is one lesion?"""
        return self.first.lesion_id == self.second.lesion_id

    @property
    def is_across_parts(self) -> bool:
        """Are the two in different parts? Then a score on one of them is too good."""
        return self.first_part != self.second_part

    @property
    def has_label_conflict(self) -> bool:
        """Do the two have different diagnoses?"""
        return self.first.diagnosis != self.second.diagnosis


def audit_duplicates(
    scan: ImageScan,
    parts: Sequence[str],
    *,
    within_parts: bool = False,
    max_hash_distance: int = MAX_HASH_DISTANCE,
    embeddings: NDArray[np.float32] | None = None,
    min_cosine: float = 1.0,
) -> tuple[DuplicatePair, ...]:
    """Compare every image with every other.

    Args:
        scan: the images.
        parts: part of each image of the scan, in its order.
        within_parts: also pairs whose images are in one part.
        max_hash_distance: pairs whose hashes differ in at most so many of 256 bits are near duplicates.
        embeddings: float32 ``(N, D)`` from any network, in the scan's order; compared by cosine.
        min_cosine: pairs at least so similar are near duplicates. It depends on the network: see
            ``benchmarks/duplicate_audit.py`` for how to choose it.
    Returns:
        Exact pairs first, then by distance.
    Raises:
        LesionError: ``too_many_duplicates``: more than 200,000 pairs.
    """
    order = {part: number for number, part in enumerate(dict.fromkeys(parts))}
    part = np.array([order[name] for name in parts], dtype=np.int64)
    if len(part) != len(scan.records):
        raise ValueError(f"{len(part)} parts for {len(scan.records)} images")

    def wanted(rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.asarray((columns > rows) & (within_parts | (part[rows] != part[columns])))

    words = [np.ascontiguousarray(word) for word in scan.hashes.T]

    def near_hash(rows: slice) -> NDArray[np.bool_]:
        return np.asarray(_hash_distances(words, rows) <= max_hash_distance)

    pairs = set(_pairs(len(part), near_hash, wanted))
    unit: NDArray[np.float32] | None = None
    if embeddings is not None:
        unit = _normalised(embeddings, len(part))

        def near_embedding(rows: slice) -> NDArray[np.bool_]:
            return np.asarray(unit[rows] @ unit[rows.start :].T >= min_cosine)

        pairs.update(_pairs(len(part), near_embedding, wanted))
    pixels: dict[int, str] = {}
    found = []
    for one, other in sorted(pairs):
        distance = int(np.bitwise_count(scan.hashes[one] ^ scan.hashes[other]).sum())
        found.append(
            DuplicatePair(
                likeness=_likeness(scan, one, other, distance <= max_hash_distance, pixels),
                first=scan.records[one],
                second=scan.records[other],
                first_part=parts[one],
                second_part=parts[other],
                hash_distance=distance,
                cosine=None if unit is None else round(float(unit[one] @ unit[other]), 4),
            )
        )
    strength = list(Likeness)
    return tuple(sorted(found, key=lambda pair: (strength.index(pair.likeness), pair.hash_distance)))


def _hash_distances(words: Sequence[NDArray[np.uint64]], rows: slice) -> NDArray[np.uint16]:
    """Differing bits between some rows and all rows from the first of them on."""
    distances = np.zeros((rows.stop - rows.start, len(words[0]) - rows.start), dtype=np.uint16)
    for word in words:  # word by word: a sum along an axis of four takes three times as long
        distances += np.bitwise_count(word[rows, None] ^ word[None, rows.start :])
    return distances


def _pairs(
    images: int,
    near: Callable[[slice], NDArray[np.bool_]],
    wanted: Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.bool_]],
) -> list[tuple[int, int]]:
    """Pairs of rows, block by block: memory grows with N, not with N²."""
    pairs: list[tuple[int, int]] = []
    for start in range(0, images, _BLOCK):
        rows, columns = np.nonzero(near(slice(start, min(start + _BLOCK, images))))
        rows, columns = rows + start, columns + start
        chosen = wanted(rows, columns)
        pairs += zip(rows[chosen].tolist(), columns[chosen].tolist(), strict=True)
        if len(pairs) > MAX_PAIRS:
            raise LesionError(
                f"More than {MAX_PAIRS:,} pairs of {images:,} images are alike. Ask for closer ones (a smaller "
                "distance of hashes, a larger cosine), or remove blank images.",
                code="too_many_duplicates",
            )
    return pairs


def _normalised(embeddings: NDArray[np.float32], images: int) -> NDArray[np.float32]:
    if embeddings.ndim != 2 or len(embeddings) != images:
        raise ValueError(f"embeddings have shape {embeddings.shape}, not ({images}, D)")
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return np.asarray(embeddings / np.maximum(lengths, np.finfo(np.float32).tiny), dtype=np.float32)


def _likeness(scan: ImageScan, one: int, other: int, is_near_hash: bool, pixels: dict[int, str]) -> Likeness:
    if scan.contents[one] == scan.contents[other]:
        return Likeness.SAME_FILE
    if not is_near_hash:
        return Likeness.NEAR_EMBEDDING
    for row in (one, other):  # only images that look alike are decoded in full, each once
        if row not in pixels:
            image = decode_image(scan.records[row].path.read_bytes())
            pixels[row] = f"{image.shape} {hashlib.sha256(image.tobytes()).hexdigest()}"
    return Likeness.SAME_PIXELS if pixels[one] == pixels[other] else Likeness.NEAR_HASH
