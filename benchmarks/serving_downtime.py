"""How long do clients wait for a rollback, and for a TorchServe that was killed? Two versions of one model, served.

    ./pants run benchmarks/serving_downtime.py -- BUNDLE IMAGE

1. A version is deployed and rolled back by ``POST /v1/deployment`` while clients ask without a pause: seconds until
   the request for it is answered, until the first answer of the version before, and requests without an answer.
2. TorchServe's Java process is killed with SIGKILL: seconds until the service answers again, and processes of the
   killed one that are left then.

Beside each figure that has one stands its limit; the exit code is 1 where one does not hold.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import httpx
import psutil
from serving import CLIENTS, START_S, WORKERS, Client, Limited, all_are_ready, asking, family_with

from lesion_core.processes import ChildProcess, child_environment, free_port
from lesion_core.wire import Prediction, from_json
from lesion_core.workspace import Endpoint, Workspace
from lesion_serve.archive import build_archive

BEFORE, AFTER = "1", "2"
TRIES = 5


def main() -> int:
    """Print all of it; how many limits do not hold."""
    bundle, image = Path(sys.argv[1]), Path(sys.argv[2]).read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        archives = {version: home / f"{version}.mar" for version in (BEFORE, AFTER)}
        for version, archive in archives.items():
            build_archive(bundle, archive, version=version)
        port = free_port()
        command = [sys.executable, "-m", "lesion_serve", "start", str(archives[BEFORE]), "--port", str(port)]
        command += ["--torchserve-port", str(free_port()), "--workers", str(WORKERS)]
        environment = {"LESION_HOME": str(home)}
        server = ChildProcess.start("server", command, log_path=home / "server.log", environment=environment)
        try:
            workspace = Workspace(home)
            server.wait_until(workspace.endpoint.is_file, timeout_s=START_S)
            gateway = Endpoint.load(workspace.endpoint)
            server.wait_until(lambda: all_are_ready(gateway), timeout_s=START_S)
            deploy = [sys.executable, "-m", "lesion_serve", "deploy", str(archives[AFTER]), "--port", str(port)]
            subprocess.run(deploy, env=child_environment(environment), check=True, stdout=subprocess.DEVNULL)
            figures = [*rollbacks(gateway, image), *killed_frontend(gateway, image)]
        finally:
            server.stop()
    print("\n".join(str(one) for one in figures))
    return sum(not one.holds for one in figures)


def rollbacks(gateway: Endpoint, image: bytes) -> list[Limited]:
    """Back and forth between two versions that are loaded, the slowest of some tries."""
    asked = Asked(gateway, image)
    with asked:
        told, answered = zip(*(_rollback(gateway, asked) for _ in range(TRIES)), strict=True)
    return [
        Limited(f"rollback, slowest of {TRIES}: until it is confirmed", max(told), 2, "s"),
        Limited(f"rollback, slowest of {TRIES}: until the other version answers", max(answered), 2, "s"),
        Limited(f"of {len(asked.answers)} requests meanwhile without an answer", asked.failed, 0),
    ]


def _rollback(gateway: Endpoint, asked: Asked) -> tuple[float, float]:
    """Seconds until the request is answered, and until a client has an answer of the version before."""
    champion = asked.latest()
    began = time.monotonic()
    answer = httpx.post(
        gateway.url.replace("/predictions", "/deployment"),
        json={"action": "rollback", "why": "benchmark"},
        headers={"Authorization": f"Bearer {gateway.token}"},
        timeout=60,
        trust_env=False,
    )
    told_s = time.monotonic() - began
    answer.raise_for_status()
    while asked.latest() == champion:
        time.sleep(0.005)
    return told_s, time.monotonic() - began


def killed_frontend(gateway: Endpoint, image: bytes) -> list[Limited]:
    """Kill the Java process; what was started for it has to go with it."""
    client = Client(asking(gateway, image))
    old = family_with("org.pytorch.serve.ModelServer") + family_with("model_service_worker")
    old[0].kill()
    began = time.monotonic()
    while client.ask() != 200:
        time.sleep(0.05)
    back_s = time.monotonic() - began
    _, left = psutil.wait_procs(old, timeout=5)
    return [
        Limited("TorchServe is killed, until it answers again", back_s, 20, "s"),
        Limited("processes of the killed one that are left", len(left), 0),
    ]


class Asked:
    """Clients who ask without a pause, and what they were answered: a version, or a status."""

    def __init__(self, gateway: Endpoint, image: bytes) -> None:
        self.answers: list[str] = []
        self._question = asking(gateway, image)
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(CLIENTS)]

    def __enter__(self) -> Asked:
        for thread in self._threads:
            thread.start()
        while len(self.answers) < CLIENTS:
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def latest(self) -> str:
        """What was answered last."""
        return self.answers[-1]

    @property
    def failed(self) -> int:
        """How many requests got no prediction."""
        return sum(one not in (BEFORE, AFTER) for one in self.answers)

    def _run(self) -> None:
        client = Client(self._question)
        while not self._stop.is_set():
            status, body = client.ask_for_body()
            self.answers.append(from_json(body, Prediction).model.version if status == 200 else str(status))


if __name__ == "__main__":
    sys.exit(main() > 0)
