"""The app as a process of its own, before a service with canned answers, and a browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from lesion_core.datasets.synthetic import draw_lesion
from support.app_programs import running_app
from support.fake_service import FakeService
from support.pages import AssessPage, launch_chromium


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
    service = FakeService()
    environment = {"LESION_ENDPOINT_URL": service.endpoint.url, "LESION_ENDPOINT_TOKEN": service.endpoint.token}
    try:
        with running_app(tmp_path_factory.mktemp("app"), environment) as url:
            yield url
    finally:
        service.close()


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
