"""A source becomes what serves: packed, verified and kept, with the archive that a start needs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lesion_core.bundle import Bundle
from lesion_core.errors import BundleError
from lesion_core.workspace import Workspace
from lesion_serve.archive import ArchiveError, build_archive
from lesion_serve.deploy import Challenging, deploy, roll_back, withdraw
from lesion_serve.deployment import DeploymentError
from lesion_serve.deployment_store import DeploymentStore, Report
from lesion_serve.outcome import take_back, wait_until_served
from support.archives import altered
from support.bundles import make_tiny_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_tiny_bundle(tmp_path_factory.mktemp("made") / "bundle")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "home")


@pytest.fixture
def store(workspace: Workspace) -> DeploymentStore:
    return DeploymentStore.of(workspace, 8080)


@pytest.fixture
def archives(bundle: Bundle, tmp_path: Path) -> dict[str, str]:
    """The bundle as versions 5, 6 and 7."""
    made = {version: build_archive(bundle.folder, tmp_path / f"{version}.mar", version=version) for version in "567"}
    return {version: str(info.path) for version, info in made.items()}


def test_a_folder_is_deployed_under_its_digest_and_needs_the_folder_no_more(
    bundle: Bundle, workspace: Workspace, store: DeploymentStore, tmp_path: Path
) -> None:
    """What is kept is whole."""
    folder = shutil.copytree(bundle.folder, tmp_path / "copy")

    deployment = deploy(store, str(folder), workspace=workspace).after
    shutil.rmtree(folder)

    assert deployment.champion.version == f"unregistered-{bundle.digest[:8]}"
    assert deployment.champion.bundle_digest == bundle.digest
    kept = store.archive_of(deployment.champion)
    assert (kept.version, kept.serving_name) == (deployment.champion.version, "skin_vit")
    assert {path.name for path in store.folder.iterdir() if path.is_dir()} == {"archives"}


def test_champions_follow_one_another_and_the_one_before_comes_back(
    archives: dict[str, str], workspace: Workspace, store: DeploymentStore
) -> None:
    """Three deployed, the first is gone; who did what stays."""
    for version in "567":
        deploy(store, archives[version], workspace=workspace)
    roll_back(store)
    deployment = store.read()

    assert deployment is not None
    assert [one.version for one in deployment.all] == ["6", "7"]
    assert [store.archive_of(one).version for one in deployment.all] == ["6", "7"]
    told = [(line.action, line.before, line.after) for line in store.history()]
    assert told == [("deploy", None, "5"), ("deploy", "5", "6"), ("deploy", "6", "7"), ("rollback", "7", "6")]


def test_a_challenger_comes_with_its_share_and_goes(
    archives: dict[str, str], workspace: Workspace, store: DeploymentStore
) -> None:
    """There has to be a champion; its share can be changed without another archive."""
    with pytest.raises(DeploymentError, match="no champion"):
        deploy(store, archives["6"], workspace=workspace, challenging=Challenging(shadow=True))
    deploy(store, archives["5"], workspace=workspace)
    deploy(store, archives["6"], workspace=workspace, challenging=Challenging(shadow=True))

    shared = deploy(store, archives["6"], workspace=workspace, challenging=Challenging(share_percent=5)).after

    assert shared.challenger is not None
    assert (shared.challenger.version, shared.share_percent, shared.shadow) == ("6", 5, False)
    assert store.archive_of(shared.challenger).version == "6"
    assert withdraw(store).after.all == (shared.champion,)


def test_an_altered_bundle_is_not_deployed(
    archives: dict[str, str], bundle: Bundle, workspace: Workspace, store: DeploymentStore, tmp_path: Path
) -> None:
    """Neither from a folder nor from inside an archive; nothing changes."""
    before = deploy(store, archives["5"], workspace=workspace).after
    broken = altered(Path(archives["6"]), tmp_path / "broken.mar", "bundle/card.md", b"untrained", b"trained")
    folder = shutil.copytree(bundle.folder, tmp_path / "copy")
    (folder / "card.md").write_text("altered")

    for source in (str(broken.path), str(folder)):
        with pytest.raises(BundleError, match=r"card\.md does not match"):
            deploy(store, source, workspace=workspace)

    assert store.read() == before


@pytest.mark.parametrize("what", ["altered", "lost"])
def test_deploying_again_mends_a_kept_archive(
    archives: dict[str, str], workspace: Workspace, store: DeploymentStore, what: str
) -> None:
    """The doctor says so. By itself it changes nothing of what serves."""
    deploy(store, archives["5"], workspace=workspace)
    before = deploy(store, archives["6"], workspace=workspace).after
    assert before.previous is not None
    for one in before.all:
        kept = store.path_of(one)
        if what == "lost":
            kept.unlink()
        else:
            altered(kept, kept.with_name("altered"), "lesion_handler.py", b"import os", b"import oz").path.replace(kept)
        with pytest.raises(ArchiveError):
            store.archive_of(one)

    assert deploy(store, archives["6"], workspace=workspace).after == before
    deploy(store, archives["5"], workspace=workspace, challenging=Challenging())

    assert [store.archive_of(one).version for one in before.all] == ["6", "5"]


def test_an_archive_that_is_none_is_named(workspace: Workspace, store: DeploymentStore, tmp_path: Path) -> None:
    """By the path that was given."""
    (tmp_path / "text.mar").write_text("text")
    for name in ("text.mar", "absent.mar"):
        with pytest.raises(ArchiveError, match=str(tmp_path / name)):
            deploy(store, str(tmp_path / name), workspace=workspace)


def test_what_a_server_could_not_load_is_taken_back_unless_something_newer_came(
    archives: dict[str, str], workspace: Workspace, store: DeploymentStore
) -> None:
    """With the archives of what was there."""
    first = deploy(store, archives["5"], workspace=workspace).after
    failed = deploy(store, archives["6"], workspace=workspace)

    take_back(store, failed)
    back = store.read()
    assert back is not None
    assert (back.all, back.generation) == (first.all, 3)

    take_back(store, failed)
    assert store.read() == back


def test_waiting_for_the_server_ends_with_what_it_found(
    archives: dict[str, str], workspace: Workspace, store: DeploymentStore
) -> None:
    """Or at once, where none runs."""
    deployment = deploy(store, archives["5"], workspace=workspace).after
    assert wait_until_served(store, deployment) is None

    report = Report(generation=1, default=None, loaded=(), findings={"5": "It is broken."})
    with store.served():
        store.write_report(report)
        assert wait_until_served(store, deployment) == report
