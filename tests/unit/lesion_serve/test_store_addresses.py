"""Addresses of databases: which can be, and what is said of those that cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from lesion_core.workspace import Workspace
from lesion_serve.store import Database, PredictionStore, StoreError, default_anchors, default_url


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "sqlite://",
        "sqlite:///:memory:",
        "mysql://someone:secret@host/x",
        "postgresql+psycopg://someone:secret@host/x",
    ],
)
def test_an_address_that_cannot_be_is_named_without_its_password(url: str) -> None:
    """And says which can."""
    with pytest.raises(StoreError) as refused:
        Database(url)

    assert refused.value.code == "no_store"
    assert "secret" not in refused.value.message


def test_an_address_without_a_driver_takes_the_one_that_comes_along() -> None:
    """One that names a driver keeps it."""
    for url in ("postgresql://someone:p%40ss@host/x", "postgresql+pg8000://someone:p%40ss@host/x"):
        assert Database(url).engine.dialect.driver == "pg8000"
        assert Database(url).engine.url.password == "p@ss"


@pytest.mark.parametrize("url", ["postgresql://host/x", "postgresql://someone:secret@host/x?sslmode=require"])
def test_an_address_that_the_driver_cannot_use_is_named(url: str) -> None:
    """No user, a parameter of another driver; nobody is asked."""
    with pytest.raises(StoreError, match="USER:PASSWORD@HOST") as refused:
        Database(url).require()

    assert refused.value.code == "store_unreachable"
    assert "secret" not in refused.value.message


def test_a_store_lies_in_its_workspace_whatever_that_is_called(tmp_path: Path) -> None:
    """Also where the folder's name has signs that mean something else in an address; its anchors stand beside it."""
    workspace = Workspace(tmp_path / "ward 3? 100 % 3%3F")

    with PredictionStore.open(url := default_url(workspace), anchors=default_anchors(url, workspace)):
        pass

    assert (workspace.root / "predictions.db").is_file()
    assert default_anchors(url, workspace).parent == workspace.root / "predictions-anchors"
    assert [folder.name for folder in tmp_path.iterdir()] == [workspace.root.name]
