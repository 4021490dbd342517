"""A taxonomy of one's own, from its file to the words of the page."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from lesion_core.datasets.synthetic import draw_lesion
from lesion_core.errors import DatasetError
from lesion_core.taxonomy import ISIC_2019
from lesion_core.taxonomy_file import read_taxonomy
from lesion_core.wire import Prediction, from_json, to_json
from lesion_core.workspace import Workspace
from lesion_serve.predictor import Predictor
from lesion_train.config import TrainConfig
from lesion_train.fit import fit
from lesion_ui.view import answer_view
from support.images import encoded_lesion

EXAMPLE = Path.cwd() / "docs/taxonomy.example.toml"
DRAWN = {"Melanoma": "MEL", "nevus": "NV", "other growth": "BKL"}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    for name, code in DRAWN.items():
        (folder / "Train" / name).mkdir(parents=True)
        for n in range(10):
            Image.fromarray(draw_lesion(code, seed=n, side_px=64)).save(folder / "Train" / name / f"{n}.png")
    return folder


def settings(data: Path, taxonomy: Path) -> TrainConfig:
    return TrainConfig(
        data=data, taxonomy=taxonomy, epochs=1, input_size_px=64, threads=1, pretrained="none", batch_size=8
    )


def shown(folder: Path) -> str:
    """Every word of the page for one image."""
    prediction = Predictor.load(folder, version="1").predict(encoded_lesion())
    return repr(answer_view(from_json(to_json(prediction), Prediction)))


def test_the_users_names_codes_and_groups_reach_the_page(data: Path, tmp_path: Path) -> None:
    """Through folders, network, bundle and wire; no name of ISIC 2019 is left."""
    result = fit(settings(data, EXAMPLE), Workspace(tmp_path / "home"))

    assert result.bundle.manifest.taxonomy == read_taxonomy(EXAMPLE)
    page = shown(result.bundle.folder)
    for name in ("Melanoma", "Mole", "Other growth", "Not a lesion of these", "Malignancy risk"):
        assert name in page
    for diagnosis in ISIC_2019.diagnoses[1:]:
        assert diagnosis.name not in page


def test_without_a_malignant_diagnosis_the_page_gives_no_risk(data: Path, tmp_path: Path) -> None:
    """And says so."""
    benign = tmp_path / "benign.toml"
    benign.write_text(EXAMPLE.read_text().replace('malignancy = "malignant"', 'malignancy = "benign"'))

    result = fit(settings(data, benign), Workspace(tmp_path / "home"))

    assert result.bundle.manifest.decision.triage == ()
    assert "No malignancy risk" in shown(result.bundle.folder)


def test_a_folder_that_the_taxonomy_does_not_know_is_named(data: Path, tmp_path: Path) -> None:
    """Before anything is trained."""
    (data / "Train" / "nevus").rename(data / "Train" / "Basal cell carcinoma")

    with pytest.raises(DatasetError, match="No diagnosis named 'Basal cell carcinoma'"):
        fit(settings(data, EXAMPLE), Workspace(tmp_path / "home"))
