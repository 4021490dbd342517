"""k models, each of which is asked about the lesions that it was not trained on."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from mlflow.tracking import MlflowClient

from lesion_core.datasets import read_dataset
from lesion_core.datasets.synthetic import write_synthetic_dataset
from lesion_core.errors import LesionError, SplitError
from lesion_core.frozen_split import read_parts, write_parts
from lesion_core.processes import child_environment
from lesion_core.splits import TEST, folds_as_parts, k_folds, split_by_lesion
from lesion_core.workspace import Workspace
from lesion_plugins.classifier import build_classifier
from lesion_plugins.registry import BackboneRegistry
from lesion_plugins.weights import weights_to_bytes
from lesion_train.config import Keep, TrainConfig
from lesion_train.cross_validation import LABEL_ISSUES, CrossValidation, chosen_on_held_out, cross_validate
from lesion_train.fit import FitResult, fit
from lesion_train.predictions import OUT_OF_FOLD
from lesion_train.record import RunRecord
from support.mlflow_tables import tables_made_once


@pytest.fixture(autouse=True, scope="module")
def _mlflow_tables() -> Iterator[None]:
    with tables_made_once():
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic_dataset(tmp_path_factory.mktemp("data"), images_per_class=16, side_px=64)


def lesion_train(home: Path, *arguments: str) -> str:
    """What a command of the program prints."""
    done = subprocess.run(
        [sys.executable, "-m", "lesion_train", *arguments],
        env={**child_environment(), "LESION_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def settings(data: Path, **changes: object) -> TrainConfig:
    probe = {"data": data, "linear_probe": True, "input_size_px": 64, "threads": 1, "test_fraction": 0.25}
    return TrainConfig(**{**probe, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def done(data: Path, workspace: Workspace) -> CrossValidation:
    return cross_validate(settings(data), workspace, folds=2)


def test_each_image_is_asked_about_once_but_for_the_test_part(done: CrossValidation, data: Path) -> None:
    """The test part is set apart before, and no fold sees it."""
    parts = read_parts(done.record.split)
    test = {image for image, part in parts.items() if part == TEST}

    assert sorted(done.predictions.isic_ids) == sorted(set(parts) - test)
    assert set(parts) == {record.isic_id for record in read_dataset(data).records}
    assert test


def test_the_scores_of_the_whole_are_in_its_record(done: CrossValidation) -> None:
    """With intervals, beside each fold's own score and the labels to look at."""
    assert done.record.scores == done.scores
    assert [row["fold_bma"] for row in done.record.steps] == list(done.fold_bma)
    assert len(done.fold_bma) == 2
    assert (done.record.report / LABEL_ISSUES).is_file()


def test_the_folds_are_children_in_mlflow_and_are_not_registered(done: CrossValidation, workspace: Workspace) -> None:
    """As a person looks for them: below one run."""
    client = MlflowClient(tracking_uri=workspace.mlflow_database, registry_uri=workspace.mlflow_database)
    experiment = client.get_experiment_by_name("lesion")
    assert experiment is not None
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    parent = runs.pop(done.record.folder.name)

    assert [run.data.tags["mlflow.parentRunId"] for run in runs.values()] == [parent.info.run_id] * 2
    assert parent.data.metrics["out_of_fold_bma"] == done.scores["out_of_fold_bma"].value
    assert parent.info.status == "FINISHED"
    assert client.search_registered_models() == []


def test_an_interrupted_one_goes_on_with_the_folds_that_are_missing(data: Path, tmp_path: Path) -> None:
    """Finished folds are not trained again, and the result is that of an uninterrupted one."""
    workspace = Workspace(tmp_path)
    trained: list[int | None] = []

    def run(config: TrainConfig, *arguments: object, **options: object) -> FitResult:
        if len(trained) == 1 and not options["resume"]:
            trained.append(config.fold)
            raise KeyboardInterrupt
        trained.append(config.fold)
        return fit(config, *arguments, **options)  # type: ignore[arg-type]

    with pytest.raises(KeyboardInterrupt):
        cross_validate(settings(data), workspace, folds=2, run=run)
    whole = next(folder for folder in workspace.runs.iterdir() if folder.name.endswith("-2-fold"))
    ended = RunRecord(whole).end[0]  # type: ignore[index]
    with pytest.raises(LesionError, match="has 2 folds, not 7"):
        cross_validate(settings(data), workspace, folds=7, resume=RunRecord.open(whole))
    again = cross_validate(settings(data), workspace, resume=RunRecord.open(whole))

    assert ended == "KILLED"
    assert trained == [1, 2]
    assert again.record.end is not None
    assert again.record.end[0] == "FINISHED"
    assert len(again.fold_bma) == 2
    assert len(list(workspace.runs.iterdir())) == 3


def test_folds_that_were_frozen_are_taken_as_they_are(data: Path, tmp_path: Path) -> None:
    """So that several models are asked alike, whatever their seed."""
    dataset = read_dataset(data)
    folds = folds_as_parts(k_folds(dataset.records, dataset.taxonomy, folds=3, seed=5))
    write_parts(folds, tmp_path / "folds.csv")

    made = cross_validate(settings(data, split=tmp_path / "folds.csv", seed=9), Workspace(tmp_path / "home"), folds=2)

    assert read_parts(made.record.split) == read_parts(tmp_path / "folds.csv")
    assert len(made.fold_bma) == 3


def test_no_folds_at_all_are_refused_as_one_is(data: Path, tmp_path: Path) -> None:
    """They are not the default number."""
    for folds in (0, 1):
        with pytest.raises(SplitError, match=f"folds must be at least 2, got {folds}"):
            cross_validate(settings(data), Workspace(tmp_path / "home"), folds=folds)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"fold": 1}, "leave --fold out"), ({"split": "parts.csv"}, "has the parts train, validation. A cross-valid")],
)
def test_a_split_without_folds_and_a_single_fold_are_refused(
    data: Path, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    """Neither is a cross-validation, and neither is passed over in silence."""
    dataset = read_dataset(data)
    split = split_by_lesion(dataset.records, dataset.taxonomy, validation_fraction=0.25, seed=0)
    write_parts(split.parts, tmp_path / "parts.csv")
    given = {key: tmp_path / str(value) if key == "split" else value for key, value in changes.items()}

    with pytest.raises(SplitError, match=message):
        cross_validate(settings(data, **given), Workspace(tmp_path / "home"), folds=2)

    assert not (tmp_path / "home" / "runs").exists()


def test_other_settings_are_refused(done: CrossValidation, workspace: Workspace, data: Path) -> None:
    """The folds of one study are of one kind of model; what changes no result may change."""
    with pytest.raises(LesionError, match=r"other settings: balance: 0\.7 → 0\.2; seed: 0 → 3") as caught:
        cross_validate(settings(data, seed=3, balance=0.2), workspace, folds=2, resume=done.record)
    assert caught.value.code == "other_settings"

    again = cross_validate(settings(data, workers=0), workspace, folds=2, resume=done.record)

    assert again.scores == done.scores


def test_one_is_gone_on_with_by_one_program_only(done: CrossValidation, workspace: Workspace, data: Path) -> None:
    """Two would train the same fold."""
    other = done.record.lock()
    try:
        with pytest.raises(LesionError) as caught:
            cross_validate(settings(data), workspace, folds=2, resume=done.record)
    finally:
        other.release()

    assert caught.value.code == "run_in_use"


def test_other_starting_weights_under_the_same_name_are_refused(data: Path, tmp_path: Path) -> None:
    """The folds would be of different models."""
    weights = tmp_path / "start.safetensors"
    model, _ = build_classifier(
        BackboneRegistry.load().get("efficientnet_lite0"), classes=2, input_size_px=64, pretrained="bundled"
    )
    weights.write_bytes(weights_to_bytes(model))
    begun = settings(data, pretrained=str(weights))
    made = cross_validate(begun, Workspace(tmp_path / "home"), folds=2)
    with torch.no_grad():
        model.head.bias.add_(1)
    weights.write_bytes(weights_to_bytes(model))

    with pytest.raises(LesionError, match="other settings: pretrained_digest: ") as caught:
        cross_validate(begun, Workspace(tmp_path / "home"), folds=2, resume=made.record)

    assert caught.value.code == "other_settings"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ["the epoch (not with --keep last)", "the temperature"]),
        ({"keep": Keep.LAST}, ["the temperature"]),
        ({"keep": Keep.LAST, "patience": 2}, ["when to stop (--patience)", "the temperature"]),
        ({"linear_probe": True}, ["the strength of the regularisation", "the temperature"]),
    ],
)
def test_what_was_chosen_on_the_images_that_are_asked_about_is_said(
    changes: dict[str, object], words: list[str]
) -> None:
    """Scores are too good by as much."""
    assert list(chosen_on_held_out(TrainConfig(data=Path("x"), **changes))) == words  # type: ignore[arg-type]


def test_the_command_line_says_scores_and_what_they_are_worth(data: Path, tmp_path: Path) -> None:
    """Two studies on one split, and an ensemble of both, which is a run of its own."""
    home = tmp_path / "home"
    dataset = read_dataset(data)
    write_parts(folds_as_parts(k_folds(dataset.records, dataset.taxonomy, folds=2, seed=0)), tmp_path / "folds.csv")
    options = ["--data", str(data), "--split", str(tmp_path / "folds.csv"), "--linear-probe", "--threads", "1"]

    shown = [lesion_train(home, "cross-validate", *options, "--input-size-px", size) for size in ("64", "32")]
    studies = sorted((home / "runs").glob("*-2-fold*"))
    chosen = lesion_train(home, "ensemble", *map(str, studies))

    assert all("fold 2: BMA" in text for text in shown)
    assert "each fold also chose the strength of the regularisation and the temperature" in shown[0]
    (record,) = [RunRecord(path) for path in (home / "runs").glob("*-ensemble")]
    members = json.loads(record.ensemble.read_text())["members"]
    assert [member["study"] for member in members] == [study.name for study in studies]
    assert sum(member["weight"] for member in members) == pytest.approx(1)
    assert str(record.ensemble) in chosen
    assert record.read_predictions(OUT_OF_FOLD) is not None
    store = MlflowClient(tracking_uri=Workspace(home).mlflow_database)
    experiment = store.get_experiment_by_name("lesion")
    assert experiment is not None
    (run,) = store.search_runs([experiment.experiment_id], "tags.mlflow.runName LIKE '%-ensemble'")
    assert run.data.metrics["out_of_fold_bma"] == record.scores["out_of_fold_bma"].value
    assert "ensemble.json" in {item.path for item in store.list_artifacts(run.info.run_id)}


def test_other_data_is_refused(done: CrossValidation, workspace: Workspace, tmp_path: Path) -> None:
    """Before anything is trained."""
    other = write_synthetic_dataset(tmp_path / "other", images_per_class=4, side_px=64, seed=1)

    with pytest.raises(LesionError, match="is not the data of"):
        cross_validate(settings(other), workspace, folds=2, resume=done.record)
