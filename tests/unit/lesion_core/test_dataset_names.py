"""Where images lie: links, and names that look alike and are spelt in two ways."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

from lesion_core.datasets import read_dataset, read_layout
from lesion_core.datasets.image_files import find_images
from lesion_core.datasets.patients import read_patients
from lesion_core.frozen_split import apply_parts, write_parts
from lesion_core.records import ImageRecord
from support import layouts
from support.layouts import FakeImage

COMPOSED = unicodedata.normalize("NFC", "Läsion-é")
DECOMPOSED = unicodedata.normalize("NFD", COMPOSED)
TABLES = [name for name in layouts.LAYOUTS if name != "folder"]


@pytest.mark.parametrize("layout", TABLES)
@pytest.mark.parametrize(("in_table", "on_disk"), [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)])
def test_a_name_is_found_however_it_is_composed(tmp_path: Path, layout: str, in_table: str, on_disk: str) -> None:
    """macOS packs file names with an accent as a character of its own, and tables have one for both."""
    write, _ = layouts.LAYOUTS[layout]
    (written,) = write(tmp_path, [FakeImage(name=in_table, diagnosis="NV", lesion="HAM_1", patient="P")])
    written.path.rename(written.path.with_stem(on_disk))

    (record,) = read_dataset(tmp_path).records

    assert record.isic_id == COMPOSED
    assert record.path == written.path.with_stem(on_disk)


def test_a_split_of_class_folders_holds_on_another_system(tmp_path: Path) -> None:
    """The ids are the same after a copy that spells names in another way; so were those of an older split."""
    found = []
    for place, name in (("one", COMPOSED), ("two", DECOMPOSED)):
        layouts.write_pictures(tmp_path / place / "nevus", [f"{name}.jpg"])
        found.append(read_dataset(tmp_path / place).records)
    assert [record.isic_id for (record,) in found] == [f"nevus/{COMPOSED}.jpg"] * 2

    old = attrs.evolve(found[0][0], isic_id=f"nevus/{DECOMPOSED}.jpg")
    write_parts({"train": [old], "validation": []}, tmp_path / "split.csv")
    assert apply_parts(tmp_path / "split.csv", found[1]) == {"train": found[1]}


def test_two_images_whose_names_differ_in_spelling_only_are_a_problem(tmp_path: Path) -> None:
    """Which one a table means cannot be known."""
    layouts.write_pictures(tmp_path, [f"{COMPOSED}.jpg", f"{DECOMPOSED}.jpg"])
    problems: list[str] = []

    find_images([tmp_path], problems)

    assert len(problems) == 1
    assert "another image has this name" in problems[0]


def test_a_table_of_patients_names_images_in_one_form(tmp_path: Path) -> None:
    """Whoever looks for an image asks by the composed name."""
    table = tmp_path / "table.csv"
    table.write_text(f"image,age_approx,sex,anatom_site_general\n{DECOMPOSED},40,male,\n", encoding="utf-8")

    assert [name for name, _ in read_patients(table, [])] == [COMPOSED]


@pytest.mark.parametrize("layout", TABLES)
def test_images_behind_a_link_are_read(tmp_path: Path, layout: str) -> None:
    """A folder of a data set may lie on another disk."""
    root, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    root.mkdir()
    write, _ = layouts.LAYOUTS[layout]
    (written,) = write(root, [FakeImage(name="ISIC_0000001", diagnosis="NV", lesion="HAM_1", patient="P")])
    elsewhere.mkdir()
    written.path.rename(elsewhere / written.path.name)
    (written.path.parent / "link").symlink_to(elsewhere, target_is_directory=True)

    (record,) = read_dataset(root).records

    assert record.path == written.path.parent / "link" / written.path.name


def test_a_class_folder_may_be_a_link_and_hide_images_behind_one(tmp_path: Path) -> None:
    """The first is read, the second is the same problem as a folder in it."""
    layouts.write_pictures(tmp_path / "store/moles", ["a.jpg"])
    layouts.write_pictures(tmp_path / "store/more", ["b.jpg"])
    data = tmp_path / "data"
    data.mkdir()
    (data / "nevus").symlink_to(tmp_path / "store/moles")
    assert [record.isic_id for record in read_dataset(data).records] == ["nevus/a.jpg"]

    (tmp_path / "store/moles/deeper").symlink_to(tmp_path / "store/more")

    (problem,) = read_layout(data).problems
    assert problem.startswith(f"{data / 'nevus'}: 1 images are not read: deeper/b.jpg.")


@pytest.mark.parametrize("target", [".", "..", "../..", "/"])
def test_links_in_a_circle_end(tmp_path: Path, target: str) -> None:
    """Each folder is looked into once, and none that the link lies in: its other images are not deeper ones."""
    for name in ("nevus", "melanoma"):
        layouts.write_pictures(tmp_path / "data" / name, [f"{name}.jpg"])
    (tmp_path / "data/nevus/link").symlink_to(target)

    reading = read_layout(tmp_path / "data")

    assert (reading.problems, len(reading.dataset.records)) == ((), 2)
    assert sorted(find_images([tmp_path / "data"], [])) == ["melanoma", "nevus"]


def test_an_image_that_two_links_lead_to_is_found_once(tmp_path: Path) -> None:
    """It has one name, so it is no problem."""
    layouts.write_pictures(tmp_path / "store", ["a.jpg"])
    for name in ("one", "two"):
        (tmp_path / name).symlink_to("store")
    problems: list[str] = []

    assert sorted(find_images([tmp_path, tmp_path / "one"], problems)) == ["a"]
    assert problems == []


@pytest.mark.parametrize("layout", layouts.LAYOUTS)
def test_a_folder_that_cannot_be_listed_is_no_empty_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    """Its images would be left out without a word."""
    write, _ = layouts.LAYOUTS[layout]
    (written,) = write(tmp_path, [FakeImage(name="ISIC_0000001", diagnosis="NV", lesion="HAM_1", patient="P")])
    locked, scandir = written.path.parent / "locked", os.scandir
    layouts.write_pictures(locked, ["b.jpg"])

    def refuse(path: str) -> object:
        if Path(path) == locked:
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError, match=str(locked)):
        read_layout(tmp_path)


def broken_class(data: Path) -> str:
    (data / "Train/melanoma").symlink_to("gone")
    return f"1 links in {data / 'Train'} lead nowhere, so what they stand for is not used: melanoma"


def broken_part(data: Path) -> str:
    (data / "Test").symlink_to("gone")
    return f"1 links in {data} lead nowhere, so what they stand for is not used: Test"


@pytest.mark.parametrize("make", [broken_class, broken_part])
def test_folders_whose_link_is_broken_are_noted(tmp_path: Path, make: Callable[[Path], str]) -> None:
    """A disk may not be there today; hidden links are locks of editors."""
    layouts.write_pictures(tmp_path / "Train/nevus", ["a.jpg"])
    (tmp_path / "Train/.#a").symlink_to("somebody@somewhere")
    note = make(tmp_path)

    assert read_dataset(tmp_path).notes == (note,)


def test_an_image_whose_link_is_broken_is_missing(tmp_path: Path) -> None:
    """A class would be smaller than its owner thinks."""
    layouts.write_pictures(tmp_path / "nevus", ["a.jpg"])
    (tmp_path / "nevus/b.jpg").symlink_to("gone.jpg")

    reading = read_layout(tmp_path)

    assert reading.problems == (f"{tmp_path / 'nevus/b.jpg'}: nevus/b.jpg, a link that leads nowhere, is missing",)
    assert [type(record) for record in reading.dataset.records] == [ImageRecord]
