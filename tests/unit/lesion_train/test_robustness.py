"""What a network is shown of a worse photograph: what serving would show it."""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import safetensors.numpy
from numpy.typing import NDArray
from PIL import Image

from lesion_core.bundle import REFERENCE, Bundle
from lesion_core.datasets import read_dataset
from lesion_core.datasets.synthetic import write_synthetic_dataset
from lesion_core.decision.ood import NetworkOutput
from lesion_core.imaging import decode_image
from lesion_core.preprocess import load_square
from lesion_core.preprocess_spec import SHADES_OF_GREY
from lesion_train.evaluation import run
from lesion_train.evaluation.corruptions import SEVERITIES, corrupt
from lesion_train.evaluation.robustness import measure_robustness
from lesion_train.evaluation.run import EvaluationOptions, evaluate_bundle
from support.bundles import SIDE_PX, make_tiny_bundle

CORRUPTIONS = ("white balance", "dark surround")
STEPS: dict[str, dict[str, Any]] = {
    "neither": {},
    "colour constancy": {"colour_constancy": SHADES_OF_GREY},
    "crop border": {"crop_border": True},
    "both": {"colour_constancy": SHADES_OF_GREY, "crop_border": True},
    "both and a smaller square": {
        "colour_constancy": SHADES_OF_GREY,
        "crop_border": True,
        "crop_fraction": 0.5,
        "input_size_px": SIDE_PX // 2,
    },
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "bundle")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs of the network's own side, so that nothing is scaled before they are corrupted."""
    return write_synthetic_dataset(tmp_path_factory.mktemp("data"), images_per_class=1, side_px=SIDE_PX)


def png(image: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


def shown(
    bundle: Bundle, data: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, steps: dict[str, Any]
) -> tuple[Bundle, list[NDArray[np.uint8]]]:
    """Evaluate a bundle with other steps: every block that its network was asked about, in order."""
    asked: list[NDArray[np.uint8]] = []
    width = safetensors.numpy.load(bundle.read(REFERENCE))["class_means"].shape[1]

    def network(model: object, squares: NDArray[np.uint8], **others: object) -> NetworkOutput:
        asked.append(squares[:])
        return NetworkOutput(logits=np.zeros((len(squares), 8)), embeddings=np.ones((len(squares), width)))

    monkeypatch.setattr(run, "run_network", network)
    monkeypatch.setattr(run, "measure_robustness", partial(measure_robustness, corruptions=CORRUPTIONS))
    monkeypatch.setattr(run, "write_evaluation", lambda *arguments: None)
    spec = attrs.evolve(bundle.manifest.preprocess, **steps)
    other = attrs.evolve(bundle, manifest=attrs.evolve(bundle.manifest, preprocess=spec))
    options = EvaluationOptions(corruptions=True, with_thumbnails=False, resamples=2, threads=1, device="cpu")
    evaluate_bundle(other, data, folder / "out", options)
    return other, asked


@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
def test_a_corrupted_photograph_is_shown_as_serving_would_show_it(
    bundle: Bundle, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: dict[str, Any]
) -> None:
    """To the last bit: the bundle's own steps come after the corruption; clean ones are those of the evaluation."""
    other, (measured, clean, *corrupted) = shown(bundle, data, tmp_path, monkeypatch, steps)

    photographs = [decode_image(record.path.read_bytes()) for record in read_dataset(data).records]
    np.testing.assert_array_equal(clean, measured)
    made = [(corruption, severity) for corruption in CORRUPTIONS for severity in SEVERITIES]
    for (corruption, severity), block in zip(made, corrupted, strict=True):
        worse = [corrupt(photograph, corruption, severity, row=row) for row, photograph in enumerate(photographs)]
        served = [load_square(png(one), other.manifest.preprocess) for one in worse]
        np.testing.assert_array_equal(block, np.stack(served))
