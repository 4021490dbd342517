"""k models, each of which is asked about the lesions that it was not trained on."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from lesion_core.datasets import read_dataset
from lesion_core.datasets.synthetic import write_synthetic_dataset
from lesion_core.errors import LesionError
from lesion_core.frozen_split import read_parts
from lesion_core.splits import TEST
from lesion_core.workspace import Workspace
from lesion_train.config import TrainConfig
from lesion_train.cross_validation import LABEL_ISSUES, CrossValidation, cross_validate
from lesion_train.fit import FitResult, fit
from lesion_train.record import RunRecord


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic_dataset(tmp_path_factory.mktemp("data"), images_per_class=16, side_px=64)


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
    again = cross_validate(settings(data), workspace, folds=7, resume=RunRecord.open(whole))

    assert trained == [1, 2]
    assert len(again.fold_bma) == 2
    assert len(list(workspace.runs.iterdir())) == 3


def test_other_data_is_refused(done: CrossValidation, workspace: Workspace, tmp_path: Path) -> None:
    """Before anything is trained."""
    other = write_synthetic_dataset(tmp_path / "other", images_per_class=4, side_px=64, seed=1)

    with pytest.raises(LesionError, match="is not the data of"):
        cross_validate(settings(other), workspace, folds=2, resume=done.record)
