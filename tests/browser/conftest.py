"""The app as a process of its own, before a service with one canned answer, and a browser."""

from __future__ import annotations

import sys
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from browser.pages import AssessPage, launch_chromium
from lesion_core.datasets.synthetic import draw_lesion
from lesion_core.processes import ChildProcess, free_port
from lesion_core.taxonomy import ISIC_2019
from lesion_core.wire import (
    ClassProbability,
    ConformalSet,
    MalignancyRisk,
    ModelIdentity,
    OutOfDistribution,
    Prediction,
    to_json,
)

SHARES = {"MEL": 0.62, "NV": 0.2, "BKL": 0.1, "BCC": 0.03, "SCC": 0.02, "AK": 0.02, "DF": 0.005, "VASC": 0.005}
ANSWER = Prediction(
    request_id="canned",
    model=ModelIdentity(name="skin-lesion", version="3", backbone="tiny", bundle_digest="ab" * 32),
    probabilities=tuple(
        ClassProbability(
            code=d.code, name=d.name, malignancy=d.malignancy, plain=d.plain, probability=SHARES.get(d.code, 0.0)
        )
        for d in ISIC_2019.diagnoses
    ),
    out_of_distribution=OutOfDistribution(score=11.0, threshold=16.0, is_outside=False),
    conformal_set=ConformalSet(codes=("MEL", "NV"), coverage=0.9),
    risk=MalignancyRisk(probability=0.67, band="high", threshold=0.12, sensitivity=0.95),
)


class _CannedService(BaseHTTPRequestHandler):
    """Answers every image with ``ANSWER``."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = to_json(ANSWER).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    with sync_playwright() as playwright:
        launched = launch_chromium(playwright)
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def app_url(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the app listens, started by its own door. Asks for the browser first: no browser, no app."""
    service = ThreadingHTTPServer(("127.0.0.1", 0), _CannedService)
    threading.Thread(target=service.serve_forever, daemon=True).start()
    port = free_port()
    app = ChildProcess.start(
        "app",
        [sys.executable, "-m", "lesion_ui", "--port", str(port)],
        log_path=tmp_path_factory.mktemp("app") / "app.log",
        environment={
            "LESION_ENDPOINT_URL": f"http://127.0.0.1:{service.server_port}/predictions/skin_vit",
            "LESION_ENDPOINT_TOKEN": "any",
        },
    )
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        health = f"http://127.0.0.1:{port}/_stcore/health"
        app.wait_until(lambda: direct.open(health, timeout=5).status == 200, timeout_s=120)
        yield f"http://127.0.0.1:{port}"
    finally:
        app.stop()
        service.shutdown()
        service.server_close()


@pytest.fixture(params=[(1280, 900), (390, 844)], ids=["wide", "narrow"])
def assess(browser: Browser, app_url: str, request: pytest.FixtureRequest) -> Iterator[AssessPage]:
    """The page, open, on a wide and on a narrow screen."""
    width, height = request.param
    context = browser.new_context(viewport={"width": width, "height": height})
    yield AssessPage(context.new_page(), app_url).open()
    context.close()


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn lesion."""
    path = tmp_path_factory.mktemp("images") / "SYNTHETIC.png"
    Image.fromarray(draw_lesion("MEL", seed=1)).save(path)
    return path
