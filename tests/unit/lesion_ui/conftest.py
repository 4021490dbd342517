"""The fake service, and the environment that leads the app to it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import cache

import pytest
from PIL import Image
from streamlit.components.v2 import manifest_scanner

from lesion_core.datasets.synthetic import draw_lesion
from lesion_ui import client
from lesion_ui.client import TOKEN_VARIABLE, URL_VARIABLE
from support.fake_service import FakeService


@pytest.fixture(autouse=True, scope="session")
def _components() -> Iterator[None]:
    """Each session of Streamlit's test harness looks through all installed packages for components: here the first."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest_scanner, "scan_component_manifests", cache(manifest_scanner.scan_component_manifests))
        yield


@pytest.fixture
def service() -> Iterator[FakeService]:
    """Answers with a canned prediction until told otherwise."""
    fake = FakeService()
    yield fake
    fake.close()


PATIENCE_S = 60.0


@pytest.fixture
def connected(service: FakeService, monkeypatch: pytest.MonkeyPatch) -> FakeService:
    """The same, with the environment variables that lead the app to it.

    The app gives a service a moment to say who is asking; on a busy machine this one, a thread of the same process,
    may take longer. Tests of a service that hangs set the app's own ``CONNECT_S``.
    """
    monkeypatch.setattr(client, "CONNECT_S", PATIENCE_S)
    monkeypatch.setenv(URL_VARIABLE, service.endpoint.url)
    monkeypatch.setenv(TOKEN_VARIABLE, service.endpoint.token)
    return service


@pytest.fixture(scope="session")
def image() -> bytes:
    """A drawn lesion as PNG."""
    stream = io.BytesIO()
    Image.fromarray(draw_lesion("MEL", seed=1)).save(stream, format="PNG")
    return stream.getvalue()
