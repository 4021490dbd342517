"""Bundles from MLflow, through a real store in a SQLite file."""

from __future__ import annotations

import shutil
from pathlib import Path

import attrs
import pytest
from mlflow.tracking import MlflowClient

from lesion_core.bundle import DIGEST_TAG, Bundle
from lesion_core.errors import BundleError
from lesion_serve.registry import RegistryError, fetch_bundle
from support.bundles import make_tiny_bundle

NAME = "skin-lesion"


@attrs.frozen(kw_only=True)
class Store:
    """An MLflow store with one registered bundle."""

    uri: str
    client: MlflowClient
    bundle: Bundle

    def register(self, name: str, folder: Path, digest: str) -> str:
        """Register as training does; returns the version."""
        run = self.client.create_run("0")
        self.client.log_artifacts(run.info.run_id, str(folder), "bundle")
        source = f"{run.info.artifact_uri}/bundle"
        made = self.client.create_model_version(name, source, run.info.run_id, tags={DIGEST_TAG: digest})
        return str(made.version)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("mlflow")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # MLflow puts the artifacts of its first experiment into the current folder
        uri = f"sqlite:///{folder / 'mlflow.db'}"
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        store = Store(uri=uri, client=client, bundle=make_tiny_bundle(folder / "source"))
        client.create_registered_model(NAME)
        version = store.register(NAME, store.bundle.folder, store.bundle.digest)
        client.set_registered_model_alias(NAME, "champion", version)
    return store


@pytest.mark.parametrize("reference", ["@champion", "/1"])
def test_a_bundle_is_fetched_by_alias_and_by_version(store: Store, tmp_path: Path, reference: str) -> None:
    """It is the one that was registered, byte for byte, and nothing else is left behind."""
    bundle, version = fetch_bundle(f"models:/{NAME}{reference}", tracking_uri=store.uri, into=tmp_path)

    assert (bundle.digest, version) == (store.bundle.digest, "1")
    assert [path.name for path in tmp_path.iterdir()] == [bundle.folder.name]


def test_a_bundle_is_fetched_from_beside_the_description_of_its_version(store: Store, tmp_path: Path) -> None:
    """As training registers it, with a file in MLflow's own form."""
    described = tmp_path / "described"
    shutil.copytree(store.bundle.folder, described / "bundle")
    (described / "MLmodel").write_text("flavors: {}\n")
    version = store.register(NAME, described, store.bundle.digest)

    bundle, _ = fetch_bundle(f"models:/{NAME}/{version}", tracking_uri=store.uri, into=tmp_path / "fetched")

    assert bundle.digest == store.bundle.digest
    assert [path.name for path in (tmp_path / "fetched").iterdir()] == [bundle.folder.name]


def test_a_fetched_copy_that_was_damaged_is_replaced(store: Store, tmp_path: Path) -> None:
    """A broken disk block must not stop serving for good."""
    first, _ = fetch_bundle(f"models:/{NAME}/1", tracking_uri=store.uri, into=tmp_path)
    (first.folder / "card.md").write_text("damaged")

    again, _ = fetch_bundle(f"models:/{NAME}/1", tracking_uri=store.uri, into=tmp_path)

    assert again == first
    assert again.read("card.md") == store.bundle.read("card.md")


def test_a_bundle_that_was_exchanged_in_the_store_is_refused(store: Store, tmp_path: Path) -> None:
    """It is intact in itself, but not what was registered."""
    other = make_tiny_bundle(tmp_path / "other", seed=1)
    version = store.register(NAME, other.folder, store.bundle.digest)

    with pytest.raises(BundleError, match="exchanged"):
        fetch_bundle(f"models:/{NAME}/{version}", tracking_uri=store.uri, into=tmp_path / "into")

    assert list((tmp_path / "into").iterdir()) == []


def test_a_registered_bundle_that_was_altered_is_refused(store: Store, tmp_path: Path) -> None:
    """One byte in the artifact store is enough."""
    altered = tmp_path / "altered"
    shutil.copytree(store.bundle.folder, altered)
    (altered / "card.md").write_text("other")
    version = store.register(NAME, altered, store.bundle.digest)

    with pytest.raises(BundleError, match="altered"):
        fetch_bundle(f"models:/{NAME}/{version}", tracking_uri=store.uri, into=tmp_path / "into")


@pytest.mark.parametrize("uri", [f"models:/{NAME}@challenger", f"models:/{NAME}/99", "models:/nobody@champion"])
def test_what_mlflow_does_not_have_is_named(store: Store, tmp_path: Path, uri: str) -> None:
    """With what to do about it."""
    with pytest.raises(RegistryError, match="lesion-train fit") as caught:
        fetch_bundle(uri, tracking_uri=store.uri, into=tmp_path)

    assert uri in caught.value.message


def test_a_database_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """MLflow would make an empty one, and take its time."""
    with pytest.raises(RegistryError, match="no such database"):
        fetch_bundle(f"models:/{NAME}@champion", tracking_uri=f"sqlite:///{tmp_path}/no.db", into=tmp_path / "into")

    assert list(tmp_path.iterdir()) == []


def test_an_mlflow_that_is_down_is_named_without_its_password(tmp_path: Path) -> None:
    """With the option that names another."""
    with pytest.raises(RegistryError, match="--tracking-uri") as caught:
        fetch_bundle(f"models:/{NAME}@champion", tracking_uri="http://user:hunter2/@hunter2@127.0.0.1:9", into=tmp_path)

    assert "hunter2" not in caught.value.message
    assert "127.0.0.1:9" in caught.value.message
