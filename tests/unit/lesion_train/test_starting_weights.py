"""What is known of the weights that a run starts from."""

from __future__ import annotations

import shutil
from pathlib import Path

import attrs
import pytest

from lesion_core.bundle import WEIGHTS, write_bundle
from lesion_core.data_source import DRAWN
from lesion_core.datasets.synthetic import write_synthetic_dataset
from lesion_core.errors import BundleError, LesionError
from lesion_core.frozen_split import write_parts
from lesion_core.splits import Split
from lesion_core.workspace import Workspace
from lesion_plugins.backbone import BackboneSpec
from lesion_plugins.registry import BackboneRegistry
from lesion_train.card_limits import weights_terms
from lesion_train.config import TrainConfig
from lesion_train.contender import Contender
from lesion_train.fit import FitResult, fit
from lesion_train.promotion import examine
from lesion_train.starting_weights import describe_weights, require_unseen, splits_behind
from support.runs import images

ORIGIN = "file weights.safetensors, sha256 00"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic_dataset(tmp_path_factory.mktemp("data"), images_per_class=10, side_px=64)


def settings(data: Path, **changes: object) -> TrainConfig:
    defaults = {"data": data, "linear_probe": True, "input_size_px": 32, "threads": 1, "onnx": False}
    defaults |= {"validation_fraction": 0.2, "test_fraction": 0.0, "data_license": "CC BY-NC 4.0"}
    return TrainConfig(**{**defaults, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def first(data: Path, tmp_path_factory: pytest.TempPathFactory) -> FitResult:
    return fit(settings(data), Workspace(tmp_path_factory.mktemp("home")), register=False)


@pytest.fixture(scope="module")
def backbone() -> BackboneSpec:
    return BackboneRegistry.load().get("efficientnet_lite0")


def test_weights_of_a_bundle_are_bound_by_its_images_and_by_what_it_started_from(
    first: FitResult, backbone: BackboneSpec
) -> None:
    """Both licences, and the whole way back."""
    manifest = first.bundle.manifest

    found = describe_weights(backbone, str(first.bundle.folder / WEIGHTS), ORIGIN, stated=None)

    assert found.license == "CC BY-NC 4.0 / Apache-2.0"
    assert found.origin.startswith(f"{ORIGIN}, of bundle {first.bundle.digest}, trained on {manifest.training.dataset}")
    assert found.origin.endswith(f"from {manifest.backbone.weights_origin}")


def test_a_model_of_two_stages_passes_the_gate_of_its_card(first: FitResult, data: Path, tmp_path: Path) -> None:
    """Its card says what both stages' licences mean; no override is needed."""
    weights = str(first.bundle.folder / WEIGHTS)
    second = fit(settings(data, pretrained=weights, data_license="CC BY 4.0"), Workspace(tmp_path), register=False)

    gates = {gate.name: gate for gate in examine(Contender.from_run(second.record.folder), None)}

    assert gates["card"].has_passed, gates["card"].sentence
    card = second.bundle.read("card.md").decode()
    assert "for non-commercial use only, because the weights that training started from are under CC BY-NC 4.0." in card
    assert second.bundle.manifest.training.data_licenses == ("CC BY 4.0",)


def test_a_licence_with_signs_that_mean_something_to_markdown_is_found_in_the_card(
    first: FitResult, data: Path, tmp_path: Path
) -> None:
    """The card escapes them; the gate looks for what it shows."""
    weights = str(first.bundle.folder / WEIGHTS)
    second = fit(settings(data, pretrained=weights, weights_license="Ours [v2]"), Workspace(tmp_path), register=False)

    gates = {gate.name: gate for gate in examine(Contender.from_run(second.record.folder), None)}

    assert gates["card"].has_passed, gates["card"].sentence


def test_a_run_on_what_its_starting_weights_learnt_from_is_refused(
    first: FitResult, data: Path, tmp_path: Path
) -> None:
    """By lesion, too: with another seed, its validation part is of images that the first run trained on."""
    weights = str(first.bundle.folder / WEIGHTS)

    with pytest.raises(LesionError, match=r"trained on images of \d+ of the \d+ validation images.*--keep") as caught:
        fit(settings(data, pretrained=weights, seed=1), Workspace(tmp_path), register=False)

    assert caught.value.code == "trained_on_before"
    assert not (tmp_path / "runs").exists()


def test_a_test_part_that_the_first_run_chose_by_is_refused(tmp_path: Path) -> None:
    """Its validation part chose the epoch: as a test part it would be too good. As a validation part it may serve."""
    records = images(48, "one")
    first = Split(train=records[:16], validation=records[16:32], test=records[32:])
    write_parts(first.parts, tmp_path / "split.csv")
    paths = (tmp_path / "split.csv",)

    require_unseen(paths, first)
    require_unseen(paths, Split(train=(), validation=records[16:], test=()))
    with pytest.raises(LesionError, match="chosen by images of 16 of the 32 test images"):
        require_unseen(paths, Split(train=(), validation=(), test=records[16:]))
    with pytest.raises(LesionError, match="trained on images of 16 of the 16 validation images"):
        require_unseen(paths, Split(train=(), validation=records[:16], test=()))


def test_a_run_records_what_its_starting_weights_were_trained_on(first: FitResult, data: Path, tmp_path: Path) -> None:
    """And what theirs were: all splits behind a third model are known."""
    second = fit(
        settings(data, pretrained=str(first.bundle.folder / WEIGHTS)), Workspace(tmp_path / "2"), register=False
    )

    behind = splits_behind(str(second.bundle.folder / WEIGHTS))

    assert [path.read_text() for path in second.record.earlier_splits] == [first.record.split.read_text()]
    assert behind == (second.record.split.resolve(), *second.record.earlier_splits)
    assert splits_behind("bundled") == ()


def test_a_bundle_without_the_licences_of_its_images_leaves_them_open(
    first: FitResult, backbone: BackboneSpec, tmp_path: Path
) -> None:
    """As those of earlier releases; then it has to be stated, or the gate refuses."""
    weights = _rewritten(first, tmp_path, data_licenses=())

    found = describe_weights(backbone, str(weights), ORIGIN, stated=None)

    assert found.license == "not stated / Apache-2.0"
    assert describe_weights(backbone, str(weights), ORIGIN, stated="CC BY-NC 4.0").license == "CC BY-NC 4.0"
    identity = attrs.evolve(first.bundle.manifest.backbone, weights_license=found.license)
    candidate = Contender.from_run(first.record.folder)
    assert candidate.bundle is not None
    manifest = attrs.evolve(candidate.bundle.manifest, backbone=identity)
    unclear = attrs.evolve(candidate, bundle=attrs.evolve(candidate.bundle, manifest=manifest))
    gates = {gate.name: gate for gate in examine(unclear, None)}
    assert "the licence of the weights is not named" in gates["card"].sentence


def test_a_file_outside_a_bundle_has_the_licence_that_is_stated(backbone: BackboneSpec, tmp_path: Path) -> None:
    """And none where nobody states one."""
    file = str(tmp_path / WEIGHTS)

    assert describe_weights(backbone, file, ORIGIN, stated="MIT").license == "MIT"
    assert describe_weights(backbone, file, ORIGIN, stated=None).license == "not stated"


def test_an_altered_bundle_is_no_witness(first: FitResult, backbone: BackboneSpec, tmp_path: Path) -> None:
    """It is refused, since nobody knows what its weights are."""
    copy = tmp_path / "bundle"
    shutil.copytree(first.bundle.folder, copy)
    (copy / WEIGHTS).write_bytes(b"other")

    with pytest.raises(BundleError, match="altered"):
        describe_weights(backbone, str(copy / WEIGHTS), ORIGIN, stated=None)


def test_a_licence_for_weights_that_are_no_file_is_refused(data: Path, tmp_path: Path) -> None:
    """Before anything is written: theirs is known."""
    with pytest.raises(LesionError, match="--weights-license 'MIT' is for weights of a file") as caught:
        fit(settings(data, weights_license="MIT"), Workspace(tmp_path / "home"))

    assert caught.value.code == "weights_license"
    assert not (tmp_path / "home" / "runs").exists()


def test_the_strictest_of_several_licences_decides(first: FitResult) -> None:
    """Of the weights that training started from."""
    identity = attrs.evolve(first.bundle.manifest.backbone, weights_license="Apache-2.0 / CC BY-NC 4.0")

    assert weights_terms(DRAWN, identity) == (
        "The trained weights are for non-commercial use only, because the weights that training started from are under "
        "CC BY-NC 4.0."
    )


def _rewritten(result: FitResult, folder: Path, **changes: object) -> Path:
    """Weights in a bundle that says other things of its training."""
    manifest = result.bundle.manifest
    files = {name: result.bundle.read(name) for name in manifest.files}
    training = attrs.evolve(manifest.training, **changes)  # type: ignore[arg-type]
    return write_bundle(folder / "bundle", attrs.evolve(manifest, training=training), files).folder / WEIGHTS
