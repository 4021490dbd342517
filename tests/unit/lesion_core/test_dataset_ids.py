"""Ids of lesions and patients: which images belong together, in every layout that has a table."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from lesion_core.datasets import ham10000, isic, isic_archive, pad_ufes_20, read_dataset
from lesion_core.datasets.cells import UNKNOWN, id_of
from lesion_core.splits import groups_of, split_by_lesion
from lesion_core.taxonomy import ISIC_2019
from support import layouts
from support.layouts import FakeImage

IMAGES = [FakeImage(name=f"ISIC_000000{n}", diagnosis="NV", lesion=f"HAM_{n // 2}", patient="P") for n in range(4)]
TABLES = {  # that name lesions and, if only in a column of one's own, patients
    isic.LAYOUT: isic.METADATA,
    isic.LAYOUT_2018: isic.GROUPINGS_2018,
    ham10000.LAYOUT: ham10000.METADATA[0],
    pad_ufes_20.LAYOUT: pad_ufes_20.METADATA,
    isic_archive.LAYOUT: isic_archive.METADATA,
}


def set_column(path: Path, column: str, texts: list[str]) -> None:
    """The texts of a column, which a table may not have had."""
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    layouts.write_table(path, [{**row, column: text} for row, text in zip(rows, texts, strict=True)])


@pytest.mark.parametrize("text", ["NA", "n/a", " NaN ", "null", "None", "-", "unknown", ""])
@pytest.mark.parametrize("layout", TABLES)
def test_ids_that_say_unknown_join_no_images(tmp_path: Path, layout: str, text: str) -> None:
    """As statistics programs write a blank: ``NA`` would be one lesion of all images without one, and one patient."""
    layouts.LAYOUTS[layout][0](tmp_path, IMAGES)
    for column in ("lesion_id", "patient_id"):
        set_column(tmp_path / TABLES[layout], column, [text] * len(IMAGES))

    records = read_dataset(tmp_path).records

    assert [record.lesion_id for record in records] == [f"image:{image.name}" for image in IMAGES]
    assert {record.patient_id for record in records} == {None}


@pytest.mark.parametrize("layout", TABLES)
def test_a_column_of_patients_is_read(tmp_path: Path, layout: str) -> None:
    """Also in tables whose official version has none: images of one patient stay together."""
    layouts.LAYOUTS[layout][0](tmp_path, IMAGES)
    set_column(tmp_path / TABLES[layout], "patient_id", ["P1", "P1", "P1", "NA"])
    set_column(tmp_path / TABLES[layout], "lesion_id", ["L0", "L1", "L2", "L3"])

    records = read_dataset(tmp_path).records

    assert [record.patient_id for record in records] == ["P1", "P1", "P1", None]
    assert len(set(groups_of(records)[:3].tolist())) == 1
    assert len(set(groups_of(records).tolist())) == 2


def test_a_split_parts_no_patient_that_a_column_names(tmp_path: Path) -> None:
    """Twelve lesions of six patients, in the layout of ISIC 2019."""
    images = [FakeImage(name=f"A{n}", diagnosis=("NV", "MEL")[n % 2], lesion=f"L{n}") for n in range(12)]
    layouts.write_isic_2019(tmp_path, images)
    set_column(tmp_path / isic.METADATA, "patient_id", [f"P{n // 2}" for n in range(12)])

    split = split_by_lesion(read_dataset(tmp_path).records, ISIC_2019, validation_fraction=0.5, seed=0)

    train, validation = ({record.patient_id for record in part} for part in (split.train, split.validation))
    assert len(train) + len(validation) == 6
    assert not train & validation


def test_an_id_that_is_one_stays_as_it_is() -> None:
    """Case and all."""
    assert [id_of(text) for text in ("Na1", "NONE_1", "0", "HAM_1")] == ["Na1", "NONE_1", "0", "HAM_1"]
    assert {id_of(text.upper()) for text in UNKNOWN} == {""}
