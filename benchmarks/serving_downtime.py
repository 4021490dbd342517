"""How long do clients wait for a rollback, and for a TorchServe that was killed? Two versions of one model, served.

    ./pants run benchmarks/serving_downtime.py -- BUNDLE IMAGE

1. A version is deployed, and rolled back by ``lesion-serve rollback``, back and forth, while clients ask without a
   pause: seconds of the whole command, and until the first answer of the version before; requests without an answer.
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
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
from limited import Limited
from serving import CLIENTS, START_S, Client, all_are_ready, asking, family_with, start_server

from lesion_core.processes import child_environment, free_port
from lesion_core.wire import Prediction, from_json
from lesion_core.workspace import Endpoint, Workspace
from lesion_serve.archive import build_archive

BEFORE, AFTER = "1", "2"
PAIRS = 3


def main() -> int:
    """Print all of it; how many limits do not hold."""
    bundle, image = Path(sys.argv[1]), Path(sys.argv[2]).read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        archives = {version: home / f"{version}.mar" for version in (BEFORE, AFTER)}
        for version, archive in archives.items():
            build_archive(bundle, archive, version=version)
        port, environment = free_port(), child_environment({"LESION_HOME": str(home)})
        server = start_server(home, archives[BEFORE], port=port)
        try:
            workspace = Workspace(home)
            server.wait_until(workspace.endpoint.is_file, timeout_s=START_S)
            gateway = Endpoint.load(workspace.endpoint)
            server.wait_until(lambda: all_are_ready(gateway), timeout_s=START_S)

            def run(*arguments: str) -> None:
                command = [sys.executable, "-m", "lesion_serve", *arguments, "--port", str(port)]
                subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)

            run("deploy", str(archives[AFTER]))
            figures = [*rollbacks(partial(run, "rollback"), gateway, image), *killed_frontend(gateway, image)]
        finally:
            server.stop()
    print("\n".join(str(one) for one in figures))
    return sum(not one.holds for one in figures)


def rollbacks(roll_back: Callable[[], None], gateway: Endpoint, image: bytes) -> list[Limited]:
    """Back and forth between two versions that are loaded, the slowest of some tries."""
    with Asked(gateway, image) as asked:
        took = [_rollback(roll_back, asked, back_to) for back_to in (BEFORE, AFTER) * PAIRS]
    whole, answered = (max(seconds) for seconds in zip(*took, strict=True))
    return [
        Limited(f"rollback, slowest of {2 * PAIRS}: the whole command", whole, 2, "s"),
        Limited(f"rollback, slowest of {2 * PAIRS}: until the other answers", answered, 2, "s"),
        Limited(f"of {len(asked.answers)} requests meanwhile without an answer", asked.failed, 0),
    ]


def _rollback(roll_back: Callable[[], None], asked: Asked, back_to: str) -> tuple[float, float]:
    """Seconds that the command takes, and until a client has an answer of the version that it goes back to."""
    began = time.monotonic()
    roll_back()
    whole_s = time.monotonic() - began
    while not (since := [at for at, answer in asked.answers if at > began and answer == back_to]):
        time.sleep(0.005)
    return whole_s, since[0] - began


def killed_frontend(gateway: Endpoint, image: bytes) -> list[Limited]:
    """Kill the Java process; what was started for it has to go with it."""
    client = Client(asking(gateway, image))
    # The program that started Java, and goes with it, has its class in its command too.
    (java,) = (one for one in family_with("org.pytorch.serve.ModelServer") if one.name() == "java")
    old = [java, *family_with("model_service_worker")]
    java.kill()
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
        self.answers: list[tuple[float, str]] = []  # with their times, monotonic
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

    @property
    def failed(self) -> int:
        """How many requests got no prediction."""
        return sum(answer not in (BEFORE, AFTER) for _, answer in self.answers)

    def _run(self) -> None:
        client = Client(self._question)
        while not self._stop.is_set():
            status, body = client.ask_for_body()
            answer = from_json(body, Prediction).model.version if status == 200 else str(status)
            self.answers.append((time.monotonic(), answer))


if __name__ == "__main__":
    sys.exit(main() > 0)
