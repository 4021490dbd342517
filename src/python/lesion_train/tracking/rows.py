"""What MLflow should hold of a run, read from its record: a pure function of the record, whoever sends it and when."""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from datetime import datetime

import attrs
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param

from lesion_core.bundle import load_bundle
from lesion_train.record import RunRecord
from lesion_train.tracking.client import EXPERIMENT

RECORD_TAG = "lesion.record_id"
CONTEXT_TAG = "mlflow.data.context"
_SOURCE_FACTS = ("dataset", "data_digest", "split_digest", "git_revision")
_LONGEST_PARAM, _LONGEST_TAG, _LONGEST_DATASET_DIGEST = 6000, 8000, 36


@attrs.frozen(kw_only=True)
class Position:
    """How far the files of rows were read."""

    epochs: int = 0
    steps: int = 0
    system: int = 0
    has_final: bool = False


def metrics_after(record: RunRecord, position: Position) -> tuple[list[Metric], Position]:
    """The rows that a position does not cover, and the position after them.

    Names: of an epoch as they are, of a step ``step/<name>``, of the machine ``system/<name>``, which MLflow's page has
    a tab for; the final scores as they are, with ``_low`` and ``_high``.
    """
    epochs, steps, system = record.epochs, record.steps, record.system
    rows = [
        Metric(f"{prefix}{key}", float(value), int(row["time_ms"]), int(row[counter]))
        for prefix, counter, lines in (
            ("", "epoch", epochs[position.epochs :]),
            ("step/", "step", steps[position.steps :]),
            ("system/", "sample", system[position.system :]),
        )
        for row in lines
        for key, value in row.items()
        if key not in (counter, "time_ms")
    ]
    has_final = record.bundle.is_dir() or bool(record.scores)
    if has_final and not position.has_final:
        rows += _final_metrics(record, epochs)
    return rows, Position(epochs=len(epochs), steps=len(steps), system=len(system), has_final=has_final)


def _final_metrics(record: RunRecord, epochs: list[dict[str, float]]) -> list[Metric]:
    """The final scores, at the last epoch and after it: MLflow shows the latest of a name as its value."""
    last_epoch, last_ms = (int(epochs[-1]["epoch"]), int(epochs[-1]["time_ms"])) if epochs else (0, 0)
    scores, time_ms = record.scores, int(record.description["started_ms"])
    if record.bundle.is_dir():
        facts = load_bundle(record.bundle).manifest.training
        scores, time_ms = facts.metrics, int(datetime.fromisoformat(facts.created_at).timestamp() * 1000)
    return [
        Metric(f"{key}{suffix}", value, max(time_ms, last_ms + 1), last_epoch)
        for key, interval in scores.items()
        for suffix, value in (("", interval.value), ("_low", interval.low), ("_high", interval.high))
    ]


def params_of(record: RunRecord) -> list[Param]:
    """The settings, as text."""
    return [Param(key, str(value)[:_LONGEST_PARAM]) for key, value in record.description["settings"].items()]


def tags_of(record: RunRecord) -> dict[str, str]:
    """The facts, and what MLflow's page shows of a run: user, source, revision."""
    content = record.description
    facts: dict[str, str] = content["facts"]
    tags = {
        **facts,
        RECORD_TAG: record.id,
        "mlflow.runName": content["name"],
        "mlflow.user": content.get("user", "unknown"),
        "mlflow.source.name": "lesion-train fit",
        "mlflow.source.type": "LOCAL",
    }
    if facts.get("git_revision", "unknown") != "unknown":
        tags["mlflow.source.git.commit"] = facts["git_revision"].removesuffix("-dirty")
    return {key: str(value)[:_LONGEST_TAG] for key, value in tags.items()}


def inputs_of(record: RunRecord) -> list[DatasetInput]:
    """One input a part of the split; its digest is of the data's digest and the part's ids, so it names the images."""
    if not record.split.is_file():
        return []
    facts = record.description["facts"]
    with record.split.open(newline="", encoding="utf-8") as stream:
        stream.readline()  # the digest of the split
        rows = list(csv.DictReader(stream))
    inputs = []
    for part in sorted({row["part"] for row in rows}):
        mine = sorted((row for row in rows if row["part"] == part), key=lambda row: row["image"])
        ids = "\n".join([str(facts.get("data_digest", "")), *(row["image"] for row in mine)])
        profile = {
            "images": len(mine),
            "lesions": len({row["lesion_id"] for row in mine}),
            "images_per_class": dict(sorted(Counter(row["diagnosis"] for row in mine).items())),
        }
        dataset = Dataset(
            name=f"{facts.get('dataset', EXPERIMENT)} ({part})",
            digest=hashlib.sha256(ids.encode()).hexdigest()[:_LONGEST_DATASET_DIGEST],
            # A name and digests: a path may name a person, and says nothing elsewhere. MLflow's own type for data
            # without an address is "code": tags of the program that read it.
            source_type="code",
            source=json.dumps({"tags": {key: facts[key] for key in _SOURCE_FACTS if key in facts}}),
            schema=json.dumps({"mlflow_colspec": [{"name": "image", "type": "binary", "required": True}]}),
            profile=json.dumps(profile),
        )
        inputs.append(DatasetInput(dataset=dataset, tags=[InputTag(CONTEXT_TAG, part)]))
    return inputs
