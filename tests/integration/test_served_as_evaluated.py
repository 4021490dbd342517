"""What is served is what was measured: the predictor answers as ``lesion-train evaluate`` does."""

from __future__ import annotations

import csv
from pathlib import Path

import attrs
import numpy as np
import pytest

from lesion_core.bundle import Bundle, write_bundle
from lesion_core.datasets import read_dataset
from lesion_core.datasets.synthetic import write_synthetic_dataset
from lesion_core.preprocess_spec import Views
from lesion_core.taxonomy import ISIC_2019
from lesion_serve.predictor import Predictor
from lesion_train.evaluation.run import EvaluationOptions, evaluate_bundle
from support.bundles import make_tiny_bundle, with_views
from support.onnx_bundles import make_onnx_bundle

# Strangeness of these images to a random network: 32 to 61.
MODERATE = 50.0


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn images, larger than the network's square."""
    return write_synthetic_dataset(tmp_path_factory.mktemp("data"), images_per_class=4, side_px=150, seed=9)


@pytest.fixture(scope="module", params=[make_tiny_bundle, make_onnx_bundle], ids=["torch", "onnx"])
def plain(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """To its random network every image is strange; here about half of one goes to none of the above.

    The evaluation runs it in torch; a server does so where the bundle has no ONNX.
    """
    folder = tmp_path_factory.mktemp("plain")
    bundle = request.param(folder / "tiny")
    ood = attrs.evolve(bundle.manifest.decision.ood, median=0.0, threshold=MODERATE)
    decision = attrs.evolve(bundle.manifest.decision, ood=ood)
    files = {name: bundle.read(name) for name in bundle.manifest.files}
    return write_bundle(folder / "bundle", attrs.evolve(bundle.manifest, decision=decision, files={}), files)


def evaluated(bundle: Bundle, data: Path, folder: Path) -> dict[str, list[float]]:
    """Probabilities of every image, as the evaluation hands them in to the challenge."""
    table = folder / "answers.csv"
    options = EvaluationOptions(isic_csv=table, with_thumbnails=False, resamples=20, threads=1, device="cpu")
    evaluate_bundle(bundle, data, folder / "evaluation", options)
    with table.open(newline="") as stream:
        return {row["image"]: [float(row[code]) for code in ISIC_2019.codes] for row in csv.DictReader(stream)}


def served(bundle: Bundle, data: Path) -> dict[str, list[float]]:
    """The same from the bytes of each file, one by one."""
    predictor = Predictor.load(bundle.folder, version="1")
    assert predictor.engine == ("torch" if bundle.manifest.onnx_parity is None else "onnx")
    return {
        record.isic_id: [item.probability for item in predictor.predict(record.path.read_bytes()).probabilities]
        for record in read_dataset(data).records
    }


@pytest.mark.parametrize("views", list(Views))
def test_the_predictor_answers_as_the_evaluation_does(plain: Bundle, data: Path, tmp_path: Path, views: Views) -> None:
    """Every probability of every image to 1e-5, with and without views."""
    bundle = with_views(plain, tmp_path / "bundle", views)

    measured, answers = evaluated(bundle, data, tmp_path), served(bundle, data)

    assert len(measured) == 32
    assert answers.keys() == measured.keys()
    for image, probabilities in measured.items():
        assert answers[image] == pytest.approx(probabilities, abs=1e-5)
    rows = np.array(list(answers.values()))
    assert np.ptp(rows, axis=0)[:-1].max() > 1e-3  # or else all images had been answered alike, and so equally


def test_views_change_the_answers(plain: Bundle, data: Path, tmp_path: Path) -> None:
    """By more than what the predictor may differ from the evaluation, so that one without views would be noticed."""
    answers = [np.array(list(served(with_views(plain, tmp_path / one, one), data).values())) for one in Views]

    for number, one in enumerate(answers):
        for other in answers[:number]:
            assert np.abs(one - other).max() > 1e-3
