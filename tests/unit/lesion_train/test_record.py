"""The local record of a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lesion_core.errors import LesionError
from lesion_train.predictions import read_predictions, write_predictions
from lesion_train.record import RunRecord
from support.runs import FACTS, add_rows, images, make_run, predictions


def test_rows_of_epochs_and_steps_come_back_in_order(tmp_path: Path) -> None:
    """With the time of each."""
    record = make_run(tmp_path, epochs=2, steps=3)

    assert [row["epoch"] for row in record.epochs] == [1, 2]
    assert [(row["step"], row["learning_rate"]) for row in record.steps] == [(1, 1e-3), (2, 1e-3), (3, 1e-3)]
    assert all(row["time_ms"] > 1e12 for row in (*record.epochs, *record.steps, *record.system))


def test_a_line_that_a_crash_cut_is_left_out_and_harms_no_later_one(tmp_path: Path) -> None:
    """The next row starts a line of its own."""
    record = make_run(tmp_path, steps=3)
    path = record.folder / "steps.jsonl"
    path.write_bytes(path.read_bytes()[:-20])

    assert [row["step"] for row in record.steps] == [1, 2]
    add_rows(record, steps=[4])
    assert [row["step"] for row in record.steps] == [1, 2, 4]


def test_a_record_keeps_its_id_and_two_have_different_ones(tmp_path: Path) -> None:
    """Also where everything else is equal; records of earlier releases have one too."""
    first, second = make_run(tmp_path), make_run(tmp_path)

    assert first.id == RunRecord.open(first.folder).id
    assert first.id != second.id
    old = tmp_path / "old"
    old.mkdir()
    (old / "run.json").write_text('{"name": "old", "settings": {}, "facts": {}}')
    assert RunRecord.open(old).id == RunRecord.open(old).id
    assert len(RunRecord.open(old).id) == len(first.id)


def test_a_run_has_ended_when_it_said_so_or_its_bundle_is_there(tmp_path: Path) -> None:
    """A run that was killed before its bundle is still open."""
    record = make_run(tmp_path)
    assert record.end is None

    record.bundle.mkdir()
    (record.bundle / "bundle.json").write_text("{}")
    assert record.end is not None
    assert record.end[0] == "FINISHED"

    record.finish("FAILED")
    assert record.end[0] == "FAILED"
    with pytest.raises(ValueError, match="DONE"):
        record.finish("DONE")


def test_a_record_names_its_parent(tmp_path: Path) -> None:
    """By the folder beside it."""
    parent = RunRecord.create(tmp_path, "folds", {}, FACTS)

    assert make_run(tmp_path, parent=parent).parent == parent
    assert parent.parent is None


def test_predictions_come_back_exactly(tmp_path: Path) -> None:
    """Every number, in the order of the ids."""
    record = make_run(tmp_path)
    said = predictions(images(40, "test")[::-1], skill=1 / 3)

    record.write_predictions("test", said)
    read = record.read_predictions("test")

    assert read is not None
    assert read.isic_ids.tolist() == sorted(read.isic_ids.tolist())
    assert read.codes == said.codes
    for name in ("isic_ids", "lesions", "labels", "probabilities"):
        assert np.array_equal(getattr(read, name), getattr(said, name))
    assert record.read_predictions("validation") is None


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "",
        lambda text: text.replace("isic_id", "name"),
        lambda text: text.splitlines()[0],
        lambda text: text.replace(",MEL,", ",XYZ,", 1),
        lambda text: text[: text.rindex(",")],
        lambda text: text.replace("0.1", "many"),
    ],
)
def test_damaged_predictions_are_named(tmp_path: Path, change: object) -> None:
    """Never half of them."""
    path = write_predictions(predictions(images(16, "test"), skill=0.2), tmp_path / "test.csv")
    assert callable(change)
    path.write_text(change(path.read_text()))

    with pytest.raises(LesionError, match=r"test\.csv") as caught:
        read_predictions(path)

    assert caught.value.code == "bad_predictions"


def test_a_run_without_a_bundle_says_how_to_get_one(tmp_path: Path) -> None:
    """Whatever asks for it: to register the run, or to compare it."""
    record = RunRecord.create(tmp_path / "my runs", "one", {}, {})

    with pytest.raises(LesionError, match=r"lesion-train fit --data DIR --resume '.*my runs/") as refused:
        record.read_bundle()

    assert refused.value.code == "no_bundle"
