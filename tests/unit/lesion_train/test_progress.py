"""What a run writes down while it trains."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from lesion_core.workspace import Workspace
from lesion_train.progress import STEPS_A_ROW, ProgressRecorder
from lesion_train.record import RunRecord
from lesion_train.tracking import BackgroundMirror, Mirror


@pytest.fixture
def record(tmp_path: Path) -> RunRecord:
    return RunRecord.create(tmp_path / "runs", "drawn", {}, {})


def recorder(record: RunRecord, tmp_path: Path) -> ProgressRecorder:
    background = BackgroundMirror(Mirror(record, "unused", Workspace(tmp_path)), clock=lambda: -1.0)  # never sends
    return ProgressRecorder(record, background, epochs=3)


def test_a_row_of_steps_is_the_mean_of_their_losses(record: RunRecord, tmp_path: Path) -> None:
    """And the learning rate of the last of them."""
    progress = recorder(record, tmp_path)

    for step in range(1, 2 * STEPS_A_ROW + 5):
        progress.add_step(step, {"loss": float(step), "learning_rate": step / 100})

    rows = [(row["step"], row["loss"], row["learning_rate"]) for row in record.steps]
    assert rows == [(10, 5.5, 0.10), (20, 15.5, 0.20)]


def test_an_epoch_is_one_line_of_the_log(record: RunRecord, tmp_path: Path) -> None:
    """An event with what it reached, for people and machines."""
    with capture_logs() as events:
        recorder(record, tmp_path).add_epoch(2, {"train_loss": 0.123456})

    assert events == [{"event": "epoch_done", "log_level": "info", "epoch": 2, "of": 3, "train_loss": 0.1235}]


def test_what_is_done_again_after_an_interruption_is_written_once(record: RunRecord, tmp_path: Path) -> None:
    """A run goes on from its checkpoint, which is older than its record."""
    before = recorder(record, tmp_path)
    for step in range(1, STEPS_A_ROW + 1):
        before.add_step(step, {"loss": 1.0, "learning_rate": 0.1})
    before.add_epoch(1, {"train_loss": 1.0})

    after = recorder(record, tmp_path)
    for step in range(1, 2 * STEPS_A_ROW + 1):
        after.add_step(step, {"loss": 1.0, "learning_rate": 0.1})
    after.add_epoch(1, {"train_loss": 1.0})
    after.add_epoch(2, {"train_loss": 0.5})

    assert [row["step"] for row in record.steps] == [10, 20]
    assert [row["epoch"] for row in record.epochs] == [1, 2]
