"""What several test modules of this folder start from, made once for each of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lesion_core.bundle import Bundle
from lesion_core.workspace import Workspace
from support.bundles import make_tiny_bundle
from support.houses import House
from support.mlflow_tables import tables_made_once


@pytest.fixture(autouse=True, scope="session")
def _mlflow_tables() -> Iterator[None]:
    with tables_made_once():
        yield


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Read only."""
    return make_tiny_bundle(tmp_path_factory.mktemp("tiny") / "bundle")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, tiny: Bundle) -> House:
    """A registry in a workspace of its own."""
    return House(Workspace(tmp_path_factory.mktemp("home")), tiny)
