"""Versions come and go on a server that runs, while clients ask it without a pause."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import httpx
import pytest

from lesion_core.processes import child_environment, free_port
from lesion_core.wire import Prediction, from_json
from lesion_core.workspace import Endpoint, Workspace
from lesion_serve.archive import build_archive
from lesion_serve.deployment_store import DeploymentStore
from support.archives import altered
from support.bundles import make_tiny_bundle
from support.images import encoded_lesion
from support.waiting import wait_for

COMMAND = [sys.executable, "-m", "lesion_serve"]
# The requirement for a rollback is 2 s on a machine that does nothing else; here clients and other tests run beside it.
ROLLBACK_S, SLOW_MACHINE = 2.0, 5


@attrs.frozen
class Server:
    """A program that serves version 5, and the folder with archives of 5, 6 and a broken 7."""

    home: Path
    port: int

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = child_environment({"LESION_HOME": str(self.home)})
        command = [*COMMAND, *arguments, "--port", str(self.port)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    @property
    def store(self) -> DeploymentStore:
        return DeploymentStore.of(Workspace(self.home), self.port)

    @property
    def endpoint(self) -> Endpoint:
        """The gateway's."""
        return Endpoint.load(Workspace(self.home).endpoint)

    @property
    def torchserve(self) -> Endpoint:
        """TorchServe's own, which also has an address for each version."""
        return Endpoint.load(Workspace(self.home).torchserve_endpoint)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("home")
    bundle = make_tiny_bundle(home / "bundle")
    for version in "567":
        build_archive(bundle.folder, home / f"{version}.mar", version=version)
    altered(home / "7.mar", home / "broken.mar", "lesion_serve/predictor.py", b"class Predictor", b"class Elsewhere")
    server = Server(home, free_port())
    command = [
        *COMMAND,
        "start",
        str(home / "5.mar"),
        "--port",
        str(server.port),
        "--torchserve-port",
        str(free_port()),
    ]
    program = subprocess.Popen(command, env=child_environment({"LESION_HOME": str(home)}))
    try:
        wait_for(lambda: Workspace(home).endpoint.exists() or program.poll() is not None)
        wait_for(lambda: server.store.report() is not None)
        yield server
    finally:
        program.terminate()
        assert program.wait(120) == 0


class Clients:
    """Ask the default address without a pause, and keep what was answered: a version, or a status."""

    def __init__(self, endpoint: Endpoint, count: int = 2) -> None:
        self.answers: list[str] = []
        self._endpoint = endpoint
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(count)]

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        headers = {"Authorization": f"Bearer {self._endpoint.token}", "Content-Type": "image/jpeg"}
        with httpx.Client(headers=headers, timeout=120, trust_env=False) as client:
            while not self._stop.is_set():
                answer = client.post(self._endpoint.url, content=encoded_lesion())
                is_answered = answer.status_code == 200
                self.answers.append(
                    from_json(answer.content, Prediction).model.version if is_answered else str(answer.status_code)
                )


def test_deploy_and_rollback_lose_no_request(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """Every answer is a prediction, by the champion of its moment; 6 takes over from 5, then 5 from 6."""
    with Clients(server.endpoint) as clients:
        wait_for(lambda: len(clients.answers) > 3)
        deployed = server.run("deploy", str(server.home / "6.mar"))
        at_deploy = len(clients.answers)
        wait_for(lambda: len(clients.answers) > at_deploy + 6)
        before_rollback = len(clients.answers)
        started = time.monotonic()
        rolled_back = server.run("rollback")
        took_s = time.monotonic() - started
        at_rollback = len(clients.answers)
        wait_for(lambda: len(clients.answers) > at_rollback + 6)

    with capsys.disabled():
        print(
            f"\nrollback: {took_s:.1f} s with the start of its program; {len(clients.answers)} requests, all answered"
        )
    assert deployed.returncode == 0, deployed.stderr
    assert rolled_back.returncode == 0, rolled_back.stderr
    assert took_s < ROLLBACK_S * SLOW_MACHINE
    assert "version 6" in deployed.stdout
    assert set(clients.answers[:3]) == {"5"}
    assert set(clients.answers[at_deploy + 2 : before_rollback]) == {"6"}
    assert set(clients.answers[at_rollback + 2 :]) == {"5"}
    assert set(clients.answers) == {"5", "6"}


def test_a_challenger_is_loaded_beside_the_champion_and_goes_again(server: Server) -> None:
    """Its address is its own; the default one is the champion's as before."""
    champion = from_json(ask(server).content, Prediction).model.version
    challenged = server.run("deploy", str(server.home / "7.mar"), "--as", "challenger", "--shadow")

    assert challenged.returncode == 0, challenged.stderr
    assert "in the shadow" in challenged.stdout
    for path, version in (("", champion), ("/7", "7")):
        assert from_json(ask(server, path).content, Prediction).model.version == version

    assert server.run("withdraw").returncode == 0
    assert ask(server, "/7").status_code == 404
    assert from_json(ask(server).content, Prediction).model.version == champion


def test_a_version_that_does_not_load_is_taken_back(server: Server) -> None:
    """The command says why; champion and history tell that it was tried."""
    before = server.store.read()
    assert before is not None
    done = server.run("deploy", str(server.home / "broken.mar"))

    after = server.store.read()
    assert after is not None
    assert done.returncode == 2
    assert f"The server goes on with version {before.champion.version}" in done.stderr
    assert after.all == before.all
    assert [line.action for line in server.store.history()][-2:] == ["deploy", "failed"]
    assert ask(server).status_code == 200


def ask(server: Server, path: str = "") -> httpx.Response:
    headers = {"Authorization": f"Bearer {server.torchserve.token}", "Content-Type": "image/jpeg"}
    url = server.torchserve.url + path
    return httpx.post(url, content=encoded_lesion(), headers=headers, timeout=120, trust_env=False)
