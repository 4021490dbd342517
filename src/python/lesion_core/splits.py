"""Lesion-grouped stratified splits: all images of one lesion stay on one side."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs
from sklearn.model_selection import StratifiedGroupKFold

from lesion_core.errors import SplitError
from lesion_core.records import ImageRecord, labels_of, lesions_of
from lesion_core.taxonomy import Taxonomy

PARTS_HEADER = ("image", "lesion_id", "diagnosis", "part")


@attrs.frozen(kw_only=True)
class Split:
    """Two parts that share no lesion. ``digest`` identifies which image is where."""

    train: tuple[ImageRecord, ...]
    validation: tuple[ImageRecord, ...]
    digest: str


def split_by_lesion(
    records: Sequence[ImageRecord], taxonomy: Taxonomy, *, validation_fraction: float, seed: int
) -> Split:
    """Split into training and validation, with about the same class shares on both sides.

    Args:
        records: the order does not matter.
        taxonomy: whose codes the records carry.
        validation_fraction: in (0, 0.5]; rounded to one part in a whole number.
        seed: chooses among equally good splits.
    Raises:
        SplitError: a trained class has too few lesions to be on both sides.
    """
    if not 0 < validation_fraction <= 0.5:
        raise SplitError(f"validation_fraction must lie in (0, 0.5], got {validation_fraction!r}.")
    parts = max(2, round(1 / validation_fraction))
    ordered = sorted(records, key=lambda record: record.isic_id)
    labels, lesions = labels_of(ordered, taxonomy), lesions_of(ordered)
    _require_lesions(ordered, parts)
    folds = StratifiedGroupKFold(n_splits=parts, shuffle=True, random_state=seed)
    train_rows, validation_rows = next(iter(folds.split(labels, labels, groups=lesions)))
    split = Split(
        train=tuple(ordered[row] for row in train_rows),
        validation=tuple(ordered[row] for row in validation_rows),
        digest=_digest([ordered[row] for row in train_rows], [ordered[row] for row in validation_rows]),
    )
    require_disjoint(split.train, split.validation)
    return split


def require_disjoint(train: Sequence[ImageRecord], held_out: Sequence[ImageRecord]) -> None:
    """Check that no lesion has images on both sides.

    Raises:
        SplitError: names some of the lesions.
    """
    shared = sorted({record.lesion_id for record in train} & {record.lesion_id for record in held_out})
    if shared:
        raise SplitError(
            f"{len(shared)} lesions have images in both parts, for example {', '.join(shared[:3])}. "
            "A score on such a split would be too good: split by lesion."
        )


def write_parts(parts: Mapping[str, Sequence[ImageRecord]], path: Path) -> None:
    """Write which image is in which part, as CSV with the columns ``image, lesion_id, diagnosis, part``."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream, lineterminator="\n")
        rows.writerow(PARTS_HEADER)
        for part, records in parts.items():
            rows.writerows((record.isic_id, record.lesion_id, record.diagnosis, part) for record in records)


def read_parts(path: Path) -> dict[str, str]:
    """Read what ``write_parts`` wrote: the part of each image, by its id."""
    with path.open(newline="", encoding="utf-8") as stream:
        return {row["image"]: row["part"] for row in csv.DictReader(stream)}


def _require_lesions(records: Sequence[ImageRecord], parts: int) -> None:
    lesions: dict[str, set[str]] = {}
    for record in records:
        lesions.setdefault(record.diagnosis, set()).add(record.lesion_id)
    rare = {code: len(ids) for code, ids in lesions.items() if len(ids) < 2}
    if rare or not lesions:
        named = ", ".join(f"{code} has {count}" for code, count in sorted(rare.items())) or "there is no image"
        raise SplitError(f"Each class needs images of at least 2 lesions to be split: {named}.")
    if min(len(ids) for ids in lesions.values()) < parts:
        fewest = min(lesions, key=lambda code: len(lesions[code]))
        raise SplitError(
            f"Class {fewest} has images of {len(lesions[fewest])} lesions; a validation part of 1/{parts} needs at "
            f"least {parts}. Add images, or choose a larger validation fraction."
        )


def _digest(train: Sequence[ImageRecord], validation: Sequence[ImageRecord]) -> str:
    lines = [
        f"{part}\t{record.isic_id}" for part, rows in (("train", train), ("validation", validation)) for record in rows
    ]
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()
