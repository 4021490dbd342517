"""A deployment is followed, with an engine that only remembers."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import attrs
import pytest

from lesion_core.wire import Prediction
from lesion_serve.archive import ArchiveInfo
from lesion_serve.deployment import Deployed, Deployment, rolled_back, with_challenger, with_champion
from lesion_serve.deployment_store import DeploymentStore, Report
from lesion_serve.engine.engine import (
    Engine,
    EngineDownError,
    LoadAbortedError,
    LoadedVersion,
    ModelLoadError,
    always,
    identity_of,
)
from lesion_serve.follower import Follower
from support.deployments import deployed, described


class RememberingEngine:
    """An engine without models; ``broken`` versions do not load, and ``slow`` ones go on loading."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.broken: set[str] = set()
        self.slow: set[str] = set()
        self.begun = threading.Event()
        self.is_down = False
        self._loaded: dict[str, ArchiveInfo] = {}
        self._default: str | None = None

    async def predict(
        self,
        image: bytes,
        *,
        request_id: str,
        timeout_s: float,
        content_type: str | None = None,
        version: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Prediction:
        raise EngineDownError("It has no model.")

    def versions(self) -> tuple[LoadedVersion, ...]:
        return tuple(
            LoadedVersion(identity=identity_of(info), ready=1, wanted=1, is_default=version == self._default)
            for version, info in self._loaded.items()
        )

    def is_ready(self) -> bool:
        return self._default is not None

    def restarts(self) -> Mapping[str, int]:
        return {}

    def load(self, archive: ArchiveInfo, *, is_wanted: Callable[[], bool] = always) -> None:
        if self.is_down:
            raise EngineDownError("It is started again.")
        while archive.version in self.slow:
            if not is_wanted():
                raise LoadAbortedError("Not wanted.")
            self.begun.set()
            time.sleep(0.001)
        self.done.append(f"load {archive.version}")
        if archive.version in self.broken:
            raise ModelLoadError(f"{archive.version} is broken.")
        self._loaded[archive.version] = archive

    def make_default(self, version: str) -> None:
        if version != self._default:
            self.done.append(f"default {version}")
        self._default = version

    def unload(self, version: str) -> None:
        self.done.append(f"unload {version}")
        del self._loaded[version]

    def stop(self) -> None:
        self._loaded.clear()

    async def close(self) -> None: ...


class Store(DeploymentStore):
    """One whose archives are all there, unless its disk is full."""

    is_full = False

    def archive_of(self, deployed: Deployed) -> ArchiveInfo:
        if self.is_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return described(deployed)

    def write_report(self, report: Report) -> None:
        if self.is_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        super().write_report(report)

    def take(self, deployment: Deployment) -> Deployment:
        return self.change("test", lambda _: deployment).after


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def follow(engine: Engine, store: Store) -> Follower:
    follower = Follower(engine, store)
    follower.follow()
    return follower


def test_a_new_champion_is_loaded_before_it_becomes_the_default_and_the_oldest_goes_last(store: Store) -> None:
    """So that there is always one that answers."""
    engine = RememberingEngine()
    first = store.take(with_champion(None, deployed("1")))
    follower = follow(engine, store)
    second = store.take(with_champion(first, deployed("2")))
    follower.follow()
    store.take(with_champion(second, deployed("3")))
    follower.follow()

    assert engine.done == [
        *("load 1", "default 1"),
        *("load 2", "default 2"),
        *("load 3", "default 3", "unload 1"),
    ]
    assert follower.current == store.read()


def test_a_rollback_loads_nothing(store: Store) -> None:
    """The champion before is loaded still."""
    engine = RememberingEngine()
    second = store.take(with_champion(with_champion(None, deployed("1")), deployed("2")))
    follower = follow(engine, store)
    engine.done.clear()

    store.take(rolled_back(second))
    follower.follow()

    assert engine.done == ["default 1"]


def test_a_version_that_came_back_with_another_content_is_loaded_anew(store: Store) -> None:
    """It was withdrawn and deployed again while the follower was busy: answers would come from the old one."""
    engine = RememberingEngine()
    first = store.take(with_champion(None, deployed("1")))
    store.take(with_challenger(first, deployed("2"), share_percent=5, shadow=False))
    follower = follow(engine, store)
    engine.done.clear()

    another = deployed("2", content="another")
    store.take(with_challenger(first, another, share_percent=5, shadow=False))
    follower.follow()
    follower.follow()

    assert engine.done == ["unload 2", "load 2"]
    assert {one.identity.bundle_digest for one in engine.versions()} == {first.champion.bundle_digest, another.sha256}


def test_a_champion_that_does_not_load_changes_nothing_and_is_reported(store: Store) -> None:
    """The old one answers; requests are still chosen for it."""
    engine = RememberingEngine()
    engine.broken.add("2")
    first = store.take(with_champion(None, deployed("1")))
    follower = follow(engine, store)
    second = store.take(with_champion(first, deployed("2")))
    follower.follow()

    report = store.report()
    assert report is not None
    assert (report.generation, report.default, report.loaded) == (second.generation, "1", ("1",))
    assert report.findings == {"2": "2 is broken."}
    assert follower.current == first


def test_what_does_not_load_is_tried_later_and_later(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not five times a second; a new deployment is tried at once."""
    clock = [0.0]
    monkeypatch.setattr("lesion_serve.follower.time.monotonic", lambda: clock[0])
    engine = RememberingEngine()
    engine.broken.add("1")
    store.take(with_champion(None, deployed("1")))
    follower = Follower(engine, store)

    tries = []
    for second in range(700):
        clock[0] = second
        before = len(engine.done)
        follower.follow()
        if len(engine.done) > before:
            tries.append(second)
    assert tries == [0, 30, 90, 210, 450]

    store.take(with_champion(None, deployed("2")))
    follower.follow()
    assert engine.done[-2:] == ["load 2", "default 2"]


def test_a_challenger_that_does_not_load_gets_no_requests(store: Store) -> None:
    """The champion is what is followed meanwhile."""
    engine = RememberingEngine()
    engine.broken.add("2")
    first = with_champion(None, deployed("1"))
    store.take(with_challenger(first, deployed("2"), share_percent=50, shadow=False))

    follower = follow(engine, store)

    assert follower.current is not None
    assert (follower.current.champion.version, follower.current.challenger) == ("1", None)
    assert follower.current.share_percent == 0


def test_an_engine_that_is_down_is_no_finding(store: Store) -> None:
    """It is asked again soon; only then there is something to tell."""
    engine = RememberingEngine()
    engine.is_down = True
    store.take(with_champion(None, deployed("1")))

    follower = follow(engine, store)

    assert follower.current is None
    assert store.report() is None


def test_a_full_disk_is_tried_again_and_told_of_once_there_is_room(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither is the change forgotten, nor is the old champion."""
    clock = [0.0]
    monkeypatch.setattr("lesion_serve.follower.time.monotonic", lambda: clock[0])
    engine = RememberingEngine()
    first = store.take(with_champion(None, deployed("1")))
    follower = follow(engine, store)
    second = store.take(with_champion(first, deployed("2")))
    store.is_full = True
    follower.follow()
    assert follower.current == first

    store.is_full = False
    follower.follow()
    told = store.report()
    assert told is not None
    assert (told.generation, told.default) == (second.generation, "1")
    assert "No space left" in told.findings["2"]

    clock[0] = 31.0
    follower.follow()
    told = store.report()
    assert told is not None
    assert (told.default, told.findings) == ("2", {})
    assert follower.current == second


def test_the_thread_outlives_whatever_an_engine_raises(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a finding like another; without the thread no change would ever be followed again."""
    engine, was_load = RememberingEngine(), RememberingEngine.load
    monkeypatch.setattr(engine, "load", lambda *_, **__: 1 / 0)
    first = store.take(with_champion(None, deployed("1")))
    follower = Follower(engine, store)
    follower.start()
    try:
        wait_for(lambda: store.report() is not None)
        told = store.report()
        assert told is not None
        assert told.findings == {"1": "division by zero"}

        monkeypatch.setattr(engine, "load", partial(was_load, engine))
        store.take(with_champion(first, deployed("2"), afresh=True))
        wait_for(lambda: follower.current is not None)
    finally:
        follower.stop()


def test_requests_are_chosen_for_the_champion_while_the_others_are_loaded(store: Store) -> None:
    """A start takes no longer for them."""
    engine = RememberingEngine()
    engine.slow.add("2")
    begun = store.take(
        with_challenger(with_champion(None, deployed("1")), deployed("2"), share_percent=50, shadow=False)
    )
    engine.load(described(begun.champion))
    engine.make_default("1")

    follower = Follower(engine, store)
    follower.start(begun)
    assert follower.current == begun.without_challenger() == attrs.evolve(begun, challenger=None, share_percent=0.0)
    engine.begun.wait(30)

    engine.slow.clear()
    wait_for(lambda: follower.current == begun)
    follower.stop()


@pytest.mark.parametrize("is_stopped", [True, False])
def test_a_load_is_given_up_for_a_rollback_and_at_the_end(is_stopped: bool, store: Store) -> None:
    """Both would otherwise wait for minutes, for a version that nobody wants any more."""
    engine = RememberingEngine()
    first = with_champion(None, deployed("1"))
    second = store.take(with_champion(first, deployed("2")))
    follower = Follower(engine, store)
    follower.follow()
    engine.slow.add("3")
    third = store.take(with_champion(second, deployed("3")))
    follower.start()
    engine.begun.wait(30)

    if is_stopped:
        follower.stop()
    else:
        back = store.take(rolled_back(third))
        wait_for(lambda: follower.current == attrs.evolve(back, previous=None))
        wait_for(lambda: (told := store.report()) is not None and told.generation == back.generation)
        told = store.report()
        assert told is not None
        assert (told.default, told.pending) == ("2", ("3",))
        follower.stop()

    assert "load 3" not in engine.done
    assert follower._thread is None


def test_a_rollback_does_not_wait_for_a_challenger_that_is_being_loaded(store: Store) -> None:
    """Once it has happened, the challenger is loaded after all."""
    engine = RememberingEngine()
    second = store.take(with_champion(with_champion(None, deployed("1")), deployed("2")))
    follower = follow(engine, store)
    engine.slow.add("3")
    challenged = store.take(with_challenger(second, deployed("3"), share_percent=5, shadow=False))
    follower.start()
    engine.begun.wait(30)

    store.take(rolled_back(challenged))
    wait_for(lambda: "default 1" in engine.done)
    engine.slow.clear()
    wait_for(lambda: "load 3" in engine.done)
    follower.stop()


def test_a_state_that_cannot_be_read_leaves_the_engine_alone(store: Store) -> None:
    """What serves goes on serving, and follows again once it can."""
    engine = RememberingEngine()
    first = store.take(with_champion(None, deployed("1")))
    follower = follow(engine, store)
    state = store.folder / "state.json"
    whole = state.read_text()
    state.write_text(whole[:50])
    follower.follow()
    assert follower.current == first

    state.write_text(whole)
    store.take(with_champion(first, deployed("2")))
    follower.follow()
    assert engine.done[-1] == "default 2"


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
