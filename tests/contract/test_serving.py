"""A real TorchServe with a real archive, over HTTP."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from lesion_core.processes import child_environment, free_port
from lesion_core.taxonomy import ISIC_2019
from lesion_core.wire import Prediction, Problem, from_json
from lesion_serve.archive import build_archive
from lesion_serve.engine.torchserve import TorchServeEngine, TorchServeSettings
from support.bundles import make_tiny_bundle
from support.images import encoded_lesion


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    bundle = make_tiny_bundle(folder / "bundle")
    return build_archive(bundle.folder, folder / "skin_vit.mar", version="5").path


@pytest.fixture(scope="module")
def engine(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TorchServeEngine]:
    settings = TorchServeSettings(port=free_port())
    engine = TorchServeEngine.start(archive, settings, serving=tmp_path_factory.mktemp("serving"))
    yield engine
    engine.stop()


def ask(engine: TorchServeEngine, data: bytes, content_type: str, token: str | None = None) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token or engine.endpoint.token}", "Content-Type": content_type}
    return httpx.post(engine.endpoint.url, content=data, headers=headers, timeout=60, trust_env=False)


def worker_pids(engine: TorchServeEngine) -> set[int]:
    guard = psutil.Process(engine.process._process.pid)
    return {p.pid for p in guard.children(recursive=True) if any("model_service_worker" in w for w in p.cmdline())}


@pytest.mark.parametrize(("kind", "content_type"), [("JPEG", "image/jpeg"), ("PNG", "image/png")])
def test_an_image_is_answered_on_the_wire(engine: TorchServeEngine, kind: str, content_type: str) -> None:
    """Nine probabilities, and the version that was packed."""
    answer = ask(engine, encoded_lesion(kind), content_type)

    assert answer.status_code == 200
    prediction = from_json(answer.content, Prediction)
    assert tuple(item.code for item in prediction.probabilities) == ISIC_2019.codes
    assert prediction.model.version == "5"
    assert engine.endpoint.url.endswith("/predictions/skin_vit")


def test_bad_input_gets_a_4xx_with_a_code_and_a_sentence_and_the_worker_lives_on(engine: TorchServeEngine) -> None:
    """A text file, a truncated JPEG, an empty body, a form."""
    before = worker_pids(engine)
    cases = [
        (b"just a text file", "image/jpeg", 415, "unsupported_format"),
        (encoded_lesion()[:500], "image/jpeg", 422, "corrupt_image"),
        (b"", "image/jpeg", 400, "empty_body"),
        (b"a=1&b=2", "application/x-www-form-urlencoded", 415, "unsupported_request"),
    ]
    for data, content_type, status, code in cases:
        answer = ask(engine, data, content_type)
        problem = from_json(answer.content, Problem)
        assert (answer.status_code, problem.code) == (status, code)
        assert " " in problem.message

    assert ask(engine, encoded_lesion(), "image/jpeg").status_code == 200
    assert worker_pids(engine) == before


def test_a_wrong_token_is_refused(engine: TorchServeEngine) -> None:
    """TorchServe says 400 to it."""

    assert ask(engine, encoded_lesion(), "image/jpeg", token="wrong").status_code == 400


def test_the_management_address_is_closed_without_its_own_key(engine: TorchServeEngine) -> None:
    """The token for predictions does not open it."""
    config = dict(
        line.split("=", 1) for line in (engine._folder / "config.properties").read_text().splitlines() if "=" in line
    )
    headers = {"Authorization": f"Bearer {engine.endpoint.token}"}

    answer = httpx.get(f"{config['management_address']}/models", headers=headers, timeout=30, trust_env=False)

    assert answer.status_code == 400
    assert "127.0.0.1" in config["management_address"]


def test_keys_outlive_an_hour_and_are_for_their_owner_only(engine: TorchServeEngine) -> None:
    """TorchServe's default kills every key after 60 minutes."""
    path = engine._folder / "key_file.json"
    keys = json.loads(path.read_text())

    assert "T" in keys["inference"]["expiration time"] or keys["inference"]["expiration time"]
    assert int(keys["inference"]["expiration time"][:4]) > time.gmtime().tm_year + 5
    assert path.parent.stat().st_mode & 0o077 == 0


def test_a_second_server_runs_beside_the_first(engine: TorchServeEngine, archive: Path, tmp_path: Path) -> None:
    """Ports, sockets and folders of its own."""
    second = TorchServeEngine.start(archive, TorchServeSettings(port=free_port()), serving=tmp_path)
    try:
        assert ask(second, encoded_lesion(), "image/jpeg").status_code == 200
        assert ask(engine, encoded_lesion(), "image/jpeg").status_code == 200
    finally:
        second.stop()

    assert ask(engine, encoded_lesion(), "image/jpeg").status_code == 200


def test_a_killed_server_program_leaves_no_process(archive: Path, tmp_path: Path) -> None:
    """SIGKILL of the program that owns TorchServe ends Java and the workers too."""
    command = [sys.executable, "-m", "lesion_serve", "start", str(archive), "--port", str(free_port())]
    program = subprocess.Popen(
        command,
        env=child_environment({"LESION_HOME": str(tmp_path)}),
        start_new_session=True,
        stdout=subprocess.DEVNULL,
    )
    wait_for(lambda: (tmp_path / "endpoint.json").exists() or program.poll() is not None)
    family = [process.pid for process in psutil.Process(program.pid).children(recursive=True)]
    assert len(family) >= 3  # the guard, Java, a worker

    os.killpg(program.pid, signal.SIGKILL)
    program.wait()

    wait_for(lambda: not any(psutil.pid_exists(pid) for pid in family))


def wait_for(condition: object, timeout_s: float = 180) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.2)
