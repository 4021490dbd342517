"""From an answer to the cells of a row, and to the file."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import attrs
import pyarrow
import pyarrow.parquet
import pytest

from lesion_core.taxonomy import ISIC_2019
from lesion_core.wire import MalignancyRisk, Prediction, Problem, QualityFinding
from lesion_serve.batch.errors import BatchError
from lesion_serve.batch.layouts import Cells, layout_of
from lesion_serve.batch.output import errors_of, require_output, write_output
from support.predictions import make_prediction

PROBLEM = Problem(code="corrupt_image", message="It is damaged, says 'x'.")
RISK = MalignancyRisk(
    probability=0.25, band="low", lower=0.0, upper=0.5, sensitivity=0.95, images=40, malignant=1, prevalence=0.3
)
FINDING = QualityFinding(code="blurred", grade="warn", value=1.0, threshold=2.0, origin="measured", message="Focus.")


def full_row(answer: Prediction | Problem, sha256: str | None = "1" * 64) -> dict[str, object]:
    layout = layout_of("full", ISIC_2019.codes)
    cells = ("a.jpg", *layout.cells(make_prediction().model, sha256, answer))
    return dict(zip([column.name for column in layout.columns], cells, strict=True))


def test_the_full_layout_says_all_that_the_wire_says() -> None:
    """By name; only what belongs to one request is left out."""
    prediction = attrs.evolve(make_prediction(), risk=RISK, quality=(FINDING,))
    row = full_row(prediction)

    assert row["probability_MEL"] == 1 / 9
    assert row["top"] == prediction.top.code
    assert (row["model_version"], row["bundle_digest"], row["sha256"]) == ("5", "0" * 64, "1" * 64)
    assert (row["conformal_set"], row["conformal_coverage"]) == ("NV", 0.9)
    assert (row["ood_detector"], row["ood_score"], row["is_out_of_distribution"]) == ("mahalanobis", 0.0, False)
    assert [row[name] for name in row if name.startswith(("malignancy", "triage"))] == list(attrs.astuple(RISK))
    assert (row["quality_grade"], json.loads(str(row["quality_findings"]))) == ("warn", [attrs.asdict(FINDING)])
    assert (row["error_code"], row["error_message"]) == (None, None)
    left_out = {"request_id", "timings_ms", "heat_map", "schema_version"}
    assert {field.name for field in attrs.fields(Prediction)} - left_out == {
        "model", "probabilities", "out_of_distribution", "conformal_set", "risk", "quality", "notice",
    }  # a new field of the wire needs columns  # fmt: skip


def test_an_image_with_an_error_has_a_row_that_says_so_and_nothing_else() -> None:
    """No probability that could be taken for an answer."""
    row = full_row(PROBLEM, sha256=None)

    said = {name: value for name, value in row.items() if value is not None}
    assert said == {
        "image": "a.jpg",
        "model_name": "skin-lesion",
        "model_version": "5",
        "backbone": "efficientnet_lite0",
        "bundle_digest": "0" * 64,
        "error_code": "corrupt_image",
        "error_message": PROBLEM.message,
    }


def test_the_isic_layout_has_the_columns_of_the_challenge() -> None:
    """In its order."""
    layout = layout_of("isic", ISIC_2019.codes)

    assert ",".join(column.name for column in layout.columns) == "image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK"
    cells = layout.cells(make_prediction().model, "1" * 64, make_prediction())
    assert cells == tuple(item.probability for item in make_prediction().probabilities)


def test_a_model_of_other_classes_has_no_isic_layout() -> None:
    """Its columns could not be told apart."""
    with pytest.raises(BatchError, match="--layout full") as caught:
        layout_of("isic", ("A", "B"))

    assert caught.value.code == "other_taxonomy"


def rows_of(layout_name: str) -> list[tuple[bool, Cells]]:
    layout = layout_of(layout_name, ISIC_2019.codes)  # type: ignore[arg-type]
    identity = make_prediction().model
    good = layout.cells(identity, "1" * 64, attrs.evolve(make_prediction(), risk=RISK))
    return [(False, ("a", *good)), (True, ("b", *layout.cells(identity, None, PROBLEM)))] * 3000


def test_csv_and_parquet_hold_the_same_table(tmp_path: Path) -> None:
    """Numbers with all their digits; a cell without a value is empty here and null there."""
    layout = layout_of("full", ISIC_2019.codes)
    for ending in ("csv", "parquet"):
        write_output(tmp_path / f"out.{ending}", layout, lambda: iter(rows_of("full")))

    table = pyarrow.parquet.read_table(tmp_path / "out.parquet")
    with (tmp_path / "out.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert table.num_rows == len(rows) == 6000
    assert table.schema.field("triage_images").type == pyarrow.int64()
    for row, same in zip(rows[:2], table.slice(0, 2).to_pylist(), strict=True):
        texts = {name: "" if cell is None else str(cell) for name, cell in same.items()}
        texts["is_out_of_distribution"] = texts["is_out_of_distribution"].lower()
        assert texts == row
    assert float(rows[0]["probability_MEL"]) == 1 / 9
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.csv", "out.parquet"]


def test_the_isic_file_lists_answers_only_and_the_errors_lie_beside_it(tmp_path: Path) -> None:
    """A later run without errors takes the list away."""
    out = tmp_path / "out.csv"
    write_output(out, layout_of("isic", ISIC_2019.codes), lambda: iter(rows_of("isic")[:4]))

    assert [line.split(",")[0] for line in out.read_text().splitlines()] == ["image", "a", "a"]
    with errors_of(out).open(newline="") as stream:
        assert [row["error_code"] for row in csv.DictReader(stream)] == ["corrupt_image"] * 2

    write_output(out, layout_of("isic", ISIC_2019.codes), lambda: iter(rows_of("isic")[:1]))
    assert not errors_of(out).exists()


def test_an_output_that_breaks_off_leaves_the_old_one(tmp_path: Path) -> None:
    """Nobody takes half a table for a whole one."""
    out = tmp_path / "out.csv"
    out.write_text("old")

    def breaks_off() -> object:
        yield rows_of("full")[0]
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="space"):
        write_output(out, layout_of("full", ISIC_2019.codes), breaks_off)  # type: ignore[arg-type]

    assert out.read_text() == "old"
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("name", ["out.xlsx", "out", "absent/out.csv"])
def test_an_output_that_cannot_be_is_refused_at_the_start(tmp_path: Path, name: str) -> None:
    """Not after hours."""
    with pytest.raises(BatchError) as caught:
        require_output(tmp_path / name)

    assert caught.value.code == "bad_output"
