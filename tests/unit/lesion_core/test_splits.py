"""Splits keep lesions together."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import attrs
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from lesion_core.errors import SplitError
from lesion_core.frozen_split import write_parts
from lesion_core.records import ImageRecord
from lesion_core.splits import groups_of, k_folds, parts_digest, require_disjoint, split_by_lesion, units_of
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


@pytest.mark.parametrize("parts", [("train", "validation"), ("fold-1", "fold-2", "fold-3")])
def test_an_overlap_is_found_between_any_two_parts(parts: tuple[str, ...], tmp_path: Path) -> None:
    """Of patients as of lesions; such a split cannot be frozen."""
    members = {part: [record(n, "NV", f"L{n}")] for n, part in enumerate(parts)}
    members[parts[0]] = [attrs.evolve(members[parts[0]][0], patient_id="P7")]
    members[parts[-1]] = [attrs.evolve(members[parts[-1]][0], patient_id="P7")]

    with pytest.raises(SplitError, match="1 patients have images in more than one part, for example P7") as caught:
        write_parts(members, tmp_path / "split.csv")

    assert caught.value.code == "overlap"
    assert not (tmp_path / "split.csv").exists()


def test_images_without_a_patient_do_not_belong_together() -> None:
    """Not known is not the same one."""
    require_disjoint([record(1, "NV", "a")], [record(2, "NV", "b")])

    assert len(set(groups_of([record(1, "NV", "a"), record(2, "NV", "b")]))) == 2


def test_groups_are_connected_through_lesions_and_patients() -> None:
    """a - P1 - b - P2 - c is one group, d is another, and a lesion is never mistaken for a patient of that name."""
    pairs = [("a", "P1"), ("b", "P1"), ("b", "P2"), ("c", "P2"), ("d", None), ("P1", None)]
    images = [attrs.evolve(record(n, "NV", lesion), patient_id=patient) for n, (lesion, patient) in enumerate(pairs)]

    groups = groups_of(images).tolist()

    assert groups[0] == groups[1] == groups[2] == groups[3]
    assert len({groups[0], groups[4], groups[5]}) == 3
    assert units_of(images).tolist() == ["a", "a", "a", "a", "d", "P1"]
    assert units_of([record(1, "NV", "a"), record(2, "NV", "b")]).tolist() == ["a", "b"]


def test_many_images_of_one_patient_and_lesion_stay_connected() -> None:
    """300 times the same link is still a link."""
    images = [attrs.evolve(record(n, "NV", f"L{n % 2}"), patient_id="P") for n in range(600)]

    assert set(groups_of(images)) == {0}


images_of_patients = st.lists(
    st.builds(
        lambda number, code, lesion, patient: attrs.evolve(
            record(number, code, f"{code}{lesion}"), patient_id=patient and f"P{patient}"
        ),
        st.integers(0, 99999),
        st.sampled_from(("MEL", "NV", "BCC")),
        st.integers(0, 40),
        st.none() | st.integers(1, 60),
    ),
    min_size=60,
    max_size=150,
    unique_by=lambda one: one.isic_id,
)


@settings(max_examples=25)
@given(images_of_patients, st.integers(2, 4), st.integers(0, 100))
def test_folds_share_no_lesion_and_no_patient_and_cover_all(images: list[ImageRecord], folds: int, seed: int) -> None:
    """Each image is validated exactly once."""
    try:
        splits = k_folds(images, ISIC_2019, folds=folds, seed=seed)
    except SplitError:  # patients tie the lesions of a class into too few groups
        reject()

    for split in splits:
        train, held_out = split.train, split.validation
        assert not {r.lesion_id for r in train} & {r.lesion_id for r in held_out}
        assert not {r.patient_id for r in train if r.patient_id} & {r.patient_id for r in held_out if r.patient_id}
        assert len(train) + len(held_out) == len(images)
    validated = [r.isic_id for split in splits for r in split.validation]
    assert sorted(validated) == sorted(r.isic_id for r in images)


def test_folds_have_about_equal_shares_of_each_class() -> None:
    """20 lesions of each class in 4 folds: five each."""
    splits = k_folds(records_with(1, 20), ISIC_2019, folds=4, seed=0)

    for split in splits:
        counts = Counter(r.diagnosis for r in split.validation)
        assert set(counts.values()) == {5}


def test_fewer_lesions_than_folds_are_named() -> None:
    """Some fold would lack the class."""
    with pytest.raises(SplitError, match="has images of 3 lesions"):
        k_folds(records_with(2, 3), ISIC_2019, folds=5, seed=0)


def test_lesions_that_are_missing_beside_a_test_part_are_counted_without_it() -> None:
    """Six of each class: three are for testing, and of the other three one in five cannot be held out."""
    with pytest.raises(SplitError, match=r"has images of 3 lesions.*Those of the test part.*are not counted"):
        split_by_lesion(records_with(1, 6), ISIC_2019, validation_fraction=0.1, test_fraction=0.5, seed=0)


def test_too_few_lesions_of_a_class_are_named() -> None:
    """Eight images of one lesion cannot be on both sides."""
    records = [*records_with(1, 5), *[record(9000 + n, "MEL", "same") for n in range(8)]]
    records = [r for r in records if r.diagnosis != "MEL" or r.lesion_id == "same"]

    with pytest.raises(SplitError, match="MEL has 1"):
        split_by_lesion(records, ISIC_2019, validation_fraction=0.2, seed=0)


@given(st.permutations(records_with(1, 3)))
def test_the_digest_of_a_split_does_not_depend_on_order(shuffled: list[ImageRecord]) -> None:
    """But on who is where."""
    parts = {"a": shuffled[:12], "b": shuffled[12:]}
    moved = {"a": shuffled[:11], "b": shuffled[11:]}

    assert parts_digest({"b": parts["b"][::-1], "a": parts["a"][::-1]}) == parts_digest(parts)
    assert parts_digest(moved) != parts_digest(parts)


def test_a_fraction_out_of_range_is_refused() -> None:
    """More validation than training is a mistake."""
    with pytest.raises(SplitError, match=r"0\.9"):
        split_by_lesion(records_with(1, 5), ISIC_2019, validation_fraction=0.9, seed=0)
