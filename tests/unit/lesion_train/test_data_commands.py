"""``lesion-train data``: check a data set, freeze a split, download."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest

from lesion_core.datasets import isic_archive, read_dataset
from lesion_core.datasets.folder import TEST
from lesion_core.datasets.isic import GROUND_TRUTH, IMAGES, METADATA
from lesion_core.datasets.isic_archive import ArchiveQuery
from lesion_core.datasets.synthetic import write_synthetic_dataset
from lesion_core.errors import DatasetError, LesionError
from lesion_core.frozen_split import read_parts, write_parts
from lesion_core.records import data_digest
from lesion_train import data_cli
from support import layouts
from support.layouts import FakeImage


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_synthetic_dataset(tmp_path / "data", images_per_class=6, side_px=64)


def test_a_good_data_set_is_described(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Layout, counts, and the digest that a run would record."""
    data_cli.check(folder)

    shown = capsys.readouterr().out
    for line in (
        "data: read as isic-2019",
        "images    48",
        "lesions   24, patients not named",
        "MEL 6 · NV 6",
        data_digest(read_dataset(folder).records),
        "0 pairs",
        "No problems.",
    ):
        assert line in shown


def test_problems_of_tables_and_of_images_are_listed_together(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where both are in one row; all are written to the report, and what is good is counted all the same."""
    images = folder / IMAGES
    (images / "SYNTHETIC_MEL_0000.jpg").unlink()
    (images / "SYNTHETIC_NV_0003.jpg").write_bytes(b"\xff\xd8\xff broken")
    truth = folder / GROUND_TRUTH
    truth.write_text(truth.read_text() + truth.read_text().splitlines()[5] + "\n")
    (images / "SYNTHETIC_BCC_0001.jpg").write_bytes(b"GIF89a")
    (described,) = [line for line in (folder / METADATA).read_text().splitlines() if "BCC_0001" in line]
    name, _, *rest = described.split(",")
    (folder / METADATA).write_text((folder / METADATA).read_text().replace(described, ",".join([name, "400", *rest])))

    with pytest.raises(DatasetError) as caught:
        data_cli.check(folder, report=tmp_path / "problems.txt")

    assert (tmp_path / "problems.txt").read_text().splitlines() == list(caught.value.problems)
    expected = (
        (GROUND_TRUTH, "row 2:"),
        (METADATA, "age of 'SYNTHETIC_BCC_0001' is '400'"),
        (GROUND_TRUTH, "stands twice"),
        (GROUND_TRUTH, "image ends before"),
        (GROUND_TRUTH, "SYNTHETIC_BCC_0001.jpg: These bytes are no"),
    )
    for (table, part), problem in zip(expected, caught.value.problems, strict=True):
        assert part in problem
        assert problem.startswith(f"{table} row ")
    assert "MEL 5" in capsys.readouterr().out


def test_parts_that_share_a_lesion_are_listed_with_the_other_problems(folder: Path, tmp_path: Path) -> None:
    """Even where the shared lesion is only seen in a row that has another problem."""
    data_cli.freeze(folder, out=tmp_path / "split.csv", validation_fraction=0.34, test_fraction=0)
    parts = read_parts(tmp_path / "split.csv")
    train, held_out = (sorted(i for i, part in parts.items() if part == name)[0] for name in ("train", "validation"))
    lines = [line.split(",") for line in (folder / METADATA).read_text().splitlines()]
    header, rows = lines[0], {line[0]: line for line in lines[1:]}
    rows[held_out][header.index("lesion_id")] = rows[train][header.index("lesion_id")]
    rows[held_out][header.index("age_approx")] = "400"
    (folder / METADATA).write_text("".join(",".join(line) + "\n" for line in (header, *rows.values())))

    with pytest.raises(DatasetError) as caught:
        data_cli.check(folder, split=tmp_path / "split.csv")

    age, overlap = caught.value.problems
    assert "is '400'" in age
    assert "1 lesions have images in more than one part" in overlap


def test_own_diagnoses_are_checked_and_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the same file that 'fit' takes."""
    taxonomy = Path("docs/taxonomy.example.toml")
    for name in ("Melanoma", "Mole", "Other growth"):
        layouts.write_pictures(tmp_path / "data" / "Train" / name, [f"{n}.png" for n in range(8)])
    layouts.write_pictures(tmp_path / "data", ["loose.png"])

    data_cli.check(tmp_path / "data", taxonomy=taxonomy)
    data_cli.freeze(tmp_path / "data", out=tmp_path / "split.csv", taxonomy=taxonomy)

    shown = capsys.readouterr().out
    assert "MEL 8 · NV 8 · OTHER 8" in shown
    assert "24 images name no lesion and count as one each" in shown
    assert set(read_parts(tmp_path / "split.csv").values()) == {"train", "validation", "test"}
    with pytest.raises(DatasetError, match="No diagnosis named 'Other growth'"):
        data_cli.check(tmp_path / "data")


def test_notes_are_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the data is looked at, and where it is split."""
    layouts.write_pictures(folder / IMAGES, ["stray.jpg"])
    note = f"1 images are not listed in {GROUND_TRUTH}, so they are not used: stray"

    data_cli.check(folder)
    data_cli.freeze(folder, out=folder / "split.csv", validation_fraction=0.34, test_fraction=0)

    shown = capsys.readouterr().out
    assert f"  note      {note}" in shown
    assert f"Note: {note}" in shown


def copy_image(folder: Path, source: str, target: str) -> None:
    shutil.copy(folder / IMAGES / f"SYNTHETIC_{source}.jpg", folder / IMAGES / f"SYNTHETIC_{target}.jpg")


def test_duplicates_are_shown_and_written(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of one lesion none are: several images of it are usual."""
    copy_image(folder, "NV_0000", "NV_0001")
    copy_image(folder, "NV_0002", "MEL_0004")

    data_cli.check(folder, duplicates=tmp_path / "pairs.csv")

    shown = capsys.readouterr().out
    assert "1 pairs, 0 of them across parts, 1 with two diagnoses" in shown
    assert "TWO DIAGNOSES" in shown
    with (tmp_path / "pairs.csv").open() as stream:
        (pair,) = csv.DictReader(stream)
    assert pair["likeness"] == "same_file"
    assert {pair["first_image"], pair["second_image"]} == {"SYNTHETIC_MEL_0004", "SYNTHETIC_NV_0002"}
    assert pair["label_conflict"] == "true"


def test_duplicates_across_a_frozen_split_are_counted(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A copied picture under another lesion's id slips through a split by lesion."""
    data_cli.freeze(folder, out=tmp_path / "split.csv", validation_fraction=0.34, test_fraction=0)
    parts = read_parts(tmp_path / "split.csv")
    train, held_out = (
        sorted(i for i, part in parts.items() if part == name and "_NV_" in i)[0] for name in ("train", "validation")
    )
    copy_image(folder, train.removeprefix("SYNTHETIC_"), held_out.removeprefix("SYNTHETIC_"))

    data_cli.check(folder, split=tmp_path / "split.csv")

    assert "1 pairs, 1 of them across parts, 0 with two diagnoses" in capsys.readouterr().out


def test_embeddings_are_compared_where_a_backbone_is_named(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every pair then has a cosine; a low threshold names more pairs."""
    copy_image(folder, "NV_0000", "NV_0002")

    data_cli.check(folder, backbone="efficientnet_lite0", min_cosine=0.9, duplicates=tmp_path / "pairs.csv", threads=1)

    with (tmp_path / "pairs.csv").open() as stream:
        pairs = list(csv.DictReader(stream))
    assert (pairs[0]["likeness"], pairs[0]["cosine"]) == ("same_file", "1.0")
    assert all(float(pair["cosine"]) >= 0.9 for pair in pairs if pair["likeness"] == "near_embedding")
    assert f"{len(pairs)} pairs" in capsys.readouterr().out


def test_a_backbone_without_a_known_threshold_needs_one(folder: Path) -> None:
    """That of another network would name too many pairs, or too few."""
    with pytest.raises(LesionError, match=r"not for 'vit_tiny'\. Give --min-cosine") as caught:
        data_cli.check(folder, backbone="vit_tiny")

    assert caught.value.code == "no_threshold"


def test_a_split_of_other_data_fails_the_check(folder: Path, tmp_path: Path) -> None:
    """The message names what came or went."""
    records = read_dataset(folder).records
    write_parts({"train": records[2:]}, tmp_path / "split.csv")

    with pytest.raises(DatasetError, match="2 added since"):
        data_cli.check(folder, split=tmp_path / "split.csv")


def test_a_split_is_frozen_once(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In folds; a file that is there is never overwritten."""
    data_cli.freeze(folder, out=tmp_path / "folds.csv", folds=3)

    assert set(read_parts(tmp_path / "folds.csv").values()) == {"fold-1", "fold-2", "fold-3"}
    assert "digest" in capsys.readouterr().out
    with pytest.raises(LesionError, match=r"folds\.csv exists"):
        data_cli.freeze(folder, out=tmp_path / "folds.csv", folds=3)
    with pytest.raises(LesionError, match="folds"):
        data_cli.freeze(folder, out=tmp_path / "none.csv", folds=0)


def test_a_test_part_is_set_apart_before_the_rest_is_split(tmp_path: Path) -> None:
    """By default for a hold-out, on demand for folds; the same one with the same seed."""
    data = write_synthetic_dataset(tmp_path / "data", images_per_class=20, side_px=16)

    data_cli.freeze(data, out=tmp_path / "split.csv")
    data_cli.freeze(data, out=tmp_path / "folds.csv", folds=3, test_fraction=0.15)

    split, folds = read_parts(tmp_path / "split.csv"), read_parts(tmp_path / "folds.csv")
    assert set(split.values()) == {"train", "validation", "test"}
    assert set(folds.values()) == {"fold-1", "fold-2", "fold-3", "test"}
    assert {i for i, part in split.items() if part == "test"} == {i for i, part in folds.items() if part == "test"}


def test_a_data_set_that_has_grown_keeps_what_was_held_out(tmp_path: Path) -> None:
    """The new images are split, the old ones stay where they were."""
    data = write_synthetic_dataset(tmp_path / "data", images_per_class=40, side_px=16)
    few = write_synthetic_dataset(tmp_path / "few", images_per_class=20, side_px=16)
    data_cli.freeze(few, out=tmp_path / "old.csv", seed=1)
    old = read_parts(tmp_path / "old.csv")

    data_cli.freeze(data, out=tmp_path / "new.csv", keep=tmp_path / "old.csv")

    new = read_parts(tmp_path / "new.csv")
    shared = old.keys() & new.keys()
    assert shared
    assert {image: new[image] for image in shared} == {image: old[image] for image in shared}
    assert {part for image, part in new.items() if image not in old} == {"train", "validation", "test"}
    with pytest.raises(LesionError, match="--folds"):
        data_cli.freeze(data, out=tmp_path / "folds.csv", keep=tmp_path / "old.csv", folds=3)


def test_a_data_set_that_has_grown_by_a_few_images_is_split_too(tmp_path: Path) -> None:
    """By none, too: what nothing new has to be held out of is trained on."""
    old = write_synthetic_dataset(tmp_path / "old", images_per_class=20, side_px=16)
    data_cli.freeze(old, out=tmp_path / "old.csv")
    before = read_parts(tmp_path / "old.csv")
    grown = write_synthetic_dataset(tmp_path / "grown", images_per_class=20, side_px=16)
    table, image = next(grown.glob("*GroundTruth.csv")), next(grown.rglob("*.jpg"))
    row = next(line for line in table.read_text().splitlines() if line.startswith(image.stem))
    for name in ("NEW_1", "NEW_2"):
        shutil.copyfile(image, image.with_name(f"{name}.jpg"))
        with table.open("a") as stream:
            stream.write(row.replace(image.stem, name) + "\n")

    data_cli.freeze(old, out=tmp_path / "same.csv", keep=tmp_path / "old.csv")
    data_cli.freeze(grown, out=tmp_path / "new.csv", keep=tmp_path / "old.csv")

    assert read_parts(tmp_path / "same.csv") == before
    assert read_parts(tmp_path / "new.csv") == {**before, "NEW_1": "train", "NEW_2": "train"}


def test_the_test_part_of_the_source_stays_apart(tmp_path: Path) -> None:
    """In the frozen file, and in the check against it."""
    layouts.write_class_folders(
        tmp_path / "data", [FakeImage(name=f"{code}{n}", diagnosis=code) for code in ("MEL", "NV") for n in range(4)]
    )
    layouts.write_pictures(tmp_path / "data" / TEST / "nevus", ["t.jpg"])

    data_cli.freeze(tmp_path / "data", out=tmp_path / "split.csv", validation_fraction=0.5)

    assert read_parts(tmp_path / "split.csv")["Test/nevus/t.jpg"] == "test"


def test_a_download_says_what_came(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Licences, images of our classes, and the next step."""
    asked: list[ArchiveQuery] = []

    def deliver(query: ArchiveQuery, out: Path, *, metadata_only: bool) -> None:
        asked.append(query)
        layouts.write_isic_archive(out, [FakeImage(name="ISIC_1", diagnosis="NV")])

    monkeypatch.setattr(isic_archive, "download", deliver)

    data_cli.download(out=tmp_path / "out", search="sex:male", collection=[2], licence="CC-0, CC-BY", limit=1)

    assert asked == [ArchiveQuery(search="sex:male", collections=(2,), licences=("CC-0", "CC-BY"), limit=1)]
    shown = capsys.readouterr().out
    assert "CC-BY            1 images" in shown
    assert "1 images of the trained classes, 0 with another diagnosis or none." in shown
    assert f"lesion-train data check {tmp_path / 'out'}" in shown
