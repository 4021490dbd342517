"""A real TorchServe whose processes are killed: it is back by itself, as it was."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from lesion_core.processes import free_port
from lesion_core.workspace import Endpoint
from lesion_serve.archive import ArchiveInfo, build_archive
from lesion_serve.engine.engine import EngineError, LoadAbortedError
from lesion_serve.engine.torchserve import TorchServeEngine
from lesion_serve.engine.torchserve_layout import TorchServeSettings
from support.archives import altered, with_model_config
from support.bundles import make_tiny_bundle
from support.images import encoded_lesion
from support.waiting import wait_for

BACK_S = 20.0
SLOW_MACHINE = 4  # times as long as on one that does nothing else


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ArchiveInfo]:
    """The same bundle as versions 5 and 6; TorchServe gives up a worker of 6 after a second, not after five minutes."""
    folder = tmp_path_factory.mktemp("archives")
    bundle = make_tiny_bundle(folder / "bundle")
    five, six = (build_archive(bundle.folder, folder / f"{v}.mar", version=v) for v in "56")
    return {"5": five, "6": with_model_config(six.path, folder / "six.mar", "maxRetryTimeoutInSec: 1\n")}


@pytest.fixture(scope="module")
def told() -> list[Endpoint]:
    """The addresses that the engine told, one a start."""
    return []


@pytest.fixture(scope="module")
def engine(
    archives: dict[str, ArchiveInfo], told: list[Endpoint], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TorchServeEngine]:
    """Both versions, 6 the default."""
    settings = TorchServeSettings(port=free_port(), stuck_after_s=20)
    serving = tmp_path_factory.mktemp("serving")
    engine = TorchServeEngine.start(archives["5"], settings, serving=serving, on_endpoint=told.append)
    engine.load(archives["6"])
    engine.make_default("6")
    yield engine
    engine.stop()


def answering(engine: TorchServeEngine, version: str | None = None) -> str:
    """The version that answers, or the code of the error."""

    async def ask() -> str:
        try:
            asked = engine.predict(encoded_lesion(), request_id="r", timeout_s=60, version=version)
            return (await asked).model.version
        except EngineError as error:
            return error.code
        finally:
            await engine.close()
            engine._client = type(engine._client)()  # each event loop has connections of its own

    return asyncio.run(ask())


def family(engine: TorchServeEngine, word: str) -> list[psutil.Process]:
    guard = psutil.Process(engine.process._process.pid)
    return [child for child in guard.children(recursive=True) if any(word in part for part in child.cmdline())]


def belonging_to(engine: TorchServeEngine) -> set[int]:
    """Every process on this machine that works in the engine's folder, whoever is its parent."""
    found = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if str(engine._instance.folder) in " ".join([process.cwd(), *process.cmdline()]):
                found.add(process.pid)
    return found


def test_a_frontend_that_is_killed_is_back_with_its_versions_and_leaves_no_process(
    engine: TorchServeEngine, told: list[Endpoint]
) -> None:
    """The same port and default version; a new token, which is told; the old one is refused."""
    before, restarts = engine.endpoint, engine.restarts()
    old_processes = belonging_to(engine)
    assert len(family(engine, "model_service_worker")) == 2
    (java,) = family(engine, "org.pytorch.serve.ModelServer")

    os.kill(java.pid, signal.SIGKILL)

    killed_at = time.monotonic()
    assert answering(engine) in ("engine_down", "worker_died")
    wait_for(lambda: answering(engine) == "6")
    took_s = time.monotonic() - killed_at
    wait_for(lambda: answering(engine, "5") == "5")
    print(
        f"the frontend was killed: the default version answers after {took_s:.1f} s, at most {BACK_S:.0f} s are allowed"
    )
    assert took_s < BACK_S * SLOW_MACHINE
    assert engine.restarts()["torchserve"] == restarts["torchserve"] + 1
    assert old_processes & belonging_to(engine) == set()
    family_now = {one.pid for one in psutil.Process(engine.process._process.pid).children(recursive=True)}
    assert belonging_to(engine) <= {engine.process._process.pid, *family_now}
    assert engine.endpoint.url == before.url
    assert told[-1] == engine.endpoint
    assert engine.endpoint.token != before.token
    headers = {"Authorization": f"Bearer {before.token}"}
    old = httpx.post(before.url, content=encoded_lesion(), headers=headers, timeout=60, trust_env=False)
    assert old.status_code == 400


def test_a_guard_that_is_killed_takes_its_torchserve_with_it_and_another_takes_over(engine: TorchServeEngine) -> None:
    """As the kernel kills where memory runs out: the program that looks after Java, and not Java."""
    wait_for(lambda: answering(engine) == "6")
    restarts, old_processes = engine.restarts(), belonging_to(engine)

    os.kill(engine.process._process.pid, signal.SIGKILL)

    wait_for(lambda: engine.restarts()["torchserve"] > restarts["torchserve"])
    wait_for(lambda: answering(engine) == "6")
    assert old_processes & belonging_to(engine) == set()


def test_a_worker_that_is_killed_is_back(engine: TorchServeEngine) -> None:
    """Whoever asks meanwhile gets an answer, or is told that the worker died."""
    wait_for(lambda: len(family(engine, "model_service_worker")) == 2)
    counted = engine.restarts()["worker"]
    for worker in family(engine, "model_service_worker"):
        worker.kill()

    assert answering(engine, "5") in ("5", "worker_died", "deadline_passed")
    wait_for(lambda: answering(engine, "5") == "5")
    wait_for(lambda: engine.restarts()["worker"] > counted)


def test_a_worker_that_torchserve_gave_up_is_started_again(engine: TorchServeEngine) -> None:
    """Its model could not be loaded for a while, as after a full disk; the other version answered all the time."""
    wait_for(lambda: answering(engine, "6") == "6")
    unpacked = next(
        path.parent
        for path in (engine._instance.folder / "tmp" / "models").rglob("lesion.json")
        if '"version": "6"' in path.read_text()
    )
    card = unpacked / "bundle" / "card.md"
    whole = card.read_text()
    card.write_text("altered")
    (worker,) = [one for one in family(engine, "model_service_worker") if one.cwd() == str(unpacked)]
    worker.kill()

    wait_for(lambda: any(one.finding and "card.md" in one.finding for one in engine.versions()))
    assert answering(engine, "6") == "engine_down"
    assert answering(engine, "5") == "5"
    card.write_text(whole)
    wait_for(lambda: answering(engine, "6") == "6")
    wait_for(lambda: not any(one.finding for one in engine.versions()))


def test_a_version_that_does_not_load_leaves_the_others_alone(
    engine: TorchServeEngine, archives: dict[str, ArchiveInfo], tmp_path: Path
) -> None:
    """It says why and is not there afterwards, so that a mended one can take its place."""
    renamed = altered(archives["5"].path, tmp_path / "a.mar", "lesion.json", b'"version": "5"', b'"version": "7"')
    seventh = altered(
        renamed.path, tmp_path / "b.mar", "MAR-INF/MANIFEST.json", b'"modelVersion": "5"', b'"modelVersion": "7"'
    )
    broken = altered(seventh.path, tmp_path / "c.mar", "bundle/card.md", b"untrained", b"trained")

    with pytest.raises(EngineError, match=r"card\.md does not match") as caught:
        engine.load(broken)

    assert caught.value.code == "model_did_not_load"
    assert answering(engine, "7") == "unknown_version"
    with pytest.raises(LoadAbortedError):
        engine.load(seventh, is_wanted=lambda: False)
    assert answering(engine, "7") == "unknown_version"
    engine.load(seventh)
    assert answering(engine, "7") == "7"
    engine.unload("7")
    assert answering(engine, "7") == "unknown_version"
    assert answering(engine) == "6"
