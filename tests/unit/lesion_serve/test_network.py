"""Which engine a bundle's network runs in, and that the answers do not depend on it."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import attrs
import numpy as np
import pytest
from PIL import Image

from lesion_core.bundle import ONNX, Bundle, OnnxParity, write_bundle
from lesion_core.decision.metadata import PatientMetadata
from lesion_core.preprocess_spec import Views
from lesion_core.processes import child_environment
from lesion_core.wire import Prediction
from lesion_plugins.classifier import classifier_from_bundle
from lesion_plugins.errors import OnnxError, PluginMissingError
from lesion_plugins.onnx_network import export_onnx
from lesion_plugins.registry import BackboneRegistry
from lesion_serve.predictor import Predictor
from support.bundles import SIDE_PX, make_tiny_bundle, with_metadata_branch
from support.images import encoded_lesion

EXACT = OnnxParity(images=10, max_logit_gap=1e-6, disagreements=0)
FAR = OnnxParity(images=10, max_logit_gap=0.5, disagreements=1)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_tiny_bundle(tmp_path_factory.mktemp("plain") / "bundle")


@pytest.fixture(scope="module")
def network(plain: Bundle) -> bytes:
    return export_onnx(classifier_from_bundle(plain, BackboneRegistry.load()), input_size_px=SIDE_PX)


def with_onnx(plain: Bundle, folder: Path, network: bytes, parity: OnnxParity = EXACT, **changes: object) -> Path:
    files = {name: plain.read(name) for name in plain.manifest.files}
    manifest = attrs.evolve(plain.manifest, files={}, onnx_parity=parity, **changes)  # type: ignore[arg-type]
    return write_bundle(folder, manifest, {**files, ONNX: network}).folder


@pytest.mark.parametrize("views", list(Views))
def test_both_engines_give_the_same_answer(plain: Bundle, network: bytes, tmp_path: Path, views: Views) -> None:
    """Probabilities, risk, strangeness and heat map, whatever views are averaged."""
    spec = attrs.evolve(plain.manifest.preprocess, views=views)
    folder = with_onnx(plain, tmp_path / "bundle", network, preprocess=spec)
    fast, slow = (Predictor.load(folder, version="1", engine=engine) for engine in ("auto", "torch"))

    one, other = (predictor.predict(encoded_lesion(), heat_map=True) for predictor in (fast, slow))

    assert (fast.engine, slow.engine) == ("onnx", "torch")
    assert [item.probability for item in one.probabilities] == pytest.approx(
        [item.probability for item in other.probabilities], abs=1e-5
    )
    assert one.risk is not None
    assert other.risk is not None
    assert one.risk.probability == pytest.approx(other.risk.probability, abs=1e-4)
    assert one.out_of_distribution.score == pytest.approx(other.out_of_distribution.score, rel=1e-3)
    check_same_heat_map(one, other)


def test_both_engines_give_the_same_heat_map_beside_a_metadata_branch(plain: Bundle, tmp_path: Path) -> None:
    """For a patient of whom something is known."""
    fused = with_metadata_branch(plain, tmp_path / "fused")
    network = export_onnx(classifier_from_bundle(fused, BackboneRegistry.load()), input_size_px=SIDE_PX)
    folder = with_onnx(fused, tmp_path / "bundle", network)
    known = PatientMetadata(age_approx=60, sex="male")
    fast, slow = (Predictor.load(folder, version="1", engine=engine) for engine in ("onnx", "torch"))

    one, other = (predictor.predict(encoded_lesion(), metadata=known, heat_map=True) for predictor in (fast, slow))

    check_same_heat_map(one, other)


def check_same_heat_map(one: Prediction, other: Prediction) -> None:
    assert one.heat_map is not None
    assert other.heat_map is not None
    assert one.heat_map.code == other.heat_map.code
    for bound in ("lowest", "highest"):
        assert getattr(one.heat_map, bound) == pytest.approx(getattr(other.heat_map, bound), abs=1e-3)
    fast, slow = (np.asarray(Image.open(io.BytesIO(drawn.png))) for drawn in (one.heat_map, other.heat_map))
    assert (fast != slow).mean() < 0.01  # a value on the edge of two steps may fall to either side


def test_a_network_whose_parity_does_not_hold_is_not_used(plain: Bundle, network: bytes, tmp_path: Path) -> None:
    """Nor one that a bundle does not have."""
    differs = with_onnx(plain, tmp_path / "bundle", network, FAR)

    assert Predictor.load(differs, version="1").engine == "torch"
    assert Predictor.load(plain.folder, version="1").engine == "torch"
    for folder in (differs, plain.folder):
        with pytest.raises(OnnxError, match="lesion-train export"):
            Predictor.load(folder, version="1", engine="onnx")


def test_onnx_runtime_that_is_missing_is_no_reason_not_to_serve(
    plain: Bundle, network: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless it was asked for by name."""
    folder = with_onnx(plain, tmp_path / "bundle", network)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)

    assert Predictor.load(folder, version="1").engine == "torch"
    with pytest.raises(OnnxError, match="pip install onnxruntime"):
        Predictor.load(folder, version="1", engine="onnx")


def test_the_plugin_is_asked_for_whatever_the_engine(plain: Bundle, network: bytes, tmp_path: Path) -> None:
    """Its version decides whether the bundle is served."""
    backbone = attrs.evolve(plain.manifest.backbone, name="stranger", plugin="lesion-stranger")

    with pytest.raises(PluginMissingError, match="lesion-stranger"):
        Predictor.load(with_onnx(plain, tmp_path / "bundle", network, backbone=backbone), version="1")


def test_a_worker_with_onnx_runtime_imports_nothing_that_only_trains(
    plain: Bundle, network: bytes, tmp_path: Path
) -> None:
    """Neither torch nor what the decision layer is fitted with: it saves hundreds of MB, and seconds at the start."""
    folder = with_onnx(plain, tmp_path / "bundle", network)
    program = (
        "import sys; from pathlib import Path; import lesion_serve.handler\n"
        "from lesion_serve.predictor import Predictor\n"
        f"predictor = Predictor.load(Path({str(folder)!r}), version='1'); predictor.warm_up()\n"
        "unneeded = {'torch', 'timm', 'sklearn', 'scipy.optimize', 'scipy.stats', 'pandas', 'mlflow'}\n"
        "print(predictor.engine, *sorted(unneeded & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", program], env=child_environment(), capture_output=True, text=True)

    assert done.stdout.split() == ["onnx"], done.stderr
