"""Splits keep lesions together."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lesion_core.errors import SplitError
from lesion_core.records import ImageRecord
from lesion_core.splits import read_parts, require_disjoint, split_by_lesion, write_parts
from lesion_core.taxonomy import ISIC_2019

CODES = ISIC_2019.trained_codes


def record(number: int, code: str, lesion: str) -> ImageRecord:
    return ImageRecord(isic_id=f"I{number:05d}", path=Path("x.jpg"), diagnosis=code, lesion_id=lesion)


def records_with(images_per_lesion: int, lesions_per_class: int) -> list[ImageRecord]:
    return [
        record(1000 * index + 10 * lesion + image, code, f"{code}{lesion}")
        for index, code in enumerate(CODES)
        for lesion in range(lesions_per_class)
        for image in range(images_per_lesion)
    ]


@settings(max_examples=25)
@given(st.integers(1, 4), st.integers(5, 20), st.integers(0, 1000))
def test_split_keeps_each_lesion_on_one_side(images: int, lesions: int, seed: int) -> None:
    """And loses no image."""
    records = records_with(images, lesions)

    split = split_by_lesion(records, ISIC_2019, validation_fraction=0.2, seed=seed)

    require_disjoint(split.train, split.validation)
    assert sorted(r.isic_id for r in (*split.train, *split.validation)) == sorted(r.isic_id for r in records)
    assert {r.diagnosis for r in split.validation} == set(CODES)


def test_split_depends_on_the_seed_and_not_on_the_order() -> None:
    """So that a run can be repeated."""
    records = records_with(2, 10)

    first = split_by_lesion(records, ISIC_2019, validation_fraction=0.2, seed=1)

    assert split_by_lesion(records[::-1], ISIC_2019, validation_fraction=0.2, seed=1).digest == first.digest
    assert split_by_lesion(records, ISIC_2019, validation_fraction=0.2, seed=2).digest != first.digest


def test_an_overlap_of_lesions_is_an_error() -> None:
    """The score would be too good."""
    one = record(1, "MEL", "L1")

    with pytest.raises(SplitError, match="L1"):
        require_disjoint([one], [attrs.evolve(one, isic_id="other")])


def test_too_few_lesions_of_a_class_are_named() -> None:
    """Eight images of one lesion cannot be on both sides."""
    records = [*records_with(1, 5), *[record(9000 + n, "MEL", "same") for n in range(8)]]
    records = [r for r in records if r.diagnosis != "MEL" or r.lesion_id == "same"]

    with pytest.raises(SplitError, match="MEL has 1"):
        split_by_lesion(records, ISIC_2019, validation_fraction=0.2, seed=0)


def test_parts_are_read_as_they_were_written(tmp_path: Path) -> None:
    """Ids may hold what CSV has to quote."""
    parts = {"train": [record(1, "MEL", "a,b")], "validation": [attrs.evolve(record(2, "NV", "c"), isic_id='x,"y')]}

    write_parts(parts, tmp_path / "split.csv")

    assert read_parts(tmp_path / "split.csv") == {"I00001": "train", 'x,"y': "validation"}


def test_a_fraction_out_of_range_is_refused() -> None:
    """More validation than training is a mistake."""
    with pytest.raises(SplitError, match=r"0\.9"):
        split_by_lesion(records_with(1, 5), ISIC_2019, validation_fraction=0.9, seed=0)
