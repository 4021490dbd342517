"""What the report and the challenge's file say of diagnoses and images that are not there."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from lesion_core.bundle import Bundle
from lesion_core.datasets import read_dataset
from lesion_core.datasets.isic import IMAGES
from lesion_core.datasets.synthetic import write_synthetic_dataset
from lesion_core.frozen_split import write_parts
from lesion_core.processes import child_environment
from lesion_core.splits import TEST, TRAIN
from lesion_train.evaluation.choice import Role
from lesion_train.evaluation.submission import images_without_row
from lesion_train.evaluation.values import REPORT, DataFacts
from support.bundles import make_tiny_bundle
from support.layouts import write_pictures


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "bundle")


def test_a_part_is_measured_by_the_diagnoses_in_it_and_handed_in_by_its_images(bundle: Bundle, tmp_path: Path) -> None:
    """The report counts the diagnoses that occur; the terminal says what the data and the challenge's file lack."""
    data = write_synthetic_dataset(tmp_path / "data", images_per_class=2, side_px=64)
    write_pictures(data / IMAGES, ["stray.jpg"])
    records = read_dataset(data).records
    seven = [record for record in records if record.diagnosis != "SCC"]
    write_parts({TEST: seven, TRAIN: [r for r in records if r.diagnosis == "SCC"]}, tmp_path / "split.csv")
    command = [sys.executable, "-m", "lesion_train", "evaluate", str(bundle.folder), "--data", str(data)]
    places = ["--split", str(tmp_path / "split.csv"), "--out", str(tmp_path / "out")]
    options = ["--isic-csv", str(tmp_path / "isic.csv"), "--resamples", "2", "--threads", "1", "--device", "cpu"]

    done = subprocess.run(
        [*command, *places, *options], env=child_environment(), capture_output=True, text=True, check=True
    )

    assert done.stdout.startswith("Note: 1 images are not listed in ISIC_2019_Training_GroundTruth.csv, so they are ")
    assert done.stdout.endswith("isic.csv\n  ! 2 images of the data have no row: 2 are not of part test.\n")
    with (tmp_path / "isic.csv").open(encoding="utf-8") as stream:
        assert [row["image"] for row in csv.DictReader(stream)] == [record.isic_id for record in seven]
    report = " ".join((tmp_path / "out" / REPORT).read_text(encoding="utf-8").split())
    assert "mean of the 7 diagnoses' sensitivities" in report


@pytest.mark.parametrize(
    ("part", "left_out", "whole", "sentence"),
    [
        ("all", 0, 10, ""),
        ("all", 3, 13, "3 images of the data have no row: the model's run knows 3."),
        ("test", 0, 1010, "1,000 images of the data have no row: 1,000 are not of part test."),
        ("test", 3, 20, "10 images of the data have no row: the model's run knows 3, 7 are not of part test."),
        ("test", 3, None, "3 images of the data have no row: the model's run knows 3."),
    ],
)
def test_images_that_the_challenge_s_file_lacks_are_counted_with_the_reason(
    part: str, left_out: int, whole: int | None, sentence: str
) -> None:
    """Ten have a row."""
    facts = DataFacts(
        dataset="isic",
        part=part,
        role=Role.FOREIGN,
        data_digest=None,
        split_digest=None,
        images=10,
        lesions=10,
        none_of_the_above=0,
        left_out=left_out,
        dataset_images=whole,
    )

    assert images_without_row(facts) == sentence
