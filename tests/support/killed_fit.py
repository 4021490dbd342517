"""A program: one whole run of ``fit``, and one that is killed several times and goes on each time.

It forks its runs, so that torch is imported once. Prints one JSON object: ``whole`` and ``killed``, what their records
hold at the end, and ``ended_by``, the signals that ended the second one on the way.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import attrs

from lesion_core.bundle import WEIGHTS, load_bundle
from lesion_core.datasets.synthetic import write_synthetic_dataset
from lesion_core.workspace import Workspace
from lesion_train.config import TrainConfig
from lesion_train.fit import fit
from lesion_train.record import RunRecord

EPOCHS = 3
KILLS = 3
NO_SERVER = "http://127.0.0.1:9"


def config(data: Path) -> TrainConfig:
    """Small, with a checkpoint after every step."""
    return TrainConfig(
        data=data,
        pretrained="none",
        input_size_px=32,
        epochs=EPOCHS,
        batch_size=8,
        threads=1,
        device="cpu",
        onnx=False,
        validation_fraction=0.2,
        test_fraction=0.0,
        checkpoint_minutes=0,
    )


def run(data: Path, home: Path, *, killed_at: int | None) -> int:
    """Fork a run, a new one or that of the folder; the signal that ended it, or 0."""
    process = os.fork()
    if process == 0:
        status = 1
        try:
            add_step = RunRecord.add_step

            def die_in_step(self: RunRecord, step: int, metrics: dict[str, float]) -> None:
                add_step(self, step, metrics)
                if killed_at is not None and step >= killed_at:
                    os.kill(os.getpid(), signal.SIGKILL)

            RunRecord.add_step = die_in_step  # type: ignore[method-assign]
            begun = record_of(home)
            settings = config(data) if begun is None else attrs.evolve(config(data), split=begun.split)
            fit(settings, Workspace(home), tracking_uri=NO_SERVER, resume=begun, register=False)
            status = 0
        finally:
            os._exit(status)
    return os.WTERMSIG(os.waitpid(process, 0)[1])


def record_of(home: Path) -> RunRecord | None:
    """The one run of a workspace, where it has begun."""
    found = list((home / "runs").glob("*"))
    return RunRecord(found[0]) if found else None


def described(home: Path) -> dict[str, Any]:
    """What the record of the one run holds."""
    record = record_of(home)
    assert record is not None
    manifest = load_bundle(record.bundle).manifest
    return {
        "weights": manifest.files[WEIGHTS],
        "metrics": {name: str(value) for name, value in manifest.training.metrics.items()},
        "epochs": [row["epoch"] for row in record.epochs],
        "steps": [row["step"] for row in record.steps],
        "end": record.end[0] if record.end else None,
        "left": [path.name for path in record.checkpoints.glob("*")],
    }


def main(folder: Path) -> None:
    """One run is left alone, the other killed in its 10th, 20th and 30th step, of which the record has a row each."""
    data = write_synthetic_dataset(folder / "data", images_per_class=15, side_px=40)
    run(data, folder / "whole", killed_at=None)
    ended_by = [run(data, folder / "killed", killed_at=10 * number) for number in range(1, KILLS + 1)]
    run(data, folder / "killed", killed_at=None)
    both = {name: described(folder / name) for name in ("whole", "killed")}
    print(json.dumps({**both, "ended_by": ended_by}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
