"""What is known of patients, from a table."""

from __future__ import annotations

from pathlib import Path

from lesion_core.datasets.patients import read_patients
from lesion_core.decision.metadata import PatientMetadata

HEADER = "image,age_approx,sex,anatom_site_general,lesion_id\n"


def test_a_row_says_what_is_known_and_a_blank_that_nothing_is(tmp_path: Path) -> None:
    """In the words of ISIC 2019; other columns are left alone."""
    table, problems = tmp_path / "table.csv", list[str]()
    table.write_text(HEADER + "A,55.0,female,head/neck,L1\nB,,,,\nC,unknown,Male, Posterior Torso ,\n")

    assert dict(read_patients(table, problems)) == {
        "A": PatientMetadata(age_approx=55, sex="female", anatom_site_general="head/neck"),
        "B": PatientMetadata(),
        "C": PatientMetadata(sex="male", anatom_site_general="posterior torso"),
    }
    assert problems == []


def test_every_cell_that_cannot_be_is_named_with_its_row(tmp_path: Path) -> None:
    """All of them, and the good rows are still read."""
    table, problems = tmp_path / "table.csv", list[str]()
    table.write_text(HEADER + "A,-3,woman,head,L1\n,55,female,head/neck,\nB,10,male,head/neck,\n")

    assert [image for image, _ in read_patients(table, problems)] == ["B"]
    assert [line.split(" is ")[0] for line in problems] == [
        "table.csv row 2: age of 'A'",
        "table.csv row 2: sex of 'A'",
        "table.csv row 2: body site of 'A'",
        "table.csv row 3: the id of the image",
    ]


def test_a_table_without_a_column_is_one_problem(tmp_path: Path) -> None:
    """It names those that it has."""
    table, problems = tmp_path / "table.csv", list[str]()
    table.write_text("image,age\nA,55\n")

    assert list(read_patients(table, problems)) == []
    assert problems == ["table.csv: columns missing: age_approx, sex, anatom_site_general; it has image, age"]
