"""Paths, and the endpoint file."""

from __future__ import annotations

from pathlib import Path

import pytest

from lesion_core.errors import LesionError
from lesion_core.workspace import Endpoint, Workspace


def test_the_endpoint_file_is_for_its_owner_only(tmp_path: Path) -> None:
    """It holds a token."""
    path = Workspace(tmp_path).endpoint
    endpoint = Endpoint(url="http://127.0.0.1:1/predictions/x", token="secret")

    endpoint.save(path)

    assert Endpoint.load(path) == endpoint
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_endpoint_with_a_certificate_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Without one, the usual authorities are trusted; with one that cannot be read, nobody."""
    path = tmp_path / "endpoint.json"
    endpoint = Endpoint(url="https://127.0.0.1:1/x", token="t", certificate="/no/c.pem", server_name="gateway.example")

    endpoint.save(path)

    assert Endpoint.load(path) == endpoint
    assert endpoint.request_extensions == {"sni_hostname": "gateway.example"}
    with pytest.raises(LesionError, match=r"/no/c\.pem"):
        endpoint.trust()
    plain = Endpoint(url="http://127.0.0.1:1/x", token="t")
    assert (plain.trust(), plain.request_extensions) == (True, {})


@pytest.mark.parametrize("content", [None, "", "[]", '{"url": "x"}', '{"url": "x", "token": "y", "more": 1}'])
def test_a_missing_or_damaged_endpoint_file_is_a_named_error(tmp_path: Path, content: str | None) -> None:
    """With the next step."""
    path = tmp_path / "endpoint.json"
    if content is not None:
        path.write_text(content)

    with pytest.raises(LesionError, match="Start the server first") as caught:
        Endpoint.load(path)

    assert caught.value.code == "no_endpoint"


def test_the_environment_moves_the_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`LESION_HOME`, else `.lesion` here."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LESION_HOME", raising=False)
    assert Workspace.default().root == tmp_path / ".lesion"

    monkeypatch.setenv("LESION_HOME", str(tmp_path / "elsewhere"))
    assert Workspace.default().root == tmp_path / "elsewhere"
