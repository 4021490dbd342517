"""The local record of a run: written first and always; MLflow only mirrors it.

run.json            id, name, parent, user, start, settings, facts, identity; never changes
config.toml         the settings again, for 'lesion-train fit --config'
split.csv           which image was trained on, which was held out
earlier/*.csv       the splits of the runs whose weights it started from, one after another
taxonomy.toml       diagnoses of one's own, where --taxonomy gave some
epochs.jsonl        metrics, one line an epoch
steps.jsonl         metrics of some steps of the optimiser, one line a step
system.jsonl        load and memory of the machine, one line a sample
ensemble.json       of a choice among cross-validated models: their weights
scores.json         final scores of a run without a bundle, such as a cross-validation
predictions/*.csv   probabilities of the held-out images; see ``predictions``
checkpoints/        what an interrupted run goes on from
searchers/*.lock    of a search for settings: held by the programs that take part in it
report/             page, numbers and figures of the evaluation on the test part
bundle/             the model
run.lock            held by the program that trains it
end.json            how the run ended, and when
"""

from __future__ import annotations

import getpass
import hashlib
import json
import shlex
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import cattrs
from filelock import BaseFileLock, FileLock, Timeout

from lesion_core.bundle import Bundle, load_bundle
from lesion_core.durable import write_whole
from lesion_core.errors import LesionError
from lesion_core.interval import Interval
from lesion_train.predictions import Predictions, read_predictions, write_predictions

STATUSES = ("FINISHED", "FAILED", "KILLED")
LOCK = "run.lock"


@attrs.frozen
class RunRecord:
    """A folder that holds one run."""

    folder: Path

    @classmethod
    def create(
        cls,
        runs: Path,
        name: str,
        settings: dict[str, Any],
        facts: dict[str, str],
        *,
        identity: Mapping[str, str] | None = None,
        parent: RunRecord | None = None,
    ) -> RunRecord:
        """Make a new folder below ``runs``; its name starts with the time (UTC).

        Args:
            runs: folder of all runs.
            name: end of the folder's name.
            settings: of the run.
            facts: digests and other facts, as text.
            identity: see ``identity``.
            parent: the run that this one is a part of, such as the k folds of a cross-validation; also below ``runs``.
        """
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        name = name.replace(":", "-")  # of timm:MODEL; not every file system has it
        folder, suffix = runs / f"{stamp}-{name}", 1
        while True:
            try:
                folder.mkdir(parents=True)
                break
            except FileExistsError:
                suffix += 1
                folder = runs / f"{stamp}-{name}-{suffix}"
        record = cls(folder)
        content = {
            "id": uuid.uuid4().hex,
            "name": folder.name,
            "parent": parent.folder.name if parent else None,
            "user": user_name(),
            "started_ms": _now_ms(),
            "settings": settings,
            "facts": facts,
            "identity": None if identity is None else dict(identity),
        }
        write_whole(folder / "run.json", json.dumps(content, indent=2, sort_keys=True))
        return record

    @classmethod
    def open(cls, folder: Path) -> RunRecord:
        """A record that is there.

        Raises:
            LesionError: ``no_run``: the folder is not a recorded run.
        """
        if not (folder / "run.json").is_file():
            raise LesionError(
                f"{folder} is not a recorded run: it has no run.json. Runs are in .lesion/runs.", code="no_run"
            )
        return cls(folder.resolve())

    @property
    def bundle(self) -> Path:
        """Folder of the bundle."""
        return self.folder / "bundle"

    def read_bundle(self) -> Bundle:
        """What is in ``bundle``, verified.

        Raises:
            LesionError: ``no_bundle``: the run did not end, or is a study, whose runs have the bundles.
            BundleError: it is damaged.
        """
        if not self.bundle.exists():
            raise LesionError(
                f"{self.folder.name} has no bundle: it did not end, or is a study, whose runs have the bundles. One "
                f"that did not end goes on with: lesion-train fit --data DIR --resume {shlex.quote(str(self.folder))}",
                code="no_bundle",
            )
        return load_bundle(self.bundle)

    @property
    def config(self) -> Path:
        """TOML file of the settings; see ``config_file.to_toml``."""
        return self.folder / "config.toml"

    @property
    def split(self) -> Path:
        """CSV file of the images and the parts they are in; see ``lesion_core.frozen_split.read_parts``."""
        return self.folder / "split.csv"

    @property
    def earlier(self) -> Path:
        """Folder of the splits that the starting weights were trained on; only where they are of runs of ours."""
        return self.folder / "earlier"

    @property
    def earlier_splits(self) -> tuple[Path, ...]:
        """The files in it, the latest first."""
        return tuple(sorted(self.earlier.glob("*.csv"), key=lambda path: int(path.stem)))

    @property
    def taxonomy(self) -> Path:
        """TOML file of the diagnoses; only where they are not those of ISIC 2019."""
        return self.folder / "taxonomy.toml"

    @property
    def ensemble(self) -> Path:
        """JSON file of the weights; see ``ensemble.keep_ensemble``."""
        return self.folder / "ensemble.json"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints, while the run is not complete."""
        return self.folder / "checkpoints"

    @property
    def searchers(self) -> Path:
        """Folder of the locks of the programs that take part in a search; see ``lost_trials``."""
        return self.folder / "searchers"

    @property
    def report(self) -> Path:
        """Folder of the evaluation; see ``evaluation.run.write_evaluation``."""
        return self.folder / "report"

    @property
    def predictions(self) -> Path:
        """Folder of the predictions."""
        return self.folder / "predictions"

    @property
    def description(self) -> dict[str, Any]:
        """Content of ``run.json``: ``name``, ``settings``, ``facts`` and what ``create`` adds.

        Raises:
            LesionError: ``bad_record``: it cannot be read.
        """
        try:
            content: dict[str, Any] = json.loads(self._description)
        except ValueError as error:
            raise LesionError(
                f"{self.folder / 'run.json'} is damaged ({error}). Bring it back from a backup, or remove the folder.",
                code="bad_record",
            ) from error
        return content

    @property
    def _description(self) -> bytes:
        return (self.folder / "run.json").read_bytes()

    @property
    def id(self) -> str:
        """Names this run at every server, whoever sends it: 32 hexadecimal digits."""
        # Records of earlier releases have no id; their content never changes either.
        return str(self.description.get("id") or hashlib.sha256(self._description).hexdigest()[:32])

    @property
    def identity(self) -> dict[str, str] | None:
        """What it can only go on with, see ``continuing.run_identity``; ``None`` in records of earlier releases."""
        identity: dict[str, str] | None = self.description.get("identity")
        return identity

    @property
    def parent(self) -> RunRecord | None:
        """The run that this one is a part of."""
        name = self.description.get("parent")
        return RunRecord(self.folder.parent / name) if name else None

    def children(self) -> Iterator[RunRecord]:
        """The runs that are a part of this one, the newest first."""
        for folder in sorted(self.folder.parent.iterdir(), reverse=True):
            record = RunRecord(folder)
            if (folder / "run.json").is_file() and record.description.get("parent") == self.folder.name:
                yield record

    def lock(self) -> BaseFileLock:
        """Be alone with the run, until the lock is released or this program ends.

        Raises:
            LesionError: ``run_in_use``.
        """
        lock = FileLock(self.folder / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise LesionError(
                f"Another program trains {self.folder.name} at this moment. Wait for its end, or stop it first.",
                code="run_in_use",
            ) from error
        return lock

    @property
    def was_killed(self) -> bool:
        """Whether the program that trained it is gone and could not say so."""
        if self.end is not None or not (self.folder / LOCK).is_file():
            return False
        try:
            self.lock().release()
        except LesionError:
            return False
        return True

    def add_epoch(self, epoch: int, metrics: dict[str, float]) -> None:
        """Append one epoch, with the time in milliseconds."""
        self._append("epochs.jsonl", {"epoch": epoch, "time_ms": _now_ms(), **metrics})

    def add_step(self, step: int, metrics: dict[str, float]) -> None:
        """Append one step of the optimiser, counted over all epochs, with the time in milliseconds."""
        self._append("steps.jsonl", {"step": step, "time_ms": _now_ms(), **metrics})

    def add_system(self, sample: int, metrics: dict[str, float]) -> None:
        """Append one sample of the machine's load, with the time in milliseconds."""
        self._append("system.jsonl", {"sample": sample, "time_ms": _now_ms(), **metrics})

    @property
    def epochs(self) -> list[dict[str, float]]:
        """All epochs so far."""
        return self._rows("epochs.jsonl")

    @property
    def steps(self) -> list[dict[str, float]]:
        """All recorded steps so far."""
        return self._rows("steps.jsonl")

    @property
    def system(self) -> list[dict[str, float]]:
        """All samples of the machine's load so far."""
        return self._rows("system.jsonl")

    def write_scores(self, scores: Mapping[str, Interval]) -> None:
        """Keep the final scores of a run that has no bundle to keep them in."""
        text = json.dumps(cattrs.unstructure(dict(scores)), indent=2, sort_keys=True)
        write_whole(self.folder / "scores.json", text + "\n")

    @property
    def scores(self) -> dict[str, Interval]:
        """What ``write_scores`` wrote; empty where it did not."""
        path = self.folder / "scores.json"
        return cattrs.structure(json.loads(path.read_text()), dict[str, Interval]) if path.is_file() else {}

    def write_predictions(self, part: str, predictions: Predictions) -> Path:
        """Keep what the model says of a held-out part, or ``OUT_OF_FOLD``; replaces an earlier one."""
        self.predictions.mkdir(exist_ok=True)
        return write_predictions(predictions, self.predictions / f"{part}.csv")

    def read_predictions(self, part: str) -> Predictions | None:
        """What ``write_predictions`` wrote, or ``None`` where it did not.

        Raises:
            LesionError: ``bad_predictions``: the file is damaged.
        """
        path = self.predictions / f"{part}.csv"
        return read_predictions(path) if path.is_file() else None

    def finish(self, status: str = "FINISHED") -> None:
        """Note that the run ended now: ``FINISHED``, ``FAILED`` or ``KILLED``."""
        if status not in STATUSES:
            raise ValueError(f"status {status!r} is none of {', '.join(STATUSES)}")
        write_whole(self.folder / "end.json", json.dumps({"status": status, "time_ms": _now_ms()}))

    def go_on(self) -> None:
        """Note that an interrupted run goes on: it has not ended yet."""
        (self.folder / "end.json").unlink(missing_ok=True)

    @property
    def end(self) -> tuple[str, int] | None:
        """How and when (milliseconds) the run ended; ``None`` while it goes on.

        A run whose bundle is complete has finished, also where it could not say so any more.
        """
        path, manifest = self.folder / "end.json", self.bundle / "bundle.json"
        if path.is_file():
            content = json.loads(path.read_text())
            return content["status"], content["time_ms"]
        return ("FINISHED", int(manifest.stat().st_mtime * 1000)) if manifest.is_file() else None

    def _append(self, name: str, row: dict[str, float]) -> None:
        with (self.folder / name).open("ab+") as stream:
            stream.seek(max(0, stream.seek(0, 2) - 1))
            is_cut = stream.read(1) not in (b"", b"\n")  # by a crash, in the middle of a line
            stream.write(b"\n" * is_cut + json.dumps(row).encode() + b"\n")

    def _rows(self, name: str) -> list[dict[str, float]]:
        path = self.folder / name
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line) for line in lines if line.endswith("}")]  # others were cut by a crash


def user_name() -> str:
    """Who runs this program, as the system knows them."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number that has no name
        return "unknown"


def _now_ms() -> int:
    return int(time.time() * 1000)
