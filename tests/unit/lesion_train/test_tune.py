"""The search for settings: Optuna's own study, our own runs."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import optuna
import pytest
import torch
from mlflow.tracking import MlflowClient

from lesion_core.bundle import load_bundle
from lesion_core.datasets.synthetic import write_synthetic_dataset
from lesion_core.errors import LesionError
from lesion_core.interval import Interval
from lesion_core.processes import child_environment
from lesion_core.workspace import Workspace
from lesion_train import studies_cli
from lesion_train.config import Augmentation, TrainConfig
from lesion_train.ending import RunStoppedError
from lesion_train.record import RunRecord
from lesion_train.tune import tune
from support.runs import fast_settings

BASE = TrainConfig(data=Path("images"), threads=1)
SPACE = {"balance": optuna.distributions.FloatDistribution(0.0, 1.0)}
DIGESTS: dict[str, Any] = {"data_digest": "d", "split_digest": "s"}


def interval(value: float) -> Interval:
    return Interval(value=value, low=value, high=value, confidence=0.95)


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
        return SimpleNamespace(record=record, metrics={"val_bma": interval(0.8 - abs(config.balance - 0.7))})


def test_the_best_trial_is_found_and_named_with_its_run(tmp_path: Path) -> None:
    """Trials that are worse than the others' median are stopped early."""
    workspace = Workspace(tmp_path)
    trainer = Trainer(workspace)

    study = tune(BASE, SPACE, workspace, name="balance", trials=12, **DIGESTS, run=trainer)

    best = min(trainer.seen, key=lambda balance: abs(balance - 0.7))
    assert study.best_settings == {"balance": best}
    assert study.trials == 12
    assert 0 < study.pruned < 12
    parent = RunRecord.open(workspace.runs / study.best_run).parent
    assert parent is not None
    assert parent.folder.name.endswith("tune-balance")


def test_a_trial_that_learns_late_is_not_stopped_after_its_first_epoch(tmp_path: Path) -> None:
    """Warm-up, a frozen backbone and the average of the weights make that epoch; the second one counts."""
    workspace = Workspace(tmp_path)
    scores = [(0.5, 0.6, 0.7)] * 5 + [(0.1, 0.8, 0.9), (0.1, 0.2, 0.9)]
    reached: list[int] = []

    def run(*_: Any, watch: Callable[..., None], parent: RunRecord, **__: Any) -> Any:
        reached.append(0)
        for epoch, score in enumerate(scores[len(reached) - 1], start=1):
            reached[-1] = epoch
            watch(epoch, {"val_bma": score})
        record = RunRecord.create(workspace.runs, "trial", {}, {}, parent=parent)
        return SimpleNamespace(record=record, metrics={"val_bma": interval(score)})

    study = tune(BASE, SPACE, workspace, name="late", trials=7, **DIGESTS, run=run)

    assert reached == [3, 3, 3, 3, 3, 3, 2]
    assert study.best_value == 0.9
    assert study.pruned == 1


def test_a_study_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    """As many more trials as are missing, with values of their own, under the same run of MLflow."""
    workspace = Workspace(tmp_path)
    before, trainer = Trainer(workspace), Trainer(workspace)
    tune(BASE, SPACE, workspace, name="balance", trials=2, **DIGESTS, run=before)

    study = tune(BASE, SPACE, workspace, name="balance", trials=3, **DIGESTS, run=trainer)

    assert len(trainer.seen) == 1
    assert len({*before.seen, *trainer.seen}) == 3
    assert study.trials == 3
    assert sum(folder.name.endswith("tune-balance") for folder in workspace.runs.iterdir()) == 1


def test_a_study_with_enough_trials_tries_no_more(tmp_path: Path) -> None:
    """The same command again tells the best."""
    workspace = Workspace(tmp_path)
    first = tune(BASE, SPACE, workspace, name="balance", trials=2, **DIGESTS, run=Trainer(workspace))
    trainer = Trainer(workspace)

    again = tune(BASE, SPACE, workspace, name="balance", trials=2, **DIGESTS, run=trainer)

    assert trainer.seen == []
    assert again == first


@pytest.mark.parametrize(
    ("base", "space", "digests", "code", "words"),
    [
        (BASE, SPACE, {"data_digest": "e"}, "other_data", "not the data of Study 'balance'"),
        (BASE, SPACE, {"split_digest": "t"}, "other_settings", "split_digest: s → t"),
        (attrs.evolve(BASE, epochs=3), SPACE, {}, "other_settings", "epochs: 10 → 3"),
        (
            BASE,
            {"balance": optuna.distributions.CategoricalDistribution((0.1, 0.2))},
            {},
            "other_settings",
            "space of balance: .* Leave them as they were, or take another --study",
        ),
    ],
)
def test_a_study_of_something_else_is_refused(
    tmp_path: Path, base: TrainConfig, space: Any, digests: dict[str, str], code: str, words: str
) -> None:
    """Its best would be of other images, or of other settings than those that are asked for."""
    workspace = Workspace(tmp_path)
    tune(BASE, SPACE, workspace, name="balance", trials=1, **DIGESTS, run=Trainer(workspace))

    with pytest.raises(LesionError, match=words) as caught:
        tune(base, space, workspace, name="balance", trials=2, **{**DIGESTS, **digests}, run=Trainer(workspace))

    assert caught.value.code == code


def test_an_interrupted_study_tries_what_an_uninterrupted_one_tries(tmp_path: Path) -> None:
    """Equal seeds give equal searches, also in pieces; other seeds give others."""
    whole, pieces, other = (Trainer(Workspace(tmp_path / name)) for name in ("whole", "pieces", "other"))

    tune(BASE, SPACE, whole.workspace, name="balance", trials=4, **DIGESTS, run=whole)
    for trials in (1, 3, 4):
        tune(BASE, SPACE, pieces.workspace, name="balance", trials=trials, **DIGESTS, run=pieces)
    tune(attrs.evolve(BASE, seed=1), SPACE, other.workspace, name="balance", trials=4, **DIGESTS, run=other)

    assert whole.seen == pieces.seen
    assert not set(whole.seen) & set(other.seen)


@pytest.mark.parametrize(
    "error", [LesionError("The loss became nan.", code="diverged"), torch.OutOfMemoryError("full")]
)
def test_a_trial_that_its_settings_fail_does_not_end_the_search(tmp_path: Path, error: Exception) -> None:
    """It is counted, and its value is no number that somebody measured."""
    workspace = Workspace(tmp_path)
    trainer = Trainer(workspace)

    def fail_at_first(*arguments: Any, **options: Any) -> Any:
        if not trainer.seen:
            trainer.seen.append(-1.0)
            raise error
        return trainer(*arguments, **options)

    study = tune(BASE, SPACE, workspace, name="balance", trials=3, **DIGESTS, run=fail_at_first)

    assert (study.trials, study.pruned, study.failed) == (3, 0, 1)
    (parent,) = [RunRecord(folder) for folder in workspace.runs.iterdir() if folder.name.endswith("tune-balance")]
    assert [row["step"] for row in parent.steps] == [2, 3]
    assert all(0 < row["val_bma"] < 1 for row in parent.steps)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (LesionError("The disk is full.", code="disk_full"), "FAILED"),
        (RuntimeError("a defect"), "FAILED"),
        (KeyboardInterrupt(), "KILLED"),
    ],
)
def test_what_is_no_fault_of_the_settings_ends_the_search(tmp_path: Path, error: BaseException, status: str) -> None:
    """The study says how it ended, and nothing is written that was not measured."""
    workspace = Workspace(tmp_path)

    def fail(*_: Any, **__: Any) -> Any:
        raise error

    with pytest.raises(type(error)):
        tune(BASE, SPACE, workspace, name="balance", trials=3, **DIGESTS, run=fail)

    (parent,) = [RunRecord(folder) for folder in workspace.runs.iterdir()]
    assert parent.steps == []
    assert parent.end is not None
    assert parent.end[0] == status


def test_two_that_begin_a_study_at_once_share_its_run(tmp_path: Path) -> None:
    """And it has ended when the last of them has."""
    workspace = Workspace(tmp_path)
    trainer, both = Trainer(workspace), threading.Barrier(2, timeout=120)
    is_first = threading.local()

    def run(*arguments: Any, **options: Any) -> Any:
        if not hasattr(is_first, "over"):
            is_first.over = True
            both.wait()
        return trainer(*arguments, **options)

    with ThreadPoolExecutor(2) as pool:
        asked = [
            pool.submit(tune, BASE, SPACE, workspace, name="balance", trials=4, **DIGESTS, run=run) for _ in range(2)
        ]
        studies = [one.result() for one in asked]

    (parent,) = [RunRecord(folder) for folder in workspace.runs.iterdir() if folder.name.endswith("tune-balance")]
    assert all(study.trials >= 4 for study in studies)
    assert parent.end is not None
    assert parent.end[0] == "FINISHED"


def test_a_study_has_not_ended_while_another_one_trains_and_takes_nothing_from_it(tmp_path: Path) -> None:
    """Its trial is neither tried twice nor counted as lost."""
    workspace = Workspace(tmp_path)
    trainer, slow = Trainer(workspace), Trainer(workspace)
    begun, go_on = threading.Event(), threading.Event()

    def wait(*arguments: Any, **options: Any) -> Any:
        begun.set()
        assert go_on.wait(timeout=120)
        return slow(*arguments, **options)

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(tune, BASE, SPACE, workspace, name="balance", trials=2, **DIGESTS, run=wait)
        try:
            assert begun.wait(timeout=120)
            tune(BASE, SPACE, workspace, name="balance", trials=1, **DIGESTS, run=trainer)
            (parent,) = [RunRecord(path) for path in workspace.runs.iterdir() if path.name.endswith("tune-balance")]
            assert parent.end is None
        finally:
            go_on.set()
        study = other.result()

    assert (len(trainer.seen), len(slow.seen)) == (1, 1)
    assert study.trials == 2
    assert parent.end is not None
    assert parent.end[0] == "FINISHED"


def test_a_study_whose_last_trial_was_lost_has_ended(tmp_path: Path) -> None:
    """Where it has the trials that are wanted: nothing more is tried."""
    workspace = Workspace(tmp_path)
    trainer = Trainer(workspace)
    tune(BASE, SPACE, workspace, name="balance", trials=1, **DIGESTS, run=trainer)
    optuna.load_study(study_name="balance", storage=f"sqlite:///{workspace.root / 'tuning.db'}").ask()

    study = tune(BASE, SPACE, workspace, name="balance", trials=1, **DIGESTS, run=trainer)

    (parent,) = [RunRecord(folder) for folder in workspace.runs.iterdir() if folder.name.endswith("tune-balance")]
    assert (study.trials, len(trainer.seen)) == (1, 1)
    assert parent.end is not None
    assert parent.end[0] == "FINISHED"


def test_a_study_is_refused_in_several_processes_of_torchrun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them would train all of it."""
    monkeypatch.setenv("WORLD_SIZE", "2")

    for command in (studies_cli.cross_validate, lambda: studies_cli.tune(tmp_path / "space.toml")):
        with pytest.raises(LesionError, match="start it without torchrun"):
            command()


def test_a_linear_probe_is_searched_by_the_score_of_its_model(tmp_path: Path) -> None:
    """It has no epochs that could be watched."""
    data = write_synthetic_dataset(tmp_path / "data", images_per_class=10, side_px=64)
    workspace = Workspace(tmp_path / "home")
    base = TrainConfig(
        data=data, linear_probe=True, input_size_px=32, threads=1, validation_fraction=0.2, test_fraction=0.0
    )

    study = tune(base, SPACE, workspace, name="probe", trials=1, **DIGESTS)

    manifest = load_bundle(workspace.runs / study.best_run / "bundle").manifest
    assert study.best_value == manifest.training.metrics["val_bma"].value > 0


def test_a_trial_that_is_stopped_early_is_a_killed_run_in_mlflow(tmp_path: Path) -> None:
    """With real training: its scores are there, its checkpoints are not."""
    data = write_synthetic_dataset(tmp_path / "data", images_per_class=10, side_px=64)
    workspace = Workspace(tmp_path / "home")
    base = fast_settings(data, input_size_px=32, epochs=2, augmentation=Augmentation.LIGHT)

    def fit_and_stop(*arguments: Any, watch: Callable[..., None], **options: Any) -> Any:
        from lesion_train.fit import fit

        def stop(epoch: int, metrics: dict[str, float]) -> None:
            watch(epoch, metrics)
            raise RunStoppedError("not worth it")

        return fit(*arguments, watch=stop, **options)

    with pytest.raises(LesionError, match="were stopped early"):
        tune(base, SPACE, workspace, name="stopped", trials=1, **DIGESTS, run=fit_and_stop)

    client = MlflowClient(tracking_uri=workspace.mlflow_database)
    experiment = client.get_experiment_by_name("lesion")
    assert experiment is not None
    (trial,) = [run for run in client.search_runs([experiment.experiment_id]) if "tune" not in str(run.info.run_name)]
    assert trial.info.status == "KILLED"
    assert "val_bma" in trial.data.metrics
    record = RunRecord.open(workspace.runs / str(trial.info.run_name))
    assert not list(record.checkpoints.glob("*"))


def test_an_interrupted_trial_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    """With real training: the study ends as one that was left alone, to the last bit; its first epoch is kept."""
    from lesion_train.fit import fit

    data = write_synthetic_dataset(tmp_path / "data", images_per_class=10, side_px=64)
    base = fast_settings(data, input_size_px=32, epochs=3, augmentation=Augmentation.LIGHT)
    trained: list[int] = []

    def interrupted(*arguments: Any, watch: Callable[..., None], **options: Any) -> Any:
        def stop(epoch: int, metrics: dict[str, float]) -> None:
            watch(epoch, metrics)
            trained.append(epoch)
            if trained == [1, 2]:  # before the checkpoint of the second
                raise KeyboardInterrupt

        return fit(*arguments, watch=stop, **options)

    alone, pieces = Workspace(tmp_path / "alone"), Workspace(tmp_path / "pieces")
    expected = tune(base, SPACE, alone, name="balance", trials=1, **DIGESTS)
    with pytest.raises(KeyboardInterrupt):
        tune(base, SPACE, pieces, name="balance", trials=1, **DIGESTS, run=interrupted)
    study = tune(base, SPACE, pieces, name="balance", trials=1, **DIGESTS, run=interrupted)

    assert trained == [1, 2, 2, 3]
    assert (study.best_settings, study.best_value) == (expected.best_settings, expected.best_value)
    weights = [
        load_bundle(workspace.runs / made.best_run / "bundle").manifest.files["weights.safetensors"]
        for workspace, made in ((alone, expected), (pieces, study))
    ]
    assert weights[0] == weights[1]


def test_the_command_line_searches_and_names_the_best(tmp_path: Path) -> None:
    """With the options that repeat it."""
    data = write_synthetic_dataset(tmp_path / "data", images_per_class=10, side_px=64)
    (tmp_path / "space.toml").write_text("balance = [0.3, 0.6]\n")
    options = ["--data", str(data), "--linear-probe", "--input-size-px", "32", "--threads", "1", "--trials", "2"]
    options += ["--validation-fraction", "0.2", "--test-fraction", "0"]

    done = subprocess.run(
        [sys.executable, "-m", "lesion_train", "tune", str(tmp_path / "space.toml"), *options],
        env={**child_environment(), "LESION_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "tuning: 2 trials, 0 of them stopped early, 0 failed" in done.stdout
    assert "  --balance 0." in done.stdout
    assert (tmp_path / "home" / "tuning.db").is_file()
