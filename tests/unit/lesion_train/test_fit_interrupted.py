"""A run that did not get to its end goes on, or says what is in the way."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import attrs
import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

from lesion_core.bundle import WEIGHTS
from lesion_core.datasets import read_dataset
from lesion_core.datasets.isic import METADATA
from lesion_core.datasets.synthetic import write_synthetic_dataset
from lesion_core.errors import LesionError
from lesion_core.workspace import Workspace
from lesion_train import bundling
from lesion_train.checkpoint import CheckpointError
from lesion_train.config import TrainConfig
from lesion_train.config_cli import resolve_resumed
from lesion_train.evaluation.values import REPORT
from lesion_train.fit import FitResult, fit
from lesion_train.loop import DivergedError
from lesion_train.record import RunRecord
from lesion_train.squares import SquareCache
from support.runs import fast_settings


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic_dataset(tmp_path_factory.mktemp("data"), images_per_class=10, side_px=80)


@pytest.fixture(scope="module")
def result(data: Path, workspace: Workspace) -> FitResult:
    """Of a run that was left alone."""
    return fit(fast_settings(data), workspace)


def interrupted(config: TrainConfig, home: Path, monkeypatch: pytest.MonkeyPatch) -> RunRecord:
    """A run that was stopped by Ctrl-C in its second epoch."""
    add_epoch = RunRecord.add_epoch

    def stop_in_the_second(self: RunRecord, epoch: int, metrics: dict[str, float]) -> None:
        if epoch == 2:
            raise KeyboardInterrupt
        add_epoch(self, epoch, metrics)

    with monkeypatch.context() as patch:
        patch.setattr(RunRecord, "add_epoch", stop_in_the_second)
        with pytest.raises(KeyboardInterrupt):
            fit(config, Workspace(home))
    (folder,) = (home / "runs").iterdir()
    return RunRecord(folder)


def test_an_interrupted_run_goes_on_to_the_same_weights(
    data: Path, result: FitResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the run that was left alone; its record and MLflow have each epoch once."""
    record = interrupted(fast_settings(data), tmp_path, monkeypatch)

    resumed = fit(fast_settings(data, checkpoint_minutes=0, workers=0), Workspace(tmp_path), resume=record)

    files = [made.bundle.manifest.files["weights.safetensors"] for made in (resumed, result)]
    assert files[0] == files[1]
    assert resumed.record.folder == record.folder
    assert [row["epoch"] for row in record.epochs] == [1, 2]
    assert not record.checkpoints.exists()


def test_a_run_that_goes_on_has_not_ended(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks in the meantime is not told of the interruption before."""
    record = interrupted(fast_settings(data), tmp_path, monkeypatch)
    ends = [record.end]

    fit(
        fast_settings(data),
        Workspace(tmp_path),
        resume=record,
        register=False,
        watch=lambda epoch, metrics: ends.append(record.end),
    )

    assert [end and end[0] for end in [*ends, record.end]] == ["KILLED", None, "FINISHED"]


def test_a_run_that_diverges_leaves_no_checkpoint(data: Path, tmp_path: Path) -> None:
    """It would diverge again, and a search for settings makes many of them."""
    with pytest.raises(DivergedError):
        fit(fast_settings(data, learning_rate=1e30, head_learning_rate=1e30), Workspace(tmp_path), register=False)

    (folder,) = (tmp_path / "runs").iterdir()
    assert not RunRecord(folder).checkpoints.exists()


def test_an_interrupted_run_goes_on_with_its_own_settings_and_data_only(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has changed is named, and the checkpoints stay."""
    record = interrupted(fast_settings(data), tmp_path, monkeypatch)
    other = write_synthetic_dataset(tmp_path / "other", images_per_class=10, side_px=80, seed=9)

    with pytest.raises(LesionError, match="epochs: 2 → 3; seed: 0 → 1; split_digest: ") as settings:
        fit(fast_settings(data, epochs=3, seed=1), Workspace(tmp_path), resume=record)
    with pytest.raises(LesionError, match=r"data_digest: .* begin a new one without --resume") as images:
        fit(fast_settings(other), Workspace(tmp_path), resume=record)

    assert (settings.value.code, images.value.code) == ("other_settings", "other_data")

    assert len(list(record.checkpoints.iterdir())) == 1
    assert record.end is not None
    assert record.end[0] == "KILLED"


def test_an_interrupted_run_goes_on_with_the_same_metadata_only(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decisions with age, sex and site are fitted on it, and the digest of the data leaves it out."""
    copy = shutil.copytree(data, tmp_path / "data")
    record = interrupted(fast_settings(copy), tmp_path / "home", monkeypatch)
    table = copy / METADATA
    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0], *(line.replace(",30,", ",80,") for line in lines[1:])]))

    with pytest.raises(LesionError, match="metadata_digest: ") as caught:
        fit(fast_settings(copy), Workspace(tmp_path / "home"), resume=record)
    assert caught.value.code == "other_data"


def test_a_run_without_a_checkpoint_goes_on_with_its_own_settings_and_data_only(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its record would tell of other ones than its bundle; how it ended stays."""
    record = interrupted(fast_settings(data), tmp_path / "home", monkeypatch)
    shutil.rmtree(record.checkpoints)
    other = shutil.copytree(data, tmp_path / "other")
    for photo in other.rglob("*.jpg"):
        Image.new("RGB", (80, 80), (len(photo.name), 0, 0)).save(photo)

    for changed, code in (
        (fast_settings(data, learning_rate=1e-4, split=record.split), "other_settings"),
        (fast_settings(other, split=record.split), "other_data"),
    ):
        with pytest.raises(LesionError, match="A run can only go on as it began") as caught:
            fit(changed, Workspace(tmp_path / "home"), resume=record)
        assert caught.value.code == code

    assert record.end is not None
    assert record.end[0] == "KILLED"


def test_a_linear_probe_that_was_interrupted_goes_on_with_its_own_settings_only(data: Path, tmp_path: Path) -> None:
    """It has no checkpoints at all."""
    probe = fast_settings(data, linear_probe=True, balance=0.5)

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lesion_train.fit.fit_linear_probe", stop)
        with pytest.raises(KeyboardInterrupt):
            fit(probe, Workspace(tmp_path), register=False)
    (folder,) = (tmp_path / "runs").iterdir()

    with pytest.raises(LesionError, match=r"balance: 0\.5 → 0\.7"):
        fit(attrs.evolve(probe, balance=0.7), Workspace(tmp_path), resume=RunRecord(folder))


def test_a_run_that_diverged_is_not_gone_on_with_at_a_lower_rate(data: Path, tmp_path: Path) -> None:
    """That is a new run."""
    with pytest.raises(DivergedError):
        fit(fast_settings(data, learning_rate=1e30, head_learning_rate=1e30), Workspace(tmp_path), register=False)
    (folder,) = (tmp_path / "runs").iterdir()

    with pytest.raises(LesionError, match=r"learning_rate: .* begin a new one without --resume"):
        fit(fast_settings(data), Workspace(tmp_path), resume=RunRecord(folder))


def test_a_run_of_an_earlier_release_is_known_by_its_checkpoint(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its record does not say what it can go on with."""
    record = interrupted(fast_settings(data), tmp_path, monkeypatch)
    content = record.description
    del content["identity"]
    (record.folder / "run.json").write_text(json.dumps(content))

    with pytest.raises(CheckpointError, match="learning_rate: "):
        fit(fast_settings(data, learning_rate=1e-4), Workspace(tmp_path), resume=record)

    assert fit(fast_settings(data), Workspace(tmp_path), resume=record, register=False).record == record


def test_a_run_without_a_checkpoint_goes_on_from_its_own_weights_only(
    data: Path, result: FitResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other ones may lie under the same path by now, and its record would name the wrong ones."""
    weights = tmp_path / "start.safetensors"
    shutil.copy(result.bundle.folder / WEIGHTS, weights)
    begun = fast_settings(data, pretrained=str(weights))
    record = interrupted(begun, tmp_path / "home", monkeypatch)
    shutil.rmtree(record.checkpoints)
    tensors = safetensors.numpy.load_file(weights)
    safetensors.numpy.save_file({name: np.zeros_like(tensor) for name, tensor in tensors.items()}, weights)

    with pytest.raises(LesionError, match="started from other weights: file start") as caught:
        fit(begun, Workspace(tmp_path / "home"), resume=record)
    assert caught.value.code == "other_settings"

    shutil.copy(result.bundle.folder / WEIGHTS, weights)
    assert fit(begun, Workspace(tmp_path / "home"), resume=record, register=False).record == record


def test_a_run_that_is_being_trained_is_not_trained_twice(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both would write into one record."""
    record = interrupted(fast_settings(data), tmp_path, monkeypatch)
    other = record.lock()

    with pytest.raises(LesionError, match="Another program trains") as caught:
        fit(fast_settings(data), Workspace(tmp_path), resume=record)
    assert caught.value.code == "run_in_use"

    other.release()
    assert fit(fast_settings(data), Workspace(tmp_path), resume=record, register=False).bundle.digest


def test_an_interrupted_run_needs_neither_its_starting_weights_nor_its_taxonomy_s_file(
    data: Path, result: FitResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once it has a checkpoint: the record keeps what it started from in words, and a copy of the taxonomy."""
    folders = tmp_path / "images"
    for image in read_dataset(data).records:
        kept = folders / "Train" / ("Lump" if image.diagnosis in ("MEL", "BCC", "SCC", "AK") else "Spot")
        kept.mkdir(parents=True, exist_ok=True)
        shutil.copy(image.path, kept)
    weights, taxonomy = tmp_path / "start.safetensors", tmp_path / "mine.toml"
    shutil.copy(result.bundle.folder / WEIGHTS, weights)
    taxonomy.write_text(
        'name = "lumps"\n'
        '[[diagnosis]]\ncode = "LUMP"\nname = "Lump"\nmalignancy = "malignant"\nplain = "A lump."\n'
        '[[diagnosis]]\ncode = "SPOT"\nname = "Spot"\nmalignancy = "benign"\nplain = "A spot."\n'
    )
    begun = fast_settings(folders, pretrained=str(weights), taxonomy=taxonomy, weights_license="MIT")
    record = interrupted(begun, tmp_path / "home", monkeypatch)
    weights.unlink()
    taxonomy.unlink()

    settled = resolve_resumed(record, None, None).values | {"data": folders}
    resumed = fit(TrainConfig(**settled), Workspace(tmp_path / "home"), resume=record)  # type: ignore[arg-type]

    backbone = resumed.bundle.manifest.backbone
    assert backbone.weights_origin.startswith("file start.safetensors, sha256 ")
    assert backbone.weights_license == "MIT"
    assert resumed.bundle.manifest.taxonomy.trained_codes == ("LUMP", "SPOT")


@pytest.mark.parametrize("moment", ["write_evaluation", "write_bundle"])
def test_a_run_that_was_interrupted_around_its_bundle_is_finished(
    data: Path, result: FitResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """With the same bundle but for the time, its report, no checkpoints left, and registered."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(bundling, moment, stop)
        with pytest.raises(KeyboardInterrupt):
            fit(fast_settings(data), Workspace(tmp_path))
    (folder,) = (tmp_path / "runs").iterdir()
    record = RunRecord(folder)
    assert record.bundle.exists() is (moment == "write_evaluation")

    finished = fit(fast_settings(data), Workspace(tmp_path), resume=record)

    weights = [made.bundle.manifest.files[WEIGHTS] for made in (finished, result)]
    assert weights[0] == weights[1]
    assert finished.metrics == result.metrics
    assert finished.bundle.digest in (record.report / REPORT).read_text()
    assert (record.report / "learning_curves.svg").is_file()
    assert not record.checkpoints.exists()
    assert record.end is not None
    assert record.end[0] == "FINISHED"
    assert finished.registered is not None
    with pytest.raises(LesionError, match="is complete"):
        fit(fast_settings(data), Workspace(tmp_path), resume=record)


@pytest.mark.parametrize(
    ("place", "name"), [(RunRecord, "_append"), (bundling, "write_bundle"), (SquareCache, "_prepare")]
)
def test_a_full_disk_is_named_wherever_it_is_met(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: object, name: str
) -> None:
    """Not by a traceback; with what to do."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(place, name, refuse)

    with pytest.raises(LesionError, match=r"No room .*\(No space left on device\)\. .*(--resume|--cache)") as caught:
        fit(fast_settings(data, epochs=1), Workspace(tmp_path), tracking_uri="http://127.0.0.1:9", register=False)

    assert caught.value.code == "disk_full"


def test_a_complete_run_is_not_trained_again(data: Path, workspace: Workspace, result: FitResult) -> None:
    """It may still have to be registered."""
    with pytest.raises(LesionError, match=r"is complete .* lesion-train register"):
        fit(fast_settings(data), workspace, resume=result.record)
