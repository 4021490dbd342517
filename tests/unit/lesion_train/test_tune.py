"""The search for settings: Optuna's own study, our own runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from mlflow.tracking import MlflowClient

from lesion_core.datasets.synthetic import write_synthetic_dataset
from lesion_core.errors import LesionError
from lesion_core.workspace import Workspace
from lesion_train.config import Augmentation, TrainConfig
from lesion_train.config_file import ConfigError
from lesion_train.fit import RunStoppedError
from lesion_train.record import RunRecord
from lesion_train.tune import read_space, tune

BASE = TrainConfig(data=Path("images"), threads=1)
SPACE = {"balance": optuna.distributions.FloatDistribution(0.0, 1.0)}


def space_of(tmp_path: Path, text: str) -> dict[str, optuna.distributions.BaseDistribution]:
    path = tmp_path / "space.toml"
    path.write_text(text)
    return read_space(path, BASE)


def test_a_space_holds_choices_and_ranges(tmp_path: Path) -> None:
    """Whole numbers stay whole."""
    space = space_of(
        tmp_path,
        'augmentation = ["light", "heavy"]\nlearning_rate = {low = 1e-4, high = 1e-2, log = true}\n'
        "batch_size = {low = 8, high = 32, step = 8}\n",
    )

    assert space["augmentation"] == optuna.distributions.CategoricalDistribution(("light", "heavy"))
    assert space["learning_rate"] == optuna.distributions.FloatDistribution(1e-4, 1e-2, log=True)
    assert space["batch_size"] == optuna.distributions.IntDistribution(8, 32, step=8)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("blance = [0.1]", "balance"),
        ("balance = {low = 0, high = 2}", "balance"),
        ("balance = []", "empty"),
        ("balance = {low = 0.1}", "high"),
        ("balance = 0.1", "list of choices"),
        ("", "names no setting"),
        ("balance =", "not a TOML file"),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused_by_name(tmp_path: Path, text: str, words: str) -> None:
    """Unknown settings, values that a setting cannot have, and half a range."""
    with pytest.raises(ConfigError, match=words):
        space_of(tmp_path, text)


class Trainer:
    """Stands for ``fit``: the score is best at a balance of 0.7; no time is spent."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.seen: list[float] = []

    def __call__(self, config: TrainConfig, *_: object, watch: Callable[..., None], **options: Any) -> Any:
        assert options["register"] is False
        record = RunRecord.create(self.workspace.runs, "trial", {}, {}, parent=options["parent"])
        self.seen.append(config.balance)
        for epoch in (1, 2, 3):
            watch(epoch, {"val_bma": 0.8 - abs(config.balance - 0.7) - 0.1 / epoch})
        return SimpleNamespace(record=record)


def test_the_best_trial_is_found_and_named_with_its_run(tmp_path: Path) -> None:
    """Trials that are worse than the others' median are stopped early."""
    workspace = Workspace(tmp_path)
    trainer = Trainer(workspace)

    study = tune(BASE, SPACE, workspace, name="balance", trials=12, run=trainer)

    best = min(trainer.seen, key=lambda balance: abs(balance - 0.7))
    assert study.best_settings == {"balance": best}
    assert study.trials == 12
    assert 0 < study.pruned < 12
    parent = RunRecord.open(workspace.runs / study.best_run).parent
    assert parent is not None
    assert parent.folder.name.endswith("tune-balance")


def test_a_study_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    """As many more trials as are missing, under the same run of MLflow."""
    workspace = Workspace(tmp_path)
    tune(BASE, SPACE, workspace, name="balance", trials=2, run=Trainer(workspace))
    trainer = Trainer(workspace)

    study = tune(BASE, SPACE, workspace, name="balance", trials=3, run=trainer)

    assert len(trainer.seen) == 1
    assert study.trials == 3
    assert sum(folder.name.endswith("tune-balance") for folder in workspace.runs.iterdir()) == 1


def test_a_trial_that_is_stopped_early_is_a_killed_run_in_mlflow(tmp_path: Path) -> None:
    """With real training: its scores are there, its checkpoints are not."""
    data = write_synthetic_dataset(tmp_path / "data", images_per_class=10, side_px=64)
    workspace = Workspace(tmp_path / "home")
    base = TrainConfig(
        data=data,
        pretrained="none",
        input_size_px=32,
        epochs=2,
        threads=1,
        validation_fraction=0.2,
        test_fraction=0.0,
        augmentation=Augmentation.LIGHT,
    )

    def fit_and_stop(*arguments: Any, watch: Callable[..., None], **options: Any) -> Any:
        from lesion_train.fit import fit

        def stop(epoch: int, metrics: dict[str, float]) -> None:
            watch(epoch, metrics)
            raise RunStoppedError("not worth it")

        return fit(*arguments, watch=stop, **options)

    with pytest.raises(LesionError, match="were stopped early"):
        tune(base, SPACE, workspace, name="stopped", trials=1, run=fit_and_stop)

    client = MlflowClient(tracking_uri=workspace.mlflow_database)
    experiment = client.get_experiment_by_name("lesion")
    assert experiment is not None
    (trial,) = [run for run in client.search_runs([experiment.experiment_id]) if "tune" not in str(run.info.run_name)]
    assert trial.info.status == "KILLED"
    assert "val_bma" in trial.data.metrics
    record = RunRecord.open(workspace.runs / str(trial.info.run_name))
    assert not list(record.checkpoints.glob("*"))
