"""The whole chain, with real parts: train → bundle → registry → .mar → TorchServe → wire → the app's page."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

import lesion_ui.app
from lesion_core.bundle import load_bundle
from lesion_core.datasets.synthetic import draw_lesion, write_synthetic_dataset
from lesion_core.processes import ChildProcess, child_environment, free_port
from lesion_core.taxonomy import ISIC_2019
from lesion_core.workspace import Endpoint, Workspace
from lesion_ui.client import GatewayClient


def run(home: Path, module: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env=child_environment({"LESION_HOME": str(home), "OMP_NUM_THREADS": "1"}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with one registered version, trained on a few drawn images."""
    home = tmp_path_factory.mktemp("home")
    data = write_synthetic_dataset(home / "data", images_per_class=20, side_px=80)
    options = ("--epochs", "2", "--input-size-px", "64", "--threads", "1", "--batch-size", "16")
    shown = run(home, "lesion_train", "fit", "--data", str(data), *options)
    assert "models:/skin-lesion/1" in shown
    return home


@pytest.fixture(scope="module")
def endpoint(home: Path) -> Iterator[Endpoint]:
    """A gateway and a real TorchServe that serve the registered champion."""
    ports = ("--port", str(free_port()), "--torchserve-port", str(free_port()))
    server = ChildProcess.start(
        "server",
        [sys.executable, "-m", "lesion_serve", "start", "models:/skin-lesion@champion", *ports],
        log_path=home / "serve.log",
        environment={"LESION_HOME": str(home)},
    )
    try:
        server.wait_until(lambda: Workspace(home).endpoint.is_file(), timeout_s=240)
        yield Endpoint.load(Workspace(home).endpoint)
    finally:
        server.stop()


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "SYNTHETIC.png"
    Image.fromarray(draw_lesion("VASC", seed=77)).save(path)
    return path


def test_the_served_answer_is_the_registered_models(endpoint: Endpoint, home: Path, image: Path) -> None:
    """Nine probabilities, and the identity of the bundle that training wrote."""
    prediction = GatewayClient(endpoint, timeout_s=60).predict(image.read_bytes())

    (run_folder,) = (home / "runs").iterdir()
    bundle = load_bundle(run_folder / "bundle")
    assert tuple(item.code for item in prediction.probabilities) == ISIC_2019.codes
    assert sum(item.probability for item in prediction.probabilities) == pytest.approx(1, abs=1e-6)
    assert prediction.model.bundle_digest == bundle.digest
    assert prediction.model.version == "1"
    assert prediction.model.backbone == "efficientnet_lite0"


def test_the_page_shows_the_served_diagnosis(endpoint: Endpoint, image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the clinician reads is what the server said."""
    monkeypatch.setenv("LESION_ENDPOINT_URL", endpoint.url)
    monkeypatch.setenv("LESION_ENDPOINT_TOKEN", endpoint.token)
    prediction = GatewayClient(endpoint, timeout_s=60).predict(image.read_bytes())
    page = AppTest.from_file(lesion_ui.app.__file__, default_timeout=60).run()

    page.button(key="consent").click().run()
    page.file_uploader[0].upload(image.name, image.read_bytes(), "image/png").run()

    assert not page.exception
    text = "\n".join(
        str(item.value) for kind in (page.markdown, page.caption, page.warning, page.info) for item in kind
    )
    assert prediction.top.name in text
    assert page.get("plotly_chart")
    assert "esearch use only" in text


def test_the_same_archive_serves_the_same_answer_on_real_photographs(endpoint: Endpoint) -> None:
    """Full-size dermoscopic JPEGs, where they are at hand."""
    if "LESION_DATA" not in os.environ:
        pytest.skip("needs the real images: set LESION_DATA")
    client = GatewayClient(endpoint, timeout_s=60)
    paths = sorted((Path(os.environ["LESION_DATA"]) / "fullsize").glob("*.jpg"))[:5]
    assert paths
    for path in paths:
        first, second = client.predict(path.read_bytes()), client.predict(path.read_bytes())
        assert first.probabilities == second.probabilities
