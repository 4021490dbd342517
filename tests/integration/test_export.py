"""A trained network as ONNX: kept only where it answers as torch does."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import structlog
import torch
from numpy.typing import NDArray

from lesion_core.bundle import ONNX, load_bundle
from lesion_core.datasets import read_dataset
from lesion_core.datasets.synthetic import write_synthetic_dataset
from lesion_core.decision.metadata import metadata_features
from lesion_core.errors import LesionError
from lesion_core.preprocess_spec import PreprocessSpec, Views
from lesion_core.workspace import Workspace
from lesion_plugins.classifier import Classifier, build_classifier
from lesion_plugins.onnx_network import OnnxNetwork, OnnxOutput
from lesion_train.config import TrainConfig
from lesion_train.data import unknown_metadata
from lesion_train.export import export_checked
from lesion_train.export_cli import export
from lesion_train.fit import fit
from lesion_train.inference import run_network
from support.runs import fast_settings
from support.small_network import SIDE, SMALL_CNN

pytestmark = pytest.mark.usefixtures("own_logging")

SQUARES = np.random.default_rng(0).integers(0, 256, (70, SIDE, SIDE, 3), dtype=np.uint8)


@pytest.fixture
def own_logging() -> Iterator[None]:
    """The command sets logging up for its program, with a stream that is closed after the test."""
    yield
    structlog.reset_defaults()


def classifier(metadata_features: int = 0) -> Classifier:
    torch.manual_seed(0)
    model, _ = build_classifier(
        SMALL_CNN, classes=3, input_size_px=SIDE, pretrained="none", metadata_features=metadata_features
    )
    return model.eval()


@pytest.mark.parametrize("views", [Views.NONE, Views.FLIPS_AND_ROTATIONS])
@pytest.mark.parametrize("metadata_features", [0, 7])
def test_parity_is_of_the_whole_part_with_all_views(views: Views, metadata_features: int) -> None:
    """Whatever else the network takes."""
    model, spec = classifier(metadata_features), PreprocessSpec(input_size_px=SIDE, views=views)

    found = export_checked(model, SQUARES, run_network(model, SQUARES, spec).logits, spec)

    assert found is not None
    assert found.data is not None
    assert found.parity.images == len(SQUARES)
    assert found.parity.holds


def test_an_export_that_answers_otherwise_is_not_kept() -> None:
    """Its figures are."""
    model, spec = classifier(), PreprocessSpec(input_size_px=SIDE)
    others = run_network(model, SQUARES, spec).logits
    others[3] += 0.01

    found = export_checked(model, SQUARES, others, spec)

    assert found is not None
    assert found.data is None
    assert found.parity.max_logit_gap == pytest.approx(0.01, rel=1e-2)


@pytest.mark.parametrize(("gap", "is_kept"), [(0.0, True), (0.01, False)])
def test_what_is_said_with_metadata_is_compared_too(gap: float, is_kept: bool) -> None:
    """Servers tell the network what is known of a patient."""
    model, spec = classifier(7), PreprocessSpec(input_size_px=SIDE)
    assert model.metadata_branch is not None
    for weights in model.metadata_branch.parameters():
        torch.nn.init.normal_(weights)
    metadata = np.random.default_rng(0).normal(size=(len(SQUARES), 7)).astype(np.float32)
    alone, told = (run_network(model, SQUARES, spec, given).logits for given in (None, metadata))
    told[-1] += gap

    found = export_checked(model, SQUARES, alone, spec, told=(metadata, told))

    assert not np.allclose(alone, told)
    assert found is not None
    assert found.parity.images == len(SQUARES)
    assert (found.data is not None) is is_kept


class Frozen(torch.nn.Module):
    """Takes batches of one size only, once it is exported."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean((2, 3)) * (1.0 if images.shape[0] == 2 else 2.0)


def test_a_network_that_cannot_be_exported_for_any_batch_ends_no_run() -> None:
    """Training is over by then."""
    model, spec = Classifier(Frozen(), feature_dim=3, classes=3).eval(), PreprocessSpec(input_size_px=SIDE)

    assert export_checked(model, SQUARES, run_network(model, SQUARES, spec).logits, spec) is None


def test_a_run_exports_and_a_bundle_without_can_be_given_one_later(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same bytes; the first bundle is not changed."""
    data = write_synthetic_dataset(tmp_path / "data", images_per_class=10, side_px=64)

    def run(*, onnx: bool) -> Path:
        settings = TrainConfig(
            data=data,
            linear_probe=True,
            input_size_px=64,
            threads=1,
            validation_fraction=0.2,
            test_fraction=0.0,
            onnx=onnx,
        )
        return fit(settings, Workspace(tmp_path / "home")).bundle.folder

    whole, without = load_bundle(run(onnx=True)), load_bundle(run(onnx=False))
    export(without.folder, data=data, out=tmp_path / "later", threads=1)

    later = load_bundle(tmp_path / "later")
    assert whole.manifest.onnx_parity is not None
    assert later.manifest.onnx_parity is not None
    assert later.manifest.onnx_parity.holds
    assert later.read(ONNX) == whole.read(ONNX)
    assert without.manifest.onnx_parity is None
    assert ONNX not in load_bundle(without.folder).manifest.files
    assert "ONNX Runtime" in capsys.readouterr().out
    with pytest.raises(LesionError, match="exists already"):
        export(without.folder, data=data, out=tmp_path / "later", threads=1)


def test_a_bundle_that_takes_metadata_is_compared_with_it_by_the_command_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a run: an export that is right only of patients of whom nothing is known is not kept."""
    data = write_synthetic_dataset(tmp_path / "data", images_per_class=10, side_px=64)
    settings = fast_settings(data, metadata_fusion=True, epochs=1)
    bundle = load_bundle(fit(settings, Workspace(tmp_path / "home"), register=False).bundle.folder)
    assert bundle.manifest.metadata_sites is not None
    unknown = unknown_metadata(metadata_features(bundle.manifest.metadata_sites))

    class Wrong(OnnxNetwork):
        def __call__(self, images: NDArray[np.float32], metadata: NDArray[np.float32] | None = None) -> OnnxOutput:
            said = super().__call__(images, metadata)
            is_told = metadata is not None and (metadata != unknown).any()
            return said._replace(logits=said.logits + 1) if is_told else said

    monkeypatch.setattr("lesion_train.export.OnnxNetwork", Wrong)

    with pytest.raises(LesionError, match="no ONNX that answers as it does"):
        export(bundle.folder, data=data, out=tmp_path / "later", threads=1)


def test_a_bundle_of_diagnoses_of_one_s_own_is_exported_far_from_its_run(tmp_path: Path) -> None:
    """As one that was fetched from MLflow: with the split of its run, and folders that only its taxonomy knows."""
    folders = tmp_path / "data" / "Train"
    for image in read_dataset(write_synthetic_dataset(tmp_path / "drawn", images_per_class=4, side_px=64)).records:
        kept = folders / ("Lump" if image.diagnosis in ("MEL", "BCC", "SCC", "AK") else "Spot")
        kept.mkdir(parents=True, exist_ok=True)
        shutil.copy(image.path, kept)
    taxonomy = tmp_path / "mine.toml"
    taxonomy.write_text(
        'name = "lumps"\n'
        '[[diagnosis]]\ncode = "LUMP"\nname = "Lump"\nmalignancy = "malignant"\nplain = "A lump."\n'
        '[[diagnosis]]\ncode = "SPOT"\nname = "Spot"\nmalignancy = "benign"\nplain = "A spot."\n'
    )
    settings = TrainConfig(
        data=folders.parent, taxonomy=taxonomy, linear_probe=True, input_size_px=64, threads=1, onnx=False
    )
    record = fit(settings, Workspace(tmp_path / "home"), register=False).record
    fetched = shutil.copytree(record.bundle, tmp_path / "fetched")

    with pytest.raises(LesionError, match="give --split FILE"):
        export(fetched, data=folders.parent, out=tmp_path / "later", threads=1)
    export(fetched, data=folders.parent, split=record.split, out=tmp_path / "later", threads=1)

    parity = load_bundle(tmp_path / "later").manifest.onnx_parity
    assert parity is not None
    assert parity.images == load_bundle(fetched).manifest.training.validation_images
