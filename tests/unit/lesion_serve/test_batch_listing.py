"""Which images a batch has."""

from __future__ import annotations

import os
import sqlite3
import unicodedata
from pathlib import Path
from typing import Literal

import pytest

from lesion_core.decision.metadata import PatientMetadata
from lesion_core.errors import DatasetError
from lesion_serve.batch.answering import Task
from lesion_serve.batch.errors import BatchError
from lesion_serve.batch.journal import Journal
from lesion_serve.batch.listing import Listing
from support.batches import SETTINGS
from support.image_files import SIDE_PX, dicom_file
from support.images import encoded_lesion


def tasks(folder: Path, *paths: Path, metadata: Path | None = None, needs_names: bool = False) -> list[Task]:
    listing = Listing(paths=paths, metadata=metadata, needs_names=needs_names)
    with Journal.open(folder / "journal", SETTINGS, listing) as journal:
        return list(journal.open_tasks())


def names(found: list[Task], folder: Path) -> list[str]:
    assert [task.number for task in found] == list(range(len(found)))
    return [os.path.relpath(task.path, folder) for task in found]


def test_a_folder_gives_all_images_below_it_in_order(tmp_path: Path) -> None:
    """By content, or by a name that promises one: a broken file is an error of the batch, not left out."""
    images = tmp_path / "images"
    (images / "b" / "deep").mkdir(parents=True)
    (images / ".hidden").mkdir()
    for name in ("c.jpg", "b/deep/z.JPG", "b/a.jpg", ".hidden/x.jpg", "b/.y.jpg"):
        (images / name).write_bytes(encoded_lesion())
    (images / "no-ending").write_bytes(encoded_lesion("PNG"))
    (images / "dicom").write_bytes(dicom_file(bytes(3 * SIDE_PX * SIDE_PX)))
    (images / "notes.txt").write_text("BMI and other text")
    (images / "empty.png").write_bytes(b"")

    assert names(tasks(tmp_path, images), images) == [
        "b/a.jpg", "b/deep/z.JPG", "c.jpg", "dicom", "empty.png", "no-ending",
    ]  # fmt: skip


def test_linked_folders_are_looked_into_once(tmp_path: Path) -> None:
    """As a data set's are. One to a folder that it lies in leads nowhere, one to its brother brings nothing twice."""
    images, disk = tmp_path / "images", tmp_path / "other-disk"
    for name in ("images/b/a.jpg", "other-disk/2026/c.jpg"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(encoded_lesion())
    for link, target in (("a-brother", images / "b"), ("b/up", images), ("upper", tmp_path), ("second", disk)):
        os.symlink(target, images / link)
    os.symlink(disk, images / "first")
    os.symlink(images / "b" / "a.jpg", images / "b" / "linked.jpg")

    assert names(tasks(tmp_path, images), images) == ["b/a.jpg", "b/linked.jpg", "first/2026/c.jpg"]


def test_a_link_that_leads_nowhere_is_asked_about_if_it_is_named_like_an_image(tmp_path: Path) -> None:
    """It has a row that says so. Reading from a pipe would never end, whatever it is called."""
    (tmp_path / "a.jpg").write_bytes(encoded_lesion())
    for name in ("lost.jpg", "lost"):
        os.symlink("gone", tmp_path / name)
    os.mkfifo(tmp_path / "pipe.jpg")
    os.symlink("pipe.jpg", tmp_path / "to-the-pipe.jpg")

    assert names(tasks(tmp_path, tmp_path), tmp_path) == ["a.jpg", "lost.jpg"]


def test_a_file_that_is_named_is_asked_about_whatever_it_is_and_once(tmp_path: Path) -> None:
    """Also where its folder is named as well, or it is named another way."""
    (tmp_path / "a.txt").write_text("no image")
    (tmp_path / "b.jpg").write_bytes(encoded_lesion())

    found = tasks(tmp_path, tmp_path, tmp_path / "a.txt", tmp_path / "x" / ".." / "b.jpg")
    assert names(found, tmp_path) == ["a.txt", "b.jpg"]


def test_a_name_that_is_no_text_is_a_name(tmp_path: Path) -> None:
    """File systems hold bytes."""
    images = tmp_path / "images"
    images.mkdir()
    (images / os.fsdecode(b"\xff.jpg")).write_bytes(encoded_lesion())

    (task,) = tasks(tmp_path, images)
    assert Path(Task.from_json(task.to_json()).path).read_bytes()[:2] == b"\xff\xd8"


@pytest.mark.parametrize("needs_names", [True, False])
def test_images_of_one_name_are_refused_where_the_name_has_to_tell_them_apart(
    tmp_path: Path, needs_names: bool
) -> None:
    """In the challenge's file, and for a table of patients."""
    for name in ("a/x.jpg", "b/x.png", "a/y.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(encoded_lesion())
    folders = (tmp_path / "a", tmp_path / "b")
    table = tmp_path / "table.csv"
    table.write_text("image,age_approx,sex,anatom_site_general\n")

    with pytest.raises(BatchError, match=r"x: .*a/x\.jpg, .*b/x\.png") as caught:
        tasks(tmp_path, *folders, needs_names=needs_names, metadata=None if needs_names else table)
    assert caught.value.code == "same_names"
    assert len(tasks(tmp_path, *folders)) == 3


def test_the_table_of_patients_finds_its_images(tmp_path: Path) -> None:
    """By name; of an image that has no row nothing is said."""
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(encoded_lesion())
    table = tmp_path / "table.csv"
    table.write_text("image,age_approx,sex,anatom_site_general\na,55,female,\nz,1,male,\n")

    first, second = tasks(tmp_path, tmp_path / "a.jpg", tmp_path / "b.jpg", metadata=table)
    assert first.metadata == PatientMetadata(age_approx=55, sex="female")
    assert Task.from_json(first.to_json()) == first
    assert second.metadata is None


@pytest.mark.parametrize(("in_table", "on_disk"), [("NFC", "NFD"), ("NFD", "NFC"), ("NFD", "NFD")])
def test_the_table_of_patients_finds_a_name_however_it_is_composed(
    tmp_path: Path, in_table: Literal["NFC", "NFD"], on_disk: Literal["NFC", "NFD"]
) -> None:
    """macOS packs file names with an accent as a character of its own, and tables have one for both."""
    name = f"{unicodedata.normalize(on_disk, 'é')}.jpg"
    (tmp_path / name).write_bytes(encoded_lesion())
    table = tmp_path / "patients.csv"
    row = f"{unicodedata.normalize(in_table, 'é')},55.0,,"
    table.write_text(f"image,age_approx,sex,anatom_site_general\n{row}\n", encoding="utf-8")

    (task,) = tasks(tmp_path, tmp_path / name, metadata=table)

    assert task.metadata == PatientMetadata(age_approx=55)


def test_problems_of_the_table_are_listed_before_anything_begins(tmp_path: Path) -> None:
    """All of them; nothing is left behind."""
    (tmp_path / "a.jpg").write_bytes(encoded_lesion())
    table = tmp_path / "table.csv"
    table.write_text("image,age_approx,sex,anatom_site_general\na,old,female,\nb,1,male,\nb,2,male,\n")

    with pytest.raises(DatasetError, match=r"(?s)row 2: age of 'a'.*'b' stands twice"):
        tasks(tmp_path, tmp_path / "a.jpg", metadata=table)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jpg", "table.csv"]


def test_a_folder_without_images_is_named(tmp_path: Path) -> None:
    """Before anything begins."""
    (tmp_path / "notes.txt").write_text("text")

    with pytest.raises(BatchError, match="no image in") as caught:
        tasks(tmp_path, tmp_path)
    assert caught.value.code == "no_images"


def test_a_folder_that_cannot_be_listed_is_no_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its images would be missing without a word."""
    (tmp_path / "a.jpg").write_bytes(encoded_lesion())

    def refuse(path: bytes) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(BatchError, match=f"{tmp_path} cannot be listed: Permission denied") as caught:
        tasks(tmp_path, tmp_path)
    assert caught.value.code == "unreadable_folder"


def test_a_journal_begun_by_nobody_else_is_plain_sqlite(tmp_path: Path) -> None:
    """So that an unfinished run can be looked at with any tool."""
    (tmp_path / "a.jpg").write_bytes(encoded_lesion())
    tasks(tmp_path, tmp_path / "a.jpg")

    with sqlite3.connect(tmp_path / "journal") as connection:
        assert connection.execute("SELECT name FROM image").fetchall() == [("a",)]
    connection.close()
