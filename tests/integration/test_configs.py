"""The files in ``configs/``: each says what to expect, and each runs, here at smoke size."""

from __future__ import annotations

import tomllib
from pathlib import Path

import attrs
import pytest

from lesion_core.bundle import load_bundle
from lesion_core.datasets.synthetic import write_synthetic_dataset
from lesion_core.workspace import Workspace
from lesion_plugins.registry import BackboneRegistry
from lesion_train.config import preprocess_of, with_backbone_defaults
from lesion_train.config_file import resolve_config
from lesion_train.devices import resolve_precision
from lesion_train.fit import fit

FILES = sorted(Path.cwd().glob("configs/*.toml"))

each_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic_dataset(tmp_path_factory.mktemp("data"), images_per_class=20, side_px=64)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("home"))


def test_there_is_a_file_for_each_purpose() -> None:
    """And none is lost when the tests run elsewhere."""
    assert {file.stem for file in FILES} >= {
        "smoke",
        "efficientnet_lite0",
        "vit_tiny",
        "convnext_atto",
        "isic2019_gpu",
        "linear_probe",
    }


@each_file
def test_a_file_opens_with_its_command_minutes_and_score(file: Path) -> None:
    """A score has an interval, or is said not to be measured."""
    head = file.read_text(encoding="utf-8").split("\n\n")[0]
    told = dict(line[2:].split(":", 1) for line in head.splitlines() if line.startswith(("# Com", "# Min", "# Sco")))

    assert f"lesion-train fit --config configs/{file.name} --data " in told["Command"]
    assert told["Minutes"].strip()
    assert "95 % CI" in told["Score"] or "not measured" in told["Score"]


@each_file
def test_a_file_leaves_the_threads_to_the_machine(file: Path) -> None:
    """The default is divided among the processes that torchrun starts; a number in a file is taken by each of them."""
    assert not {"threads", "workers"} & set(tomllib.loads(file.read_text(encoding="utf-8")))


@each_file
def test_the_backbone_of_a_file_has_its_size_and_its_weights(file: Path) -> None:
    """What the run at smoke size replaces."""
    config = resolve_config(file, {"data": Path("images")}).config()
    backbone = BackboneRegistry.load().get(config.backbone)

    backbone.check_input_size(preprocess_of(config, backbone).input_size_px)
    assert {"bundled": backbone.bundled, "hub": backbone.hub}[config.pretrained] is not None


@each_file
def test_a_file_runs_and_its_run_can_be_repeated_from_its_record(file: Path, data: Path, workspace: Workspace) -> None:
    """One epoch on 80 drawings, from random weights; the settings in the record are those that were resolved."""
    stated = resolve_config(file, {}).values
    patch = BackboneRegistry.load().get(str(stated["backbone"])).input_multiple_px
    side = 32 if 32 % patch == 0 else 3 * patch
    small: dict[str, object] = {
        **({} if stated["linear_probe"] else {"epochs": 1, "batch_size": 16}),
        "input_size_px": side,
        "pretrained": "none",
        "device": "cpu",
        "threads": 1,
    }
    small["onnx"] = False  # fifteen seconds each
    config = resolve_config(file, {"data": data, **small}).config()

    result = fit(config, workspace)

    manifest = load_bundle(result.bundle.folder).manifest
    assert manifest.backbone.name == tomllib.loads(file.read_text(encoding="utf-8"))["backbone"]
    again = resolve_config(result.record.config, {"data": data}).config()
    backbone = BackboneRegistry.load().get(config.backbone)
    resolved = attrs.evolve(with_backbone_defaults(config, backbone), precision=resolve_precision(config, backbone))
    assert again == resolved
    assert data.name not in result.record.config.read_text().replace("--data DIR", "")
