"""One run from a folder of images to a registered bundle, with a real MLflow database."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import attrs
import numpy as np
import pytest
from mlflow.tracking import MlflowClient

from lesion_core.bundle import EVALUATION, load_bundle
from lesion_core.datasets import read_dataset
from lesion_core.datasets.isic import GROUND_TRUTH, IMAGES, METADATA
from lesion_core.datasets.synthetic import write_synthetic_dataset
from lesion_core.drift_reference import DRIFT, DriftReference, sample_by_lesion
from lesion_core.errors import DatasetError, LesionError, SplitError
from lesion_core.frozen_split import read_parts, write_parts
from lesion_core.interval import share_interval
from lesion_core.preprocess import decode_for
from lesion_core.quality_measures import measure_quality
from lesion_core.splits import folds_as_parts, k_folds
from lesion_core.workspace import Workspace
from lesion_train.card import missing_sections
from lesion_train.config import TrainConfig
from lesion_train.evaluation.values import read_evaluation
from lesion_train.fit import FitResult, fit
from lesion_train.parts import make_split
from lesion_train.record import RunRecord
from lesion_train.tracking import Mirror, TrackingError, register
from support.layouts import FakeImage, write_pad_ufes_20
from support.runs import fast_settings


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic_dataset(tmp_path_factory.mktemp("data"), images_per_class=10, side_px=80)


@pytest.fixture(scope="module")
def result(data: Path, workspace: Workspace) -> FitResult:
    return fit(fast_settings(data, data_license="a contract"), workspace)


def test_a_split_whose_parts_share_a_lesion_starts_no_run(data: Path, tmp_path: Path) -> None:
    """Not even where it was frozen before the two images were found to show one lesion."""
    known = shutil.copytree(data, tmp_path / "data")
    split = tmp_path / "split.csv"
    config = fast_settings(known, split=split)
    parts = make_split(read_dataset(known), attrs.evolve(config, split=None)).parts
    write_parts(parts, split)
    train, held_out = (parts[name][0] for name in ("train", "validation"))
    table = known / METADATA
    table.write_text(table.read_text().replace(held_out.lesion_id, train.lesion_id))
    home = Workspace(tmp_path / "home")

    with pytest.raises(SplitError, match=f"lesions have images in more than one part, for example {train.lesion_id}"):
        fit(config, home)

    assert not home.runs.exists()


def test_settings_that_would_teach_a_rare_class_in_place_of_a_frequent_one_start_no_run(tmp_path: Path) -> None:
    """Here with a label smoothing that is as strong as it may be; the classes are named."""
    data = write_synthetic_dataset(tmp_path / "data", images_per_class=120, side_px=32)
    rare = [record.isic_id for record in read_dataset(data).records if record.diagnosis == "DF"][10:]
    for table in (GROUND_TRUTH, METADATA):
        rows = (data / table).read_text().splitlines(keepends=True)
        (data / table).write_text("".join(row for row in rows if row.split(",")[0] not in rare))
    home = Workspace(tmp_path / "home")

    with pytest.raises(LesionError, match=r"where DF \(\d\) is the answer.*or lower --balance") as caught:
        fit(fast_settings(data, label_smoothing=0.5, balance=1.0), home)

    assert caught.value.code == "imbalance"
    assert not home.runs.exists()


def test_a_run_says_what_it_does_not_use(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything else, so that who starts it can stop it."""
    known = shutil.copytree(data, tmp_path / "data")
    shutil.copy(next((known / IMAGES).iterdir()), known / IMAGES / "stray.jpg")

    with pytest.raises(SplitError, match="A fold needs"):
        fit(fast_settings(known, fold=1), Workspace(tmp_path / "home"))

    assert f"Note: 1 images are not listed in {GROUND_TRUTH}" in capsys.readouterr().out


def client(workspace: Workspace) -> MlflowClient:
    return MlflowClient(tracking_uri=workspace.mlflow_database, registry_uri=workspace.mlflow_database)


def test_a_run_writes_an_intact_bundle_with_its_facts(result: FitResult) -> None:
    """Digests, seed, sizes and scores with intervals."""
    facts = load_bundle(result.record.bundle).manifest.training

    assert facts.train_images + facts.validation_images == 80
    assert len(facts.data_digest) == len(facts.split_digest) == 64
    assert facts.metrics["val_bma"].low <= facts.metrics["val_bma"].value <= facts.metrics["val_bma"].high


def test_the_card_of_a_run_is_complete(result: FitResult) -> None:
    """With its digests, where the images come from, and the licence that was stated for them."""
    card = result.bundle.read("card.md").decode()

    assert missing_sections(card) == ()
    assert result.bundle.manifest.training.data_digest in card
    assert "drawn images that no camera took" in card
    assert "a contract, as whoever trained stated; the publisher's: Apache-2.0" in card


def test_a_bundle_holds_its_evaluation_without_names_of_images(result: FitResult) -> None:
    """The numbers of the report, for whoever serves it; nothing leads back to an image."""
    bundled = read_evaluation(result.bundle.folder / EVALUATION)
    reported = read_evaluation(result.bundle.folder.parent / "report" / EVALUATION)

    assert bundled.headline == reported.headline
    assert bundled.confusion == reported.confusion
    assert (bundled.mistakes, bundled.missed, bundled.model.digest) == ((), (), None)


def test_a_bundle_holds_what_drift_is_compared_with(result: FitResult, data: Path) -> None:
    """One image for each lesion of the validation part, measured as a server measures it."""
    bundle = result.bundle
    held_out = make_split(read_dataset(data), fast_settings(data)).validation

    sample = DriftReference.from_bytes(bundle.read(DRIFT)).sample

    rows = sample_by_lesion([record.lesion_id for record in held_out])
    assert len(sample) == len({record.lesion_id for record in held_out})
    for number, row in enumerate(rows):
        measured = measure_quality(decode_for(held_out[row].path.read_bytes(), bundle.manifest.preprocess))
        assert sample.quality["median_level"][number] == pytest.approx(measured.median_level)
    assert sample.probabilities.shape == (len(sample), 9)
    np.testing.assert_allclose(sample.probabilities.sum(axis=1), 1, atol=1e-5)


def test_mlflow_holds_settings_epochs_digest_and_report(result: FitResult, workspace: Workspace) -> None:
    """As a person looks for them on the run's page."""
    assert result.registered is not None
    store = client(workspace)
    version = store.get_model_version("skin-lesion", result.registered.version)
    run = store.get_run(str(version.run_id))

    assert run.data.params["backbone"] == "efficientnet_lite0"
    assert run.data.params["data"] == result.record.description["settings"]["data"]
    assert run.data.tags["data_digest"] == result.bundle.manifest.training.data_digest
    assert [metric.step for metric in store.get_metric_history(str(version.run_id), "train_loss")] == [1, 2]
    report = {item.path for item in store.list_artifacts(str(version.run_id), "report")}
    figures = ("classes", "confusion", "learning_curves", "reliability", "roc")
    assert report == {"report/report.html", "report/evaluation.json", *(f"report/{name}.svg" for name in figures)}
    assert {"config.toml", "split.csv"} <= {item.path for item in store.list_artifacts(str(version.run_id))}
    assert run.info.status == "FINISHED"


def test_the_record_tells_which_images_were_held_out(result: FitResult) -> None:
    """So that a later evaluation cannot score images that the model has seen."""
    parts = Counter(read_parts(result.record.split).values())

    facts = result.bundle.manifest.training
    assert parts == {"train": facts.train_images, "validation": facts.validation_images}


def test_the_record_s_split_is_frozen_with_the_digest_of_the_bundle(result: FitResult) -> None:
    """One number names the split everywhere."""
    first = result.record.split.read_text().splitlines()[0]

    assert first == f"# lesion-split 1 sha256:{result.bundle.manifest.training.split_digest}"


def test_a_test_part_is_held_out_and_measured_once(tmp_path: Path) -> None:
    """The default; nothing is fitted on it, and the record says which images it has."""
    data = write_synthetic_dataset(tmp_path / "data", images_per_class=20, side_px=64)

    settings = TrainConfig(data=data, epochs=1, input_size_px=32, pretrained="none", onnx=False, threads=1)

    result = fit(settings, Workspace(tmp_path / "home"))

    parts = Counter(read_parts(result.record.split).values())
    assert parts.keys() == {"train", "validation", "test"}
    assert parts["train"] > 100
    assert {"val_bma", "test_bma", "test_macro_auroc", "test_ece"} <= result.metrics.keys()
    again = make_split(read_dataset(data), TrainConfig(data=data, split=result.record.split))
    assert (len(again.test), again.digest) == (parts["test"], result.bundle.manifest.training.split_digest)


def test_a_run_takes_the_split_of_another_run(data: Path, result: FitResult) -> None:
    """So that both are measured on the same images, whatever the seed."""
    dataset = read_dataset(data)
    frozen = read_parts(result.record.split)

    split = make_split(dataset, fast_settings(data, split=result.record.split, seed=99))

    assert {record.isic_id for record in split.validation} == {i for i, part in frozen.items() if part == "validation"}
    assert split.digest == result.bundle.manifest.training.split_digest


def test_a_run_takes_a_fold_of_a_frozen_split(data: Path, tmp_path: Path) -> None:
    """That one is held out; the others are trained on."""
    dataset = read_dataset(data)
    folds = k_folds(dataset.records, dataset.taxonomy, folds=3, seed=0)
    write_parts(folds_as_parts(folds), tmp_path / "folds.csv")

    split = make_split(dataset, fast_settings(data, split=tmp_path / "folds.csv", fold=2))

    assert split.validation == folds[1].validation
    assert split.train == folds[1].train


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fold": 1}, "give --split FILE too"),
        ({"split": "frozen", "fold": 1}, "has the parts train, validation. A run needs"),
        ({"split": "folds", "fold": 4}, "has the parts fold-1, fold-2, fold-3. A run needs"),
        ({"split": "folds"}, "with --fold K"),
        ({"split": "/nowhere.csv"}, "is not a frozen split"),
    ],
)
def test_a_frozen_split_without_the_parts_of_a_run_is_refused(
    data: Path, tmp_path: Path, result: FitResult, changes: dict[str, object], message: str
) -> None:
    """It says which parts there are, and which are needed."""
    dataset = read_dataset(data)
    write_parts(folds_as_parts(k_folds(dataset.records, dataset.taxonomy, folds=3, seed=0)), tmp_path / "folds.csv")
    files = {"frozen": result.record.split, "folds": tmp_path / "folds.csv"}
    if "split" in changes:
        changes = {**changes, "split": files.get(str(changes["split"]), Path(str(changes["split"])))}

    with pytest.raises(SplitError, match=message):
        make_split(dataset, fast_settings(data, **changes))


def test_a_run_on_data_that_has_changed_since_is_refused(data: Path, result: FitResult, tmp_path: Path) -> None:
    """Before any training: the held-out images would not be the same."""
    copy = tmp_path / "data"
    shutil.copytree(data, copy)
    truth = copy / GROUND_TRUTH
    truth.write_text("\n".join(truth.read_text().splitlines()[:-1]))

    with pytest.raises(SplitError, match=r"1 removed since \(SYNTHETIC_SCC_0009\)"):
        fit(fast_settings(copy, split=result.record.split), Workspace(tmp_path / "home"))

    assert not (tmp_path / "home" / "runs").exists()


def test_the_first_version_is_champion_and_a_second_only_challenger(
    data: Path, workspace: Workspace, result: FitResult
) -> None:
    """A new model never takes over by itself."""
    second = fit(fast_settings(data, seed=1, epochs=1), workspace)

    assert result.registered is not None
    assert second.registered is not None
    assert set(result.registered.aliases) == {"champion", "challenger"}
    assert second.registered.aliases == ("challenger",)
    store = client(workspace)
    assert str(store.get_model_version_by_alias("skin-lesion", "champion").version) == result.registered.version
    assert str(store.get_model_version_by_alias("skin-lesion", "challenger").version) == second.registered.version


def test_registering_a_run_again_makes_no_second_version(result: FitResult, workspace: Workspace) -> None:
    """The command is safe to repeat."""
    again = register(Mirror(result.record, workspace.mlflow_database, workspace), "skin-lesion")

    assert result.registered is not None
    assert again.version == result.registered.version


def test_an_mlflow_that_is_down_stops_nothing_and_can_catch_up(data: Path, tmp_path: Path) -> None:
    """The record and the bundle are complete; registering later works."""
    workspace = Workspace(tmp_path)

    offline = fit(fast_settings(data, epochs=1), workspace, tracking_uri="http://127.0.0.1:9")

    assert offline.registered is None
    assert load_bundle(offline.record.bundle).digest == offline.bundle.digest
    with pytest.raises(TrackingError, match="lesion-train sync"):
        Mirror(offline.record, "http://127.0.0.1:9", workspace).sync()
    made = register(Mirror(RunRecord(offline.record.folder), workspace.mlflow_database, workspace), "skin-lesion")
    assert made.version == "1"
    run_id = str(client(workspace).get_model_version("skin-lesion", "1").run_id)
    assert client(workspace).get_metric_history(run_id, "val_bma")


def test_a_run_of_a_study_leaves_the_test_part_alone(tmp_path: Path) -> None:
    """Folds and trials would look at it once each: report and evaluation are of the validation part."""
    data = write_synthetic_dataset(tmp_path / "data", images_per_class=20, side_px=64)
    workspace = Workspace(tmp_path / "home")
    study = RunRecord.create(workspace.runs, "study", {}, {})

    made = fit(
        fast_settings(data, linear_probe=True, validation_fraction=0.25, test_fraction=0.25),
        workspace,
        parent=study,
        register=False,
    )

    assert [path.stem for path in made.record.predictions.iterdir()] == ["validation"]
    assert not [name for name in made.metrics if name.startswith("test_")]
    assert read_evaluation(made.bundle.folder / EVALUATION).data.part == "validation"
    assert set(read_parts(made.record.split).values()) == {"train", "validation", "test"}
    assert "**It was not measured on a test part**" in made.bundle.read("card.md").decode()


def test_a_damaged_image_is_named_before_training(tmp_path: Path) -> None:
    """All of them at once."""
    folder = write_synthetic_dataset(tmp_path / "data", images_per_class=10, side_px=64)
    for name in ("SYNTHETIC_MEL_0000.jpg", "SYNTHETIC_NV_0003.jpg"):
        (folder / IMAGES / name).write_bytes(b"\xff\xd8\xff broken")

    with pytest.raises(DatasetError) as caught:
        fit(fast_settings(folder), Workspace(tmp_path / "home"))

    assert {Path(problem.split(":")[0]).name for problem in caught.value.problems} == {
        "SYNTHETIC_MEL_0000.jpg",
        "SYNTHETIC_NV_0003.jpg",
    }
    (folder,) = (tmp_path / "home" / "runs").iterdir()
    end = RunRecord(folder).end
    assert end is not None  # or MLflow would show it as running for ever
    assert end[0] == "FAILED"


def test_an_unknown_backbone_names_the_closest(data: Path, tmp_path: Path) -> None:
    """Before anything is written."""
    with pytest.raises(LesionError, match="Did you mean 'efficientnet_lite0'"):
        fit(fast_settings(data, backbone="eficientnet_lite0"), Workspace(tmp_path / "home"))

    assert not (tmp_path / "home" / "runs").exists()


def test_lesions_of_one_patient_are_one_observation_of_a_threshold(tmp_path: Path) -> None:
    """Two patients of each diagnosis are held out, with two lesions each."""
    images = [
        FakeImage(name=f"{code}_{patient}_{lesion}", diagnosis=code, lesion=str(lesion), patient=f"{code}-{patient}")
        for code in ("MEL", "NV")
        for patient in range(4)
        for lesion in range(2)
    ]
    write_pad_ufes_20(tmp_path / "data", images)

    made = fit(
        fast_settings(tmp_path / "data", linear_probe=True, validation_fraction=0.5),
        Workspace(tmp_path / "home"),
        register=False,
    )

    sensitivity = next(p.sensitivity for p in made.bundle.manifest.decision.operating_points if p.target == "MEL")
    assert sensitivity == share_interval(sensitivity.value, 2)
