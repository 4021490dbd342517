"""The fake service, and the environment that leads the app to it."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from PIL import Image

from lesion_core.datasets.synthetic import draw_lesion
from lesion_ui.client import TOKEN_VARIABLE, URL_VARIABLE
from support.fake_service import FakeService


@pytest.fixture
def service() -> Iterator[FakeService]:
    """Answers with a canned prediction until told otherwise."""
    fake = FakeService()
    yield fake
    fake.close()


@pytest.fixture
def connected(service: FakeService, monkeypatch: pytest.MonkeyPatch) -> FakeService:
    """The same, with the environment variables that lead the app to it."""
    monkeypatch.setenv(URL_VARIABLE, service.endpoint.url)
    monkeypatch.setenv(TOKEN_VARIABLE, service.endpoint.token)
    return service


@pytest.fixture(scope="session")
def image() -> bytes:
    """A drawn lesion as PNG."""
    stream = io.BytesIO()
    Image.fromarray(draw_lesion("MEL", seed=1)).save(stream, format="PNG")
    return stream.getvalue()
