"""What must stay as it was where an interrupted run, search or cross-validation goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from lesion_core.errors import LesionError
from lesion_core.splits import Split
from lesion_plugins.weights import FILE_SUFFIX
from lesion_train.config import TrainConfig
from lesion_train.config_file import without_paths
from lesion_train.provenance import RunFacts

# Settings that change how fast a run is, or where its data is, but not its result.
# The digest says which images are in which part.
WITHOUT_EFFECT = (
    "data",
    "data_license",
    "weights_license",
    "split",
    "fold",
    "onnx",
    "validation_fraction",
    "test_fraction",
    "workers",
    "checkpoint_minutes",
)
DATA_DIGESTS = {"data_digest", "metadata_digest"}


def deciding_settings(settings: Mapping[str, object]) -> dict[str, str]:
    """Those of a run's settings that decide on its result, as text; ``config_file.without_paths`` gives them."""
    return {key: str(value) for key, value in settings.items() if key not in WITHOUT_EFFECT}


def run_identity(config: TrainConfig, facts: RunFacts, split: Split, *, processes: int, device: str) -> dict[str, str]:
    """All that decides on the weights that a run ends with: its record and its checkpoints keep it.

    Args:
        config: with all that the backbone decides written out.
        facts: with the digests of data and split.
        split: its records tell age, sex and site, which the digests leave out.
        processes: that share the work: dropout and mixing differ by process.
        device: ``cpu`` or ``cuda``, whose sums differ.
    """
    settings = deciding_settings(without_paths(config))
    if config.taxonomy is not None:
        settings["taxonomy"] = hashlib.sha256(config.taxonomy.read_bytes()).hexdigest()
    told = [
        (record.isic_id, record.age_approx, record.sex, record.anatom_site_general)
        for records in split.parts.values()
        for record in records
    ]
    return {
        **settings,
        "data_digest": facts.data_digest,
        "split_digest": facts.split_digest,
        "metadata_digest": hashlib.sha256(json.dumps(sorted(told, key=lambda row: row[0])).encode()).hexdigest(),
        "processes": str(processes),
        "device": device,
    }


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    """What is not as it was, by key: ``then → now``."""
    return {
        key: f"{before.get(key, 'not there')} → {now.get(key, 'not there')}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    }


def in_words(changes: Mapping[str, str]) -> str:
    """All of ``differences`` in one line."""
    return "; ".join(f"{key}: {change}" for key, change in changes.items())


def require_same_run(name: str, before: Mapping[str, str], now: Mapping[str, str]) -> None:
    """An interrupted run goes on as it was begun, or its record would tell of another one.

    Args:
        name: of the run.
        before: ``run_identity`` of its beginning.
        now: that of today.
    Raises:
        LesionError: ``other_data``, ``other_settings``: names what has changed.
    """
    changes = differences(before, now)
    if changes:
        raise LesionError(
            f"{name} was begun with other settings or other data: {in_words(changes)}. A run can only go on as it "
            "began: put them back, or begin a new one without --resume.",
            code="other_data" if changes.keys() & DATA_DIGESTS else "other_settings",
        )


def pretrained_digest(config: TrainConfig) -> str:
    """sha256 of the file of weights that training starts from, whose name says little; empty where it is none."""
    path = Path(config.pretrained)
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.suffix == FILE_SUFFIX and path.is_file() else ""


def study_identity(
    config: TrainConfig, *, data_digest: str, split_digest: str | None = None, space: Mapping[str, object] | None = None
) -> dict[str, str]:
    """All that several runs of one study have in common, as text.

    Args:
        config: settings of each of its runs.
        data_digest: of the images.
        split_digest: of the split that they share, where it is not made for the study.
        space: of the settings that are searched, where some are.
    """
    settings = deciding_settings(without_paths(config))
    searched = {f"space of {name}": str(value) for name, value in (space or {}).items()}
    split = {} if split_digest is None else {"split_digest": split_digest}
    weights = {"pretrained_digest": pretrained_digest(config)}
    return {**settings, **searched, **weights, "data_digest": data_digest, **split}


def require_same_study(name: str, before: Mapping[str, str], now: Mapping[str, str], *, instead: str) -> None:
    """A study goes on as it was begun, or its runs could not be compared.

    Args:
        name: of the study.
        before: ``study_identity`` of its beginning.
        now: that of today.
        instead: what to do, other than leaving all as it was.
    Raises:
        LesionError: ``other_data``, ``other_settings``: names what has changed.
    """
    changes = differences(before, now)
    if "data_digest" in changes:
        raise LesionError(
            f"This is not the data of {name}: digest {now['data_digest'][:12]}, then {before['data_digest'][:12]}. "
            f"Give that data, or {instead}.",
            code="other_data",
        )
    if changes:
        raise LesionError(
            f"{name} was begun with other settings: {in_words(changes)}. Leave them as they were, or {instead}.",
            code="other_settings",
        )
