"""A run's record while it trains: steps and epochs as they come, once each, however often the run was interrupted."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean

import structlog

from lesion_train.record import RunRecord
from lesion_train.tracking import BackgroundMirror

log = structlog.get_logger()

STEPS_A_ROW = 10


class ProgressRecorder:
    """Writes to the record, tells the mirror, and logs a line an epoch.

    A row of steps is the mean loss of ``STEPS_A_ROW`` steps, of fewer after an interruption in their midst, and the
    learning rate of the last one.
    """

    def __init__(self, record: RunRecord, mirror: BackgroundMirror, *, epochs: int) -> None:
        self._record = record
        self._mirror = mirror
        self._of = epochs
        self._last_step = max((int(row["step"]) for row in record.steps), default=0)
        self._last_epoch = max((int(row["epoch"]) for row in record.epochs), default=0)
        self._losses: list[float] = []

    def add_step(self, step: int, metrics: Mapping[str, float]) -> None:
        """A step of the optimiser, counted from 1, with its ``loss`` and ``learning_rate``."""
        self._losses.append(metrics["loss"])
        if step % STEPS_A_ROW:
            return
        row, self._losses = {**metrics, "loss": fmean(self._losses)}, []
        if step > self._last_step:  # else a step that was done before an interruption, and is done again
            self._record.add_step(step, row)
            self._mirror.notify()

    def add_epoch(self, epoch: int, metrics: dict[str, float]) -> None:
        """An epoch, counted from 1."""
        if epoch <= self._last_epoch:
            return
        self._record.add_epoch(epoch, metrics)
        shown = {key: float(f"{value:.4g}") for key, value in metrics.items()}
        log.info("epoch_done", epoch=epoch, of=self._of, **shown)
        self._mirror.notify()
