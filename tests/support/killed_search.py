"""A program: a search for settings that is killed in its only trial, with a stand-in for training."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna

from lesion_core.interval import Interval
from lesion_core.workspace import Workspace
from lesion_train.config import TrainConfig
from lesion_train.record import RunRecord
from lesion_train.tune import Study, tune

SPACE = {"balance": optuna.distributions.FloatDistribution(0.0, 1.0)}
NO_SERVER = "http://127.0.0.1:9"


def search(home: Path, run: Callable[..., Any]) -> Study:
    """Search for one trial, with ``run`` in the place of ``fit``."""
    return tune(
        TrainConfig(data=Path("images"), threads=1),
        SPACE,
        Workspace(home),
        name="killed",
        trials=1,
        data_digest="d",
        split_digest="s",
        tracking_uri=NO_SERVER,
        run=run,
    )


def trained(record: RunRecord) -> Any:
    """What ``fit`` would give."""
    return SimpleNamespace(record=record, metrics={"val_bma": Interval(value=0.5, low=0.4, high=0.6, confidence=0.95)})


def die(config: TrainConfig, workspace: Workspace, *, parent: RunRecord, **_: Any) -> None:
    """Train up to the first checkpoint."""
    record = RunRecord.create(workspace.runs, "trial", {"balance": config.balance}, {}, parent=parent)
    record.lock()
    record.checkpoints.mkdir()
    (record.checkpoints / "step-00000001-0123456789abcdef.safetensors").write_bytes(b"")
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    search(Path(sys.argv[1]), die)
