"""Bring MLflow up to date with a run's record. Every call is safe to repeat, after a crash at any point as well.

What is missing is found out from the server, never from a note of ours, which a crash could leave behind the truth:
a run carries its record's id as a tag from the request that makes it, and a row of a metric is known by its name,
time and step. Within one process, rows whose arrival the server confirmed are not asked for again; after any failure
they are.
"""

from __future__ import annotations

import random
import shlex
import time
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import attrs
from filelock import FileLock, Timeout
from mlflow.entities import Metric, RunTag, ViewType
from mlflow.tracking import MlflowClient

from lesion_core.address import without_password
from lesion_core.workspace import Workspace
from lesion_train.record import RunRecord
from lesion_train.tracking.client import TrackingError, connect, experiment_id, is_conflict, named_errors
from lesion_train.tracking.files import send_files
from lesion_train.tracking.rows import (
    CONTEXT_TAG,
    RECORD_TAG,
    Position,
    inputs_of,
    metrics_after,
    params_of,
    tags_of,
)

LOCK_TIMEOUT_S = 10.0
CONFLICT_ATTEMPTS = 6
_Item = TypeVar("_Item")
_MOST_METRICS, _MOST_PARAMS = 1000, 100  # of one request


@attrs.frozen(kw_only=True)
class Sent:
    """What one call sent: how many rows of metrics, settings and tags, data sets and files."""

    metrics: int = 0
    params_and_tags: int = 0
    inputs: int = 0
    files: int = 0

    def __str__(self) -> str:
        shown = {
            "rows of metrics": self.metrics,
            "settings and tags": self.params_and_tags,
            "data sets": self.inputs,
            "files": self.files,
        }
        return ", ".join(f"{count} {name}" for name, count in shown.items() if count) or "nothing was missing"


class Mirror:
    """Mirrors one record to one server or database."""

    def __init__(self, record: RunRecord, tracking_uri: str, workspace: Workspace) -> None:
        self.record = record
        self.uri = tracking_uri
        self.workspace = workspace
        self._connected: MlflowClient | None = None
        self._confirmed: tuple[str, Position] | None = None  # id of the run at the server, and what arrived there

    @property
    def client(self) -> MlflowClient:
        """The client, connected when it is first needed."""
        if self._connected is None:
            self._connected = connect(self.uri, self.workspace)
        return self._connected

    def sync_rows(self) -> Sent:
        """Send new rows of metrics; the first time also the settings, tags and data sets. Quick: no files.

        Raises:
            TrackingError: MLflow is out of reach or refuses, or another process is sending this run.
        """
        with self._exclusive():
            return self._send_patiently(with_files=False)[1]

    def sync(self) -> tuple[str, Sent]:
        """Send all that is missing at the server, files and the end of the run as well.

        Returns:
            The id of the run at the server, and what was sent.
        Raises:
            TrackingError: as for ``sync_rows``.
        """
        with self._exclusive():
            self._confirmed = None
            return self._send_patiently(with_files=True)

    def _send_patiently(self, *, with_files: bool) -> tuple[str, Sent]:
        """Again where another trainer wrote at the same moment: MLflow does not settle every such race itself."""
        for attempt in range(CONFLICT_ATTEMPTS):
            try:
                return self._send(with_files=with_files)
            except TrackingError as error:
                if attempt + 1 == CONFLICT_ATTEMPTS or not is_conflict(error):
                    raise
                time.sleep(random.uniform(0.05, 0.2) * 2**attempt)
        raise AssertionError("the last attempt returns or raises")

    def _send(self, *, with_files: bool) -> tuple[str, Sent]:
        """The lock is held."""
        hint = f"Nothing is lost: send it later with: lesion-train sync {shlex.quote(str(self.record.folder))}"
        try:
            with named_errors(self.uri, hint):
                if self._confirmed is None:
                    run_id, position, sent = self._reconcile()
                else:
                    run_id, position, sent = *self._confirmed, Sent()
                    rows, position = metrics_after(self.record, position)
                    send_metrics(self.client, run_id, rows)
                    sent = Sent(metrics=len(rows))
                if with_files:
                    sent = attrs.evolve(sent, files=send_files(self.client, run_id, self.record))
                    self._end(run_id)
        except BaseException:
            self._confirmed = None
            raise
        self._confirmed = run_id, position
        return run_id, sent

    def _reconcile(self) -> tuple[str, Position, Sent]:
        """Compare with the server, and send the difference."""
        client, record = self.client, self.record
        run_id = self._find() or self._create()
        run = client.get_run(run_id)
        if run.info.status != "RUNNING" and record.end is None and not record.was_killed:
            client.update_run(run_id, status="RUNNING")  # it was interrupted, and goes on
        params = [param for param in params_of(record) if param.key not in run.data.params]
        wanted = {**tags_of(record), **self._parent_tag()}
        tags = [RunTag(key, value) for key, value in wanted.items() if run.data.tags.get(key) != value]
        for some in batches(params, _MOST_PARAMS):
            client.log_batch(run_id, params=some)
        for chosen in batches(tags, _MOST_PARAMS):
            client.log_batch(run_id, tags=chosen)
        there_already = run.inputs.dataset_inputs if run.inputs else []
        known = {(item.dataset.name, item.dataset.digest, _context(item)) for item in there_already}
        inputs = [
            item for item in inputs_of(record) if (item.dataset.name, item.dataset.digest, _context(item)) not in known
        ]
        if inputs:
            client.log_inputs(run_id, inputs)
        rows, position = metrics_after(record, Position())
        names = {row.key for row in rows} & run.data.metrics.keys()
        there = {
            (row.key, row.timestamp, row.step) for name in names for row in client.get_metric_history(run_id, name)
        }
        missing = [row for row in rows if (row.key, row.timestamp, row.step) not in there]
        send_metrics(client, run_id, missing)
        sent = Sent(metrics=len(missing), params_and_tags=len(params) + len(tags), inputs=len(inputs))
        return run_id, position, sent

    def _find(self) -> str | None:
        """Id of this record's run; a second one, made because an answer was lost on its way, is deleted."""
        experiment = experiment_id(self.client, self.uri, self.workspace)
        found = self.client.search_runs(
            [experiment], f"tags.`{RECORD_TAG}` = '{self.record.id}'", run_view_type=ViewType.ALL
        )
        active = [run for run in found if run.info.lifecycle_stage == "active"]
        if found and not active:
            raise TrackingError(
                f"Run {self.record.folder.name} was deleted in MLflow at {without_password(self.uri)} and is not "
                f"sent again. Bring it back with 'mlflow runs restore --run-id {found[0].info.run_id}'."
            )
        fullest_first = sorted(active, key=lambda run: (-len(run.data.metrics), str(run.info.run_id)))
        for other in fullest_first[1:]:
            self.client.delete_run(other.info.run_id)
        return str(fullest_first[0].info.run_id) if active else None

    def _create(self) -> str:
        content = self.record.description
        made = self.client.create_run(
            experiment_id(self.client, self.uri, self.workspace),
            start_time=content.get("started_ms"),
            run_name=content["name"],
            tags=tags_of(self.record),
        )
        return self._find() or str(made.info.run_id)

    def _parent_tag(self) -> dict[str, str]:
        """The tag that nests this run; the parent's run is made first where it is missing."""
        parent = self.record.parent
        if parent is None:
            return {}
        above = Mirror(RunRecord.open(parent.folder), self.uri, self.workspace)
        above._connected = self.client
        with above._exclusive():
            return {"mlflow.parentRunId": above._find() or above._create()}

    def _end(self, run_id: str) -> None:
        info = self.client.get_run(run_id).info
        if self.record.end is None:
            if self.record.was_killed and info.status != "KILLED":
                self.client.set_terminated(run_id, "KILLED")
            return
        status, time_ms = self.record.end
        if (info.status, info.end_time) != (status, time_ms):
            self.client.set_terminated(run_id, status, time_ms)

    def _exclusive(self) -> Any:
        """One sender of a record at a time: two that compare with the server at once would both send the difference."""
        lock = FileLock(self.record.folder / "mlflow.lock", timeout=LOCK_TIMEOUT_S)
        try:
            return lock.acquire()
        except Timeout as error:
            raise TrackingError(
                f"Run {self.record.folder} is being sent to MLflow by another process or thread; try again later."
            ) from error


def send_metrics(client: MlflowClient, run_id: str, rows: Sequence[Metric]) -> None:
    """Send rows, as many requests as it takes."""
    for some in batches(rows, _MOST_METRICS):
        client.log_batch(run_id, metrics=some)


def batches(items: Sequence[_Item], size: int) -> Iterable[Sequence[_Item]]:
    """``items`` in order, at most ``size`` at a time."""
    return (items[start : start + size] for start in range(0, len(items), size))


def _context(item: Any) -> str:
    tags: Iterable[Any] = item.tags
    return next((str(tag.value) for tag in tags if tag.key == CONTEXT_TAG), "")
