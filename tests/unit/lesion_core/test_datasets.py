"""Readers: the ISIC 2019 layout, class folders, and drawn images."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lesion_core.datasets import read_dataset
from lesion_core.datasets.isic import GROUND_TRUTH, IMAGES, METADATA
from lesion_core.datasets.synthetic import draw_lesion, write_synthetic_dataset
from lesion_core.errors import DatasetError
from lesion_core.records import data_digest
from support import layouts


@pytest.fixture
def isic(tmp_path: Path) -> Path:
    return write_synthetic_dataset(tmp_path / "isic", images_per_class=2, side_px=64)


def test_the_isic_layout_reads_with_labels_and_lesions(isic: Path) -> None:
    """Two images of each class, both of one lesion."""
    dataset = read_dataset(isic)

    assert set(dataset.class_counts.values()) == {2}
    assert len({record.lesion_id for record in dataset.records}) == 8
    assert dataset.records[0].age_approx is not None
    assert dataset.records[0].sex is None


def test_a_blank_lesion_id_is_a_lesion_of_its_own(isic: Path) -> None:
    """Blanks occur in the official metadata."""
    path = isic / METADATA
    path.write_text(path.read_text().replace("SYNTHETIC_MEL_L0000", ""))

    lesions = {record.lesion_id for record in read_dataset(isic).records if record.diagnosis == "MEL"}

    assert len(lesions) == 2


def test_the_metadata_file_may_be_missing(isic: Path) -> None:
    """Then every image is a lesion of its own."""
    (isic / METADATA).unlink()

    assert len({record.lesion_id for record in read_dataset(isic).records}) == 16


def test_all_problems_are_listed_at_once_with_file_and_row(isic: Path) -> None:
    """Not only the first."""
    (isic / IMAGES / "SYNTHETIC_MEL_0000.jpg").unlink()
    truth = (isic / GROUND_TRUTH).read_text().splitlines()
    truth[4] = truth[4].replace("1.0", "0.0")
    truth.append(truth[5])
    (isic / GROUND_TRUTH).write_text("\n".join(truth) + "\n")
    metadata = isic / METADATA
    metadata.write_text(metadata.read_text().replace("SYNTHETIC_SCC_0001,31", "SYNTHETIC_SCC_0001,310"))

    with pytest.raises(DatasetError) as caught:
        read_dataset(isic)

    text = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 4
    assert f"{GROUND_TRUTH} row 2" in text
    assert "has 0 diagnoses" in text
    assert "stands twice" in text
    assert "310" in text


def test_class_folders_read_by_any_name_of_a_diagnosis(tmp_path: Path) -> None:
    """`Train` is for training, `Test` is kept apart."""
    for part, folder in (("Train", "melanoma"), ("Train", "Pigmented benign keratosis"), ("Test", "NV")):
        (tmp_path / part / folder).mkdir(parents=True)
        Image.new("RGB", (64, 64)).save(tmp_path / part / folder / "a.png")

    dataset = read_dataset(tmp_path)

    assert [record.diagnosis for record in dataset.records] == ["BKL", "MEL"]
    assert [record.diagnosis for record in dataset.test] == ["NV"]
    assert not {record.lesion_id for record in dataset.records} & {record.lesion_id for record in dataset.test}


def test_an_unknown_class_folder_is_named_with_the_closest(tmp_path: Path) -> None:
    """A typing error in a folder name is no silent new class."""
    (tmp_path / "Train" / "melanomma").mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(tmp_path / "Train" / "melanomma" / "a.png")

    with pytest.raises(DatasetError, match="Did you mean 'melanoma'"):
        read_dataset(tmp_path)


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()])
def test_a_missing_or_empty_folder_says_what_was_expected(tmp_path: Path, make: object) -> None:
    """A new user's first mistake."""
    folder = tmp_path / "data"
    make(folder)  # type: ignore[operator]

    with pytest.raises(DatasetError, match=r"does not exist|Train/<diagnosis>"):
        read_dataset(folder)


def test_the_digest_sees_content_and_labels_but_not_the_place(isic: Path, tmp_path: Path) -> None:
    """A copy has the same digest; a changed image or label has not."""
    original = data_digest(read_dataset(isic).records)
    copy = tmp_path / "elsewhere"
    shutil.copytree(isic, copy)

    assert data_digest(tuple(reversed(read_dataset(copy).records))) == original
    Image.new("RGB", (64, 64)).save(copy / IMAGES / "SYNTHETIC_NV_0000.jpg")
    assert data_digest(read_dataset(copy).records) != original


def test_drawn_images_are_reproducible_and_differ_between_classes() -> None:
    """Equal seeds, equal pixels."""

    np.testing.assert_array_equal(draw_lesion("MEL", seed=3), draw_lesion("MEL", seed=3))
    assert not np.array_equal(draw_lesion("MEL", seed=3), draw_lesion("VASC", seed=3))


@pytest.mark.skipif("LESION_DATA" not in os.environ, reason="needs the real images: set LESION_DATA")
def test_the_real_tables_read_without_a_problem() -> None:
    """4,226 images of HAM10000, as its README counts them."""
    counts = read_dataset(Path(os.environ["LESION_DATA"]) / "isic2019-150").class_counts

    assert counts == {"MEL": 963, "NV": 1296, "BCC": 455, "AK": 112, "BKL": 986, "DF": 115, "VASC": 133, "SCC": 166}


def test_none_of_the_above_can_be_measured_and_not_trained(isic: Path, tmp_path: Path) -> None:
    """In a table each image is named, of class folders each folder; with another fault it is no image at all."""
    truth = isic / GROUND_TRUTH
    rows = truth.read_text().splitlines()
    name = rows[1].split(",")[0]
    truth.write_text("\n".join([rows[0], f"{name}{',0.0' * 8},1.0", *rows[2:]]) + "\n")
    folders = tmp_path / "folders"
    layouts.write_pictures(folders / "Train/nevus", ["a.jpg"])
    layouts.write_pictures(folders / "Test/UNK", ["b.jpg", "c.jpg"])

    measured = read_dataset(isic, with_none=True).records
    assert [record.isic_id for record in measured if record.diagnosis == "UNK"] == [name]
    assert len(measured) == len(rows) - 1
    assert [record.diagnosis for record in read_dataset(folders, with_none=True).test] == ["UNK", "UNK"]
    with pytest.raises(DatasetError, match="cannot be trained") as caught:
        read_dataset(folders)
    assert caught.value.problems == (
        f"{folders / 'Test/UNK'}: its images are labelled 'UNK', which cannot be trained; remove it",
    )
    (isic / IMAGES / f"{name}.jpg").unlink()
    with pytest.raises(DatasetError, match=f"{name}.jpg is missing"):
        read_dataset(isic, with_none=True)
