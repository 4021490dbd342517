"""The folder of a deployment under several writers, crashes and damage."""

from __future__ import annotations

import fcntl
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs
import pytest

from lesion_serve.archive import ArchiveError
from lesion_serve.deployment import Deployment, DeploymentError, rolled_back, with_champion
from lesion_serve.deployment_store import DeploymentStore, Report, Transition
from support.deployments import deployed


def champion(version: str, store: DeploymentStore) -> Deployment:
    return change_champion(version, store).after


def change_champion(version: str, store: DeploymentStore) -> Transition:
    return store.change("deploy", lambda before: with_champion(before, deployed(version)))


def test_nothing_is_there_before_something_is_deployed(tmp_path: Path) -> None:
    """Nor is a folder made by looking."""
    store = DeploymentStore(tmp_path / "8080")

    assert (store.read(), store.history(), store.is_served()) == (None, (), False)
    assert not store.folder.exists()


def test_changes_of_several_writers_come_one_after_another(tmp_path: Path) -> None:
    """Each is in the history, and begins where the one before it ended, which is what it goes back to if it fails."""
    first = champion("start", DeploymentStore(tmp_path))
    with ThreadPoolExecutor(8) as writers:
        made = list(writers.map(lambda name: change_champion(name, DeploymentStore(tmp_path)), "abcdefgh"))

    store = DeploymentStore(tmp_path)
    history, deployment = store.history(), store.read()
    assert [line.generation for line in history] == list(range(1, 10))
    assert [line.before for line in history[1:]] == [line.after for line in history[:-1]]
    assert deployment is not None
    assert (deployment.generation, deployment.champion.version) == (9, history[-1].after)
    made.sort(key=lambda change: change.after.generation)
    assert [change.before for change in made] == [first, *(change.after for change in made[:-1])]


def test_a_change_that_fails_leaves_all_as_it_was(tmp_path: Path) -> None:
    """No line, no generation."""
    store = DeploymentStore(tmp_path)
    before = champion("1", store)

    with pytest.raises(DeploymentError):
        store.change("rollback", lambda now: rolled_back(now) if now else before)

    assert store.read() == before
    assert len(store.history()) == 1


def test_a_history_that_a_crash_cut_off_goes_on(tmp_path: Path) -> None:
    """The torn line counts for nothing; the next stands on a line of its own."""
    store = DeploymentStore(tmp_path)
    champion("1", store)
    with (tmp_path / "history.jsonl").open("a") as stream:
        stream.write('{"generation": 2, "at": "20')

    champion("2", store)

    assert [(line.generation, line.after) for line in store.history()] == [(1, "1"), (2, "2")]


def test_a_torn_state_is_a_named_error_with_a_way_out(tmp_path: Path) -> None:
    """And is never overwritten by a change that could not read it."""
    store = DeploymentStore(tmp_path)
    champion("1", store)
    whole = (tmp_path / "state.json").read_text()
    (tmp_path / "state.json").write_text(whole[: len(whole) // 2])

    with pytest.raises(DeploymentError, match="deploy again"):
        champion("2", store)

    assert (tmp_path / "state.json").read_text() == whole[: len(whole) // 2]


def test_archives_of_the_deployment_before_stay(tmp_path: Path) -> None:
    """A change may be undone; older ones go."""
    store = DeploymentStore(tmp_path)
    store.archives.mkdir()
    for version in "1234":
        (store.archives / f"{version}.mar").touch()
        champion(version, store)

    assert {path.name for path in store.archives.iterdir()} == {"2.mar", "3.mar", "4.mar"}


def test_an_archive_that_was_altered_is_not_served(tmp_path: Path) -> None:
    """Nor one that is gone."""
    with pytest.raises(ArchiveError):
        DeploymentStore(tmp_path).archive_of(deployed("1"))


def test_one_server_follows_a_deployment(tmp_path: Path) -> None:
    """Others see that it does, and what it says."""
    store, other = DeploymentStore(tmp_path), DeploymentStore(tmp_path)
    report = Report(generation=3, default="1", loaded=("1", "2"), findings={"4": "It is broken."})
    with store.served():
        store.write_report(report)
        assert other.is_served()
        assert other.report() == report
        with pytest.raises(DeploymentError, match="runs already"), other.served():
            pass

    assert not other.is_served()


def test_who_looks_whether_a_server_runs_does_not_keep_one_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look takes the lock for a moment, and is over when the server tries again."""
    looking = (tmp_path / "server.lock").open("wb")
    fcntl.flock(looking, fcntl.LOCK_SH)
    monkeypatch.setattr("lesion_serve.deployment_store.time.sleep", lambda _: looking.close())

    with DeploymentStore(tmp_path).served():
        assert DeploymentStore(tmp_path).is_served()


def test_undoing_a_change_is_a_change(tmp_path: Path) -> None:
    """With a generation of its own, so that the server follows it."""
    store = DeploymentStore(tmp_path)
    first = champion("1", store)
    champion("2", store)

    back = store.change("failed", lambda _: first).after

    assert back == attrs.evolve(first, generation=3)
