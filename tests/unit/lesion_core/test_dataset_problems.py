"""Every kind of problem is found, with file and row, and all of them at once."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lesion_core.datasets import ham10000, isic, pad_ufes_20, read_dataset, read_layout
from lesion_core.datasets.csv_file import read_table
from lesion_core.errors import DatasetError
from support import layouts
from support.layouts import FakeImage, fake_images

IMAGES = [FakeImage(name=f"ISIC_{n}", diagnosis="NV", lesion=f"HAM_{n}", age=40, sex="male") for n in range(3)]
HAM = ham10000.METADATA[0]


@pytest.fixture
def ham(tmp_path: Path) -> Path:
    layouts.write_ham10000(tmp_path, IMAGES)
    return tmp_path


def change(path: Path, old: str, new: str, *, row: int) -> None:
    """Change a row of a table; the header is row 1."""
    lines = path.read_text().splitlines()
    assert old in lines[row - 1]
    lines[row - 1] = lines[row - 1].replace(old, new)
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (",nv,", ",nvv,", f"{HAM} row 3: No diagnosis named 'nvv'."),
        (",nv,", ",melanomma,", "Did you mean 'melanoma'"),
        (",nv,", ",unknown,", f"{HAM} row 3: 'ISIC_1' is labelled 'unknown', which cannot be trained; remove it"),
        (",nv,", ",,", f"{HAM} row 3: 'ISIC_1' has 0 diagnoses, needs exactly one"),
        ("40.0", "121", f"{HAM} row 3: age of 'ISIC_1' is '121', not an age in years (0 to 120)"),
        ("40.0", "-1", f"{HAM} row 3: age of 'ISIC_1' is '-1', not an age in years (0 to 120)"),
        ("40.0", "inf", f"{HAM} row 3: age of 'ISIC_1' is 'inf', not an age in years (0 to 120)"),
        ("40.0", "old", f"{HAM} row 3: age of 'ISIC_1' is 'old', not an age in years (0 to 120)"),
        (
            "male",
            "mael",
            f"{HAM} row 3: sex of 'ISIC_1' is 'mael'. Did you mean 'male'? Possible: female, male, or blank",
        ),
        ("trunk", "scapl", f"{HAM} row 3: body site of 'ISIC_1' is 'scapl'. Did you mean 'scalp'?"),
        ("ISIC_1", "ISIC_0", f"{HAM} row 3: 'ISIC_0' stands twice, first in {HAM} row 2"),
        ("ISIC_1", "ISIC_9", f"{HAM} row 3: ISIC_9.jpg is missing"),
        ("ISIC_1", "../ISIC_0", f"{HAM} row 3: ../ISIC_0.jpg is missing"),
        ("ISIC_1", " ", f"{HAM} row 3: the id of the image is blank"),
        (",rosendahl", "", f"{HAM} row 3: has 7 cells, the header 8"),
    ],
)
def test_a_bad_row_is_named_with_what_is_wrong(ham: Path, old: str, new: str, problem: str) -> None:
    """And, where there is one, with what was probably meant."""
    change(ham / HAM, old, new, row=3)

    problems = read_layout(ham).problems

    assert any(problem in line for line in problems), problems


def test_the_good_rows_are_read_beside_the_bad_one(ham: Path) -> None:
    """So that their images can be checked too."""
    change(ham / HAM, ",nv,", ",nvv,", row=3)

    assert [record.isic_id for record in read_layout(ham).dataset.records] == ["ISIC_0", "ISIC_2"]
    with pytest.raises(DatasetError, match="row 3"):
        read_dataset(ham)


def test_one_row_may_have_several_problems(ham: Path) -> None:
    """All of them are listed."""
    for old, new in ((",nv,", ",x,"), ("40.0", "400"), ("ISIC_1", "ISIC_9")):
        change(ham / HAM, old, new, row=3)

    assert len(read_layout(ham).problems) == 3


def test_two_labels_are_named(tmp_path: Path) -> None:
    """In a one-hot table two columns may be marked."""
    layouts.write_isic_2019(tmp_path, IMAGES)
    change(tmp_path / isic.GROUND_TRUTH, "ISIC_1,0.0", "ISIC_1,1.0", row=3)

    (problem,) = read_layout(tmp_path).problems

    assert problem == f"{isic.GROUND_TRUTH} row 3: 'ISIC_1' has 2 diagnoses (MEL, NV), needs exactly one"


def test_a_mark_that_is_no_number_is_named(tmp_path: Path) -> None:
    """With its column."""
    layouts.write_isic_2019(tmp_path, IMAGES)
    change(tmp_path / isic.GROUND_TRUTH, "ISIC_1,0.0", "ISIC_1,yes", row=3)

    assert f"{isic.GROUND_TRUTH} row 3: column MEL of 'ISIC_1' is 'yes', not 0 or 1" in read_layout(tmp_path).problems


def test_what_metadata_says_is_reported_where_it_stands(tmp_path: Path) -> None:
    """Not at the row of the other table."""
    layouts.write_isic_2019(tmp_path, IMAGES)
    change(tmp_path / isic.METADATA, "40.0", "400", row=4)
    with (tmp_path / isic.METADATA).open("a") as stream:
        stream.write("ISIC_0,50,,,male\n")

    assert read_layout(tmp_path).problems == (
        f"{isic.METADATA} row 5: 'ISIC_0' stands twice, first in {isic.METADATA} row 2",
        f"{isic.METADATA} row 4: age of 'ISIC_2' is '400', not an age in years (0 to 120)",
    )


def test_a_skin_type_out_of_range_is_named(tmp_path: Path) -> None:
    """Fitzpatrick counts from 1 to 6."""
    image = FakeImage(name="P1", diagnosis="NV", patient="PAT_1", fitzpatrick=6)
    layouts.write_pad_ufes_20(tmp_path, [image])
    change(tmp_path / pad_ufes_20.METADATA, "6.0", "7.0", row=2)

    (problem,) = read_layout(tmp_path).problems

    assert problem == "metadata.csv row 2: skin type of 'P1' is '7.0', not a Fitzpatrick type (1 to 6)"


def test_two_images_of_one_name_are_a_problem(ham: Path) -> None:
    """Which of them the table means cannot be known."""
    layouts.write_pictures(ham / ham10000.IMAGES[1], ["ISIC_0.png"])

    (problem,) = read_layout(ham).problems

    assert "ISIC_0.png: another image has this name:" in problem


def test_missing_columns_are_named(ham: Path) -> None:
    """Once, not for each row."""
    change(ham / HAM, "dx,", "diagnosis,", row=1)

    assert [line.split(";")[0] for line in read_layout(ham).problems] == [f"{HAM}: columns missing: dx"]


@pytest.mark.parametrize(
    ("write", "images", "table"),
    [
        (layouts.write_isic_2019, isic.IMAGES, isic.GROUND_TRUTH),
        (layouts.write_isic_2018, isic.IMAGES_2018, isic.GROUND_TRUTH_2018),
    ],
)
def test_without_the_images_the_tables_are_checked_all_the_same(
    tmp_path: Path, write: Callable[..., object], images: str, table: str
) -> None:
    """Who unpacks the images next should not find the next problem only then."""
    write(tmp_path, IMAGES)
    (tmp_path / images).rename(tmp_path / "elsewhere")
    (truth,) = tmp_path.rglob(table)
    change(truth, "ISIC_1,0.0", "ISIC_1,1.0", row=3)

    missing, labels = read_layout(tmp_path).problems

    assert missing.startswith(f"{images}/ is missing")
    assert labels == f"{table} row 3: 'ISIC_1' has 2 diagnoses (MEL, NV), needs exactly one"


def test_metadata_without_lesions_is_a_problem(tmp_path: Path) -> None:
    """Each image would become a lesion of its own, and the images of one be parted; no note calls the table missing."""
    layouts.write_isic_2019(tmp_path, IMAGES)
    change(tmp_path / isic.METADATA, "lesion_id", "lesion", row=1)

    said = [*(found := read_layout(tmp_path)).problems, *found.dataset.notes]

    assert [one.split(";")[0] for one in said] == [f"{isic.METADATA}: columns missing: lesion_id"]


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00nonsense", b'lesion_id,image_id,dx,age,sex,localization\n"x'])
def test_a_table_that_cannot_be_read_is_one_problem(ham: Path, content: bytes) -> None:
    """Empty, not text, or not CSV."""
    (ham / HAM).write_bytes(content)

    (problem,) = read_layout(ham).problems

    assert problem.startswith(HAM)


@pytest.mark.parametrize(
    ("write", "images"),
    [(layouts.write_isic_2019, isic.IMAGES), (layouts.write_isic_2018, isic.IMAGES_2018)],
)
def test_a_missing_folder_of_images_is_one_problem(tmp_path: Path, write: Callable[..., object], images: str) -> None:
    """Not one for each of 25,000 images."""
    write(tmp_path, IMAGES)
    (tmp_path / images).rename(tmp_path / "elsewhere")

    (problem,) = read_layout(tmp_path).problems

    assert problem.startswith(f"{images}/ is missing")


def test_a_table_of_a_european_spreadsheet_is_named(ham: Path) -> None:
    """Its columns are all there, and none is found."""
    (ham / HAM).write_text((ham / HAM).read_text().replace(",", ";"))
    problems: list[str] = []

    assert read_table(ham / HAM, problems, columns=("image_id",)) == []
    assert problems == [f"{HAM}: its columns are parted by semicolons; save it with commas"]


def test_a_table_without_rows_is_a_problem(ham: Path) -> None:
    """An empty data set is no data set."""
    (ham / HAM).write_text((ham / HAM).read_text().splitlines()[0] + "\n")

    assert read_layout(ham).problems == ("ham10000: there is no image in it",)


def test_an_unknown_class_folder_is_named_once(tmp_path: Path) -> None:
    """Not for each of its images."""
    layouts.write_pictures(tmp_path / "melanomma", [f"{n}.jpg" for n in range(5)])
    layouts.write_pictures(tmp_path / "nevus", ["a.jpg"])

    (problem,) = read_layout(tmp_path).problems

    assert "Did you mean 'melanoma'" in problem


def test_images_of_bad_rows_are_kept_for_whoever_looks_at_files(ham: Path) -> None:
    """With what the row says rightly; rows without a file are not."""
    change(ham / HAM, "40.0", "400", row=2)
    change(ham / HAM, "ISIC_1", "ISIC_9", row=3)

    reading = read_layout(ham)

    assert [(record.isic_id, record.lesion_id, record.age_approx) for record in reading.rejected] == [
        ("ISIC_0", "HAM_0", None)
    ]
    assert [record.isic_id for record in reading.dataset.records] == ["ISIC_2"]


@pytest.mark.parametrize(
    ("place", "name"), [("nevus/deeper", "a.jpg"), ("nevus", "a.HEIC"), ("melanoma", "a.heic"), ("melanoma", "a.dng")]
)
def test_images_that_a_class_folder_hides_are_a_problem(tmp_path: Path, place: str, name: str) -> None:
    """In folders of their own, or of a kind that is not read: a class would be smaller than its owner thinks."""
    layouts.write_pictures(tmp_path / "Train/nevus", ["b.jpg"])
    layouts.write_pictures(tmp_path / "Train" / place, [name])

    (problem,) = read_layout(tmp_path).problems

    assert problem.startswith(f"{tmp_path / 'Train' / place.split('/')[0]}: 1 images are not read: ")
    assert name in problem


def test_images_in_an_unknown_class_folder_are_kept_too(tmp_path: Path) -> None:
    """Once the folder has its right name, they have to be readable."""
    layouts.write_pictures(tmp_path / "melanomma", ["a.jpg"])
    layouts.write_pictures(tmp_path / "nevus", ["a.jpg"])

    assert [record.path for record in read_layout(tmp_path).rejected] == [tmp_path / "melanomma" / "a.jpg"]


def test_what_is_in_the_folder_and_not_in_the_data_set_is_noted(tmp_path: Path) -> None:
    """Images outside of class folders, folders of another part, class folders without an image; hidden ones are not."""
    for place, names in {
        "Train/nevus": ["a.jpg"],
        "Train": ["loose.png"],
        "Val/nevus": ["a.jpg", "b.heic"],
        "Train/melanoma": ["notes.txt"],
        "Train/melanomma": [],
        ".hidden/nevus": ["a.jpg"],
        "docs": ["readme.txt"],
    }.items():
        layouts.write_pictures(tmp_path / place, names)

    reading = read_layout(tmp_path)

    assert reading.problems == ()
    assert reading.dataset.notes == (
        f"1 images in {tmp_path / 'Train'} lie in no class folder, so they are not used: loose.png",
        f"{tmp_path / 'Train/melanoma'} holds no image",
        f"{tmp_path / 'Train/melanomma'} holds no image",
        f"{tmp_path / 'Val'} is neither Train nor Test, so its 2 images are not used",
    )


def test_a_test_folder_is_read_beside_class_folders(tmp_path: Path) -> None:
    """Without a folder named Train."""
    layouts.write_pictures(tmp_path / "nevus", ["a.jpg"])
    layouts.write_pictures(tmp_path / "Test/nevus", ["b.jpg"])

    reading = read_layout(tmp_path)

    assert (reading.problems, reading.dataset.notes) == ((), ())
    assert [record.isic_id for record in reading.dataset.test] == ["Test/nevus/b.jpg"]


@pytest.mark.parametrize("layout", ["isic-2019", "isic-2018", "ham10000", "pad-ufes-20", "isic-archive"])
def test_images_that_no_table_lists_are_noted(tmp_path: Path, layout: str) -> None:
    """In every layout that has a table."""
    write, _ = layouts.LAYOUTS[layout]
    (record, *_) = write(tmp_path, IMAGES)
    layouts.write_pictures(record.path.parent, ["stray.jpg"])

    reading = read_layout(tmp_path)

    (note,) = reading.dataset.notes
    assert reading.problems == ()
    assert note.startswith("1 images are not listed in ")
    assert note.endswith(", so they are not used: stray")


@pytest.mark.parametrize(
    ("write", "table"),
    [(layouts.write_isic_2019, isic.METADATA), (layouts.write_isic_2018, isic.GROUPINGS_2018)],
)
def test_images_without_lesions_and_lesions_without_images_are_noted(
    tmp_path: Path, write: Callable[..., object], table: str
) -> None:
    """Both mean that two tables are not of one download."""
    write(tmp_path, IMAGES)
    change(tmp_path / table, "ISIC_1", "ISIC_9", row=3)

    assert read_layout(tmp_path).dataset.notes == (
        f"1 images have no row in {table}, so each counts as a lesion of its own: ISIC_1",
        f"1 rows of {table} are about images that the ground truth does not list: ISIC_9",
    )
    (tmp_path / table).unlink()
    (note,) = read_layout(tmp_path).dataset.notes
    assert note.startswith(f"{table} is missing or empty: each image counts as a lesion of its own")


def test_metadata_without_age_is_noted(tmp_path: Path) -> None:
    """A column may have another name than was thought."""
    layouts.write_isic_2019(tmp_path, IMAGES)
    change(tmp_path / isic.METADATA, "age_approx", "age", row=1)

    assert read_layout(tmp_path).dataset.notes == (f"{isic.METADATA} has no column age_approx",)


def test_hundreds_of_problems_are_all_kept(tmp_path: Path) -> None:
    """The message shows the first 20 and says how many there are."""
    images = [FakeImage(name=f"ISIC_{n:04d}", diagnosis="NV") for n in range(300)]
    layouts.write_ham10000(tmp_path, images[:1])
    layouts.write_table(
        tmp_path / HAM,
        [{"lesion_id": "", "image_id": i.name, "dx": "nvv", "age": "", "sex": "", "localization": ""} for i in images],
    )

    with pytest.raises(DatasetError) as caught:
        read_dataset(tmp_path)

    assert len(caught.value.problems) == 300 + 299
    assert "599 problems" in str(caught.value)
    assert "… and 579 more" in str(caught.value)


def cut(path: Path, row: int) -> None:
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[: row - 1], lines[row - 1][: len(lines[row - 1]) // 2], *lines[row:]]))


BREAKAGES: list[Callable[[Path, int], None]] = [
    lambda path, row: change(path, ",nv,", ",x,", row=row),
    lambda path, row: change(path, "male", "x", row=row),
    lambda path, row: change(path, "40.0", "999", row=row),
    cut,
]


@settings(max_examples=25)
@given(st.lists(st.tuples(st.integers(2, 31), st.sampled_from(BREAKAGES)), unique_by=lambda pair: pair[0], max_size=30))
def test_each_broken_row_is_listed_and_no_other(broken: list[tuple[int, Callable[[Path, int], None]]]) -> None:
    """However many there are."""
    images = [FakeImage(name=f"ISIC_{n}", diagnosis="NV", age=40, sex="male") for n in range(30)]
    with tempfile.TemporaryDirectory() as scratch:
        layouts.write_ham10000(Path(scratch), images)
        for row, breakage in broken:
            breakage(Path(scratch) / HAM, row)

        reading = read_layout(Path(scratch))

        assert {problem.split(": ")[0] for problem in reading.problems} == {f"{HAM} row {row}" for row, _ in broken}
        assert len(reading.dataset.records) == 30 - len(broken)


@settings(max_examples=25)
@given(fake_images(layouts.SEVEN_OF_HAM), st.integers(0, 2000), st.binary(min_size=1, max_size=8))
def test_a_damaged_table_gives_problems_or_records_and_nothing_else(
    images: list[FakeImage], place: int, noise: bytes
) -> None:
    """No other exception, whatever the bytes."""
    with tempfile.TemporaryDirectory() as scratch:
        layouts.write_ham10000(Path(scratch), images)
        table = Path(scratch) / HAM
        content = table.read_bytes()
        table.write_bytes(content[: place % len(content)] + noise + content[place % len(content) :])

        reading = read_layout(Path(scratch))

        assert reading.problems or reading.dataset.records
