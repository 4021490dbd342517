"""A split in a file."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import attrs
import pytest

from lesion_core.errors import SplitError
from lesion_core.frozen_split import (
    PARTS_HEADER,
    apply_parts,
    keep_parts,
    parts_of_dataset,
    read_parts,
    seen_in_split,
    write_parts,
)
from lesion_core.records import Dataset, ImageRecord
from lesion_core.splits import split_by_lesion
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


def test_parts_are_read_as_they_were_written(tmp_path: Path) -> None:
    """Ids may hold what CSV has to quote."""
    parts = {"train": [record(1, "MEL", "a,b")], "validation": [attrs.evolve(record(2, "NV", "c"), isic_id='x,"y')]}

    write_parts(parts, tmp_path / "split.csv")

    assert read_parts(tmp_path / "split.csv") == {"I00001": "train", 'x,"y': "validation"}


@pytest.fixture
def frozen(tmp_path: Path) -> Path:
    split = split_by_lesion(records_with(2, 5), ISIC_2019, validation_fraction=0.2, seed=0)
    write_parts(split.parts, tmp_path / "split.csv")
    return tmp_path / "split.csv"


def test_a_frozen_split_comes_back_as_it_was(frozen: Path) -> None:
    """On the same records in any order; its first line holds the digest of the split."""
    split = split_by_lesion(records_with(2, 5), ISIC_2019, validation_fraction=0.2, seed=0)

    parts = apply_parts(frozen, records_with(2, 5)[::-1])

    assert parts == split.parts
    assert frozen.read_text().splitlines()[0] == f"# lesion-split 1 sha256:{split.digest}"


def test_a_frozen_split_is_a_plain_table_after_its_first_line(frozen: Path) -> None:
    """As the documentation says: ``skiprows=1`` in pandas."""
    with frozen.open() as stream:
        next(stream)
        rows = list(csv.DictReader(stream))

    assert list(rows[0]) == ["image", "lesion_id", "patient_id", "diagnosis", "part"]
    assert len(rows) == 80


@pytest.mark.parametrize(
    ("old", "new"), [(",train\n", ",validation\n"), ("MEL0", "MEL9"), (",MEL,", ",NV,"), ("I00000", "I09999")]
)
def test_an_altered_frozen_split_is_refused(frozen: Path, old: str, new: str) -> None:
    """Whatever was changed."""
    frozen.write_text(frozen.read_text().replace(old, new, 1))

    for use in (read_parts, lambda path: apply_parts(path, records_with(2, 5))):
        with pytest.raises(SplitError, match="altered after it was frozen") as caught:
            use(frozen)
        assert caught.value.code == "altered_split"


@pytest.mark.parametrize("content", ["", "image,part\nI1,train\n", "# lesion-split 1 sha256:00\n", "\0\n\0"])
def test_a_file_that_is_no_frozen_split_is_named(tmp_path: Path, content: str) -> None:
    """With the command that makes one."""
    (tmp_path / "x.csv").write_text(content)

    with pytest.raises(SplitError, match="is not a frozen split") as caught:
        read_parts(tmp_path / "x.csv")

    assert caught.value.code == "unreadable_split"


def test_a_missing_frozen_split_is_named(tmp_path: Path) -> None:
    """Not a traceback."""
    with pytest.raises(SplitError, match=r"x\.csv is not a frozen split"):
        read_parts(tmp_path / "x.csv")


def test_a_frozen_overlap_is_refused_when_it_is_read(tmp_path: Path) -> None:
    """Also where the digest fits, because another program made it."""
    rows = [["a", "L1", "", "NV", "train"], ["b", "L1", "", "NV", "validation"]]
    text = "".join(",".join(row) + "\n" for row in rows)
    first = f"# lesion-split 1 sha256:{hashlib.sha256(text.encode()).hexdigest()}\n"
    (tmp_path / "x.csv").write_text(f"{first}{','.join(PARTS_HEADER)}\n{text}")

    with pytest.raises(SplitError, match="1 lesions have images in more than one part, for example L1"):
        read_parts(tmp_path / "x.csv")


def test_images_that_came_or_went_since_are_named(frozen: Path) -> None:
    """And those with another label."""
    today = records_with(2, 5)
    today = [attrs.evolve(today[0], diagnosis="SCC"), *today[2:], record(77777, "NV", "new")]

    with pytest.raises(SplitError) as caught:
        apply_parts(frozen, today)

    assert caught.value.code == "other_data"
    for named in (
        "1 added since (I77777)",
        "1 removed since (I00001)",
        "1 with another diagnosis (I00000)",
    ):
        assert named in caught.value.message


@pytest.mark.parametrize("is_in_split", [True, False])
def test_the_test_part_of_a_data_set_is_one_whether_or_not_the_split_has_it(tmp_path: Path, is_in_split: bool) -> None:
    """Somebody who froze folds of the training images leaves it out."""
    dataset = Dataset(
        name="drawn",
        taxonomy=ISIC_2019,
        records=(record(1, "MEL", "a"), record(2, "NV", "b")),
        test=(record(3, "NV", "c"),),
    )
    train, validation = dataset.records
    parts = {"train": [train], "validation": [validation], **({"test": dataset.test} if is_in_split else {})}
    write_parts(parts, tmp_path / "split.csv")

    found = parts_of_dataset(tmp_path / "split.csv", dataset)

    assert found == {"train": (train,), "validation": (validation,), "test": dataset.test}


def test_lesions_that_were_joined_since_are_found(frozen: Path) -> None:
    """The ids of today count: two lesions may turn out to be one."""
    today = [attrs.evolve(r, lesion_id="one") if r.diagnosis == "MEL" else r for r in records_with(2, 5)]

    with pytest.raises(SplitError, match="for example one"):
        apply_parts(frozen, today)


def test_records_that_a_split_knows_are_found_by_image_lesion_or_patient(tmp_path: Path) -> None:
    """Among those of other data; a blank patient is nobody."""
    known = attrs.evolve(record(1, "MEL", "a"), patient_id="p")
    write_parts({"train": [known], "validation": [record(2, "NV", "b")]}, tmp_path / "split.csv")
    same_image = attrs.evolve(record(1, "MEL", "x"), patient_id="q")
    same_lesion = record(7, "MEL", "b")
    same_patient = attrs.evolve(record(8, "NV", "y"), patient_id="p")
    new = [record(9, "NV", "z"), attrs.evolve(record(10, "NV", "zz"), patient_id="r")]

    seen = seen_in_split(tmp_path / "split.csv", [new[0], same_patient, same_lesion, new[1], same_image])

    assert seen == (same_patient, same_lesion, same_image)


def test_what_a_split_knows_stays_where_it_is(tmp_path: Path) -> None:
    """By image, by lesion and by patient; the others are free."""
    old = {
        "train": [record(1, "NV", "L1"), attrs.evolve(record(2, "NV", "L2"), patient_id="P2")],
        "test": [record(3, "MEL", "L3")],
    }
    write_parts(old, tmp_path / "old.csv")
    new = [
        record(1, "NV", "renamed"),
        attrs.evolve(record(20, "MEL", "L20"), patient_id="P2"),
        record(30, "MEL", "L3"),
        record(4, "NV", "L4"),
    ]

    kept, rest = keep_parts(tmp_path / "old.csv", new)

    assert {part: [r.isic_id for r in records] for part, records in kept.items()} == {
        "train": ["I00001", "I00020"],
        "test": ["I00030"],
    }
    assert [r.isic_id for r in rest] == ["I00004"]


def named(image: str) -> ImageRecord:
    return ImageRecord(isic_id=image, path=Path("x.jpg"), diagnosis="NV", lesion_id=f"image:{image}")


@pytest.mark.parametrize(
    ("frozen_name", "other_name"),
    [
        ("ISIC_0000001", "ISIC_0000001_downsampled"),
        ("ISIC_0000001_downsampled", "ISIC_0000001"),
        ("ISIC_0000001", "Train/nevus/ISIC_0000001.JPG"),
        ("nevus/ISIC_0000001_downsampled.jpg", "ISIC_0000001"),
        ("nevus/mole of A.B.jpg", "Test/melanoma/mole of A.B.png"),
        ("scan.2", "nevus/scan.2.tiff"),
    ],
)
def test_a_photograph_is_known_under_its_other_names(tmp_path: Path, frozen_name: str, other_name: str) -> None:
    """A test image would otherwise come back as a training image of the next data set."""
    write_parts({"train": [named("nevus/other.jpg")], "test": [named(frozen_name)]}, tmp_path / "old.csv")
    today = [named(other_name), named(f"{other_name}_new"), named("ISIC_0000002")]

    kept, rest = keep_parts(tmp_path / "old.csv", today)

    assert kept == {"test": (today[0],)}
    assert rest == tuple(today[1:])
    assert seen_in_split(tmp_path / "old.csv", today) == (today[0],)
    assert seen_in_split(tmp_path / "old.csv", today, parts=("train",)) == ()


def test_a_name_that_numbers_the_images_of_class_folders_tells_nothing(tmp_path: Path) -> None:
    """But each image under its own name does: a data set that has grown keeps its parts."""
    write_parts({"train": [named("nevus/1.jpg")], "test": [named("melanoma/1.jpg")]}, tmp_path / "old.csv")
    same, new = [named("nevus/1.jpg"), named("melanoma/1.jpg")], named("vascular lesion/1.jpg")

    assert keep_parts(tmp_path / "old.csv", [*same, new]) == ({"train": (same[0],), "test": (same[1],)}, (new,))
    assert seen_in_split(tmp_path / "old.csv", [new]) == ()


def test_a_photograph_of_the_archive_that_is_in_two_parts_is_in_neither_alone(tmp_path: Path) -> None:
    """Under two names; a third one has no place, and the two stay where they are."""
    names = ("ISIC_0000001", "ISIC_0000001_downsampled", "nevus/ISIC_0000001.jpg")
    write_parts({"train": [named(names[0])], "test": [named(names[1])]}, tmp_path / "old.csv")

    with pytest.raises(SplitError, match="some in another") as caught:
        keep_parts(tmp_path / "old.csv", [named(names[2])])

    assert caught.value.code == "overlap"
    assert keep_parts(tmp_path / "old.csv", [named(names[0])])[0] == {"train": (named(names[0]),)}
    assert seen_in_split(tmp_path / "old.csv", [named(names[1])], parts=("train",)) == (named(names[1]),)


def test_images_that_were_joined_across_parts_cannot_be_kept(tmp_path: Path) -> None:
    """By a lesion or a patient of today."""
    write_parts({"train": [record(1, "NV", "L1")], "test": [record(2, "NV", "L2")]}, tmp_path / "old.csv")
    joined = [record(1, "NV", "L9"), record(2, "NV", "L9")]

    with pytest.raises(SplitError, match="I00001, I00002") as caught:
        keep_parts(tmp_path / "old.csv", joined)

    assert caught.value.code == "overlap"
