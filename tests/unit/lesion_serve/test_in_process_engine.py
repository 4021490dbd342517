"""The engine without other processes, with real predictors of tiny bundles."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lesion_core.taxonomy import ISIC_2019
from lesion_serve.archive import ArchiveInfo, build_archive
from lesion_serve.engine.engine import (
    BusyError,
    DeadlineError,
    Engine,
    EngineError,
    ModelLoadError,
    RefusedError,
    UnknownVersionError,
)
from lesion_serve.engine.in_process import InProcessEngine
from lesion_serve.handler import Handler
from support.archives import altered
from support.bundles import make_tiny_bundle
from support.images import encoded_lesion


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ArchiveInfo]:
    """The same bundle as versions 5 and 6."""
    folder = tmp_path_factory.mktemp("archives")
    bundle = make_tiny_bundle(folder / "bundle")
    return {version: build_archive(bundle.folder, folder / f"{version}.mar", version=version) for version in "56"}


@pytest.fixture(scope="module")
def loaded(archives: dict[str, ArchiveInfo]) -> Iterator[Engine]:
    engine = InProcessEngine(threads=2)
    for archive in archives.values():
        engine.load(archive)
    yield engine
    engine.stop()


class SlowHandler(Handler):
    """Holds each request until it may go on."""

    def __init__(self, may_go_on: threading.Event) -> None:
        super().__init__()
        self._may_go_on = may_go_on

    def initialize(self, context: Any) -> None: ...

    def handle(self, data: Any, context: Any) -> list[str]:
        self._may_go_on.wait(60)
        return super().handle(data, context)


@pytest.fixture
def held(archives: dict[str, ArchiveInfo], monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Engine, threading.Event]]:
    """One thread, room for one that waits, and the event that lets them go on."""
    may_go_on = threading.Event()
    monkeypatch.setattr("lesion_serve.engine.in_process.Handler", lambda: SlowHandler(may_go_on))
    engine = InProcessEngine(threads=1, queue_size=1)
    engine.load(archives["5"])
    yield engine, may_go_on
    may_go_on.set()
    engine.stop()


async def ask(engine: Engine, image: bytes | None = None, **options: Any) -> Any:
    """A prediction, or the error that there was instead."""
    asked = {"request_id": "r", "timeout_s": 60.0, "content_type": "image/jpeg", **options}
    try:
        return await engine.predict(encoded_lesion() if image is None else image, **asked)
    except EngineError as error:
        return error


def test_versions_answer_side_by_side_under_the_id_of_the_request(loaded: Engine) -> None:
    """The first that was loaded is the default."""

    async def both() -> list[Any]:
        return await asyncio.gather(*(ask(loaded, version=version, request_id=f"{version}") for version in "565656"))

    assert [(one.model.version, one.request_id) for one in asyncio.run(both())] == [(v, v) for v in "565656"]
    assert asyncio.run(ask(loaded)).model.version == "5"
    assert [(one.version, one.is_default, one.ready) for one in loaded.versions()] == [("5", True, 2), ("6", False, 2)]
    assert loaded.is_ready()


@pytest.mark.parametrize(
    ("image", "content_type", "status", "code"),
    [
        (b"text", "image/jpeg", 415, "unsupported_format"),
        (b"", None, 400, "empty_body"),
        (b"a=1", "application/x-www-form-urlencoded", 415, "unsupported_request"),
        (encoded_lesion()[:400], "image/jpeg", 422, "corrupt_image"),
    ],
)
def test_what_the_handler_refuses_is_refused_here(
    loaded: Engine, image: bytes, content_type: str | None, status: int, code: str
) -> None:
    """With the same status and words as under TorchServe."""
    refused = asyncio.run(ask(loaded, image, content_type=content_type, request_id="mine"))

    assert isinstance(refused, RefusedError)
    assert (refused.status, refused.code, refused.problem.request_id) == (status, code, "mine")


def test_headers_ask_here_for_what_they_ask_for_under_torchserve(loaded: Engine) -> None:
    """The handler reads them, in any case; what it refuses is refused here."""
    plain = asyncio.run(ask(loaded))
    drawn = asyncio.run(ask(loaded, headers={"x-lesion-heat-map": "true", "X-Lesion-Metadata": '{"sex": "male"}'}))
    refused = asyncio.run(ask(loaded, headers={"X-Lesion-Metadata": '{"sex": "m"}'}))

    assert plain.heat_map is None
    assert drawn.heat_map.code in ISIC_2019.trained_codes
    assert isinstance(refused, RefusedError)
    assert (refused.status, refused.code) == (422, "bad_metadata")


def test_a_version_that_is_not_loaded_is_named_with_those_that_are(loaded: Engine) -> None:
    """Nobody else answers in its place."""
    error = asyncio.run(ask(loaded, version="9"))

    assert isinstance(error, UnknownVersionError)
    assert "'9'" in error.message
    assert error.loaded == ("5", "6")


def test_more_requests_than_may_wait_are_told_at_once(held: tuple[Engine, threading.Event]) -> None:
    """One is answered and one waits; the third is too many. Afterwards there is room again."""
    engine, may_go_on = held

    async def crowd() -> list[Any]:
        first = [asyncio.create_task(ask(engine)) for _ in range(2)]
        await asyncio.sleep(0)
        third = await ask(engine)
        may_go_on.set()
        return [third, *(await asyncio.gather(*first)), await ask(engine)]

    third, *others = asyncio.run(crowd())
    assert isinstance(third, BusyError)
    assert [type(one) for one in others] == [RefusedError] * 3  # the held handler has no model: a problem of its own


def test_nobody_waits_past_the_deadline_and_the_place_is_free_once_it_is_done(
    held: tuple[Engine, threading.Event],
) -> None:
    """The thread goes on; a request that never began is dropped."""
    engine, may_go_on = held

    async def late() -> list[Any]:
        return [await ask(engine, timeout_s=0.05), await ask(engine, timeout_s=0.05), await ask(engine, timeout_s=0.05)]

    # The second waited and gave its place back; the first keeps the thread.
    assert [type(one) for one in asyncio.run(late())] == [DeadlineError] * 3
    may_go_on.set()
    assert isinstance(asyncio.run(ask(engine)), RefusedError)


def test_the_default_moves_and_only_another_can_be_unloaded(archives: dict[str, ArchiveInfo]) -> None:
    """And what is unloaded is gone."""
    engine = InProcessEngine()
    for archive in archives.values():
        engine.load(archive)
    with pytest.raises(EngineError, match="default"):
        engine.unload("5")

    engine.make_default("6")
    engine.unload("5")

    assert asyncio.run(ask(engine)).model.version == "6"
    assert isinstance(asyncio.run(ask(engine, version="5")), UnknownVersionError)
    engine.stop()
    assert not engine.is_ready()


def test_a_model_that_cannot_be_loaded_leaves_nothing(archives: dict[str, ArchiveInfo], tmp_path: Path) -> None:
    """The others stay, and the reason is named."""
    archive = archives["5"]
    broken = altered(archive.path, tmp_path / "a.mar", "bundle/card.md", b"untrained", b"trained")
    engine = InProcessEngine()

    with pytest.raises(ModelLoadError, match=r"card\.md does not match"):
        engine.load(broken)

    assert engine.versions() == ()
