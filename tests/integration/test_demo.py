"""The demo: one command, real servers, and nothing left behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from lesion_core.processes import child_environment, free_port
from lesion_core.workspace import Endpoint, Workspace


def demo_command(home: Path, *arguments: str) -> list[str]:
    ports = [
        ("--mlflow-port", free_port()),
        ("--serve-port", free_port()),
        ("--torchserve-port", free_port()),
        ("--ui-port", free_port()),
    ]
    options = [text for name, port in ports for text in (name, str(port))]
    return [sys.executable, "-m", "lesion_demo", "--home", str(home), *options, *arguments]


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Ends what a test that failed has started: SIGKILL of the demo takes all of its programs along."""
    yield
    for demo in STARTED:
        if demo.poll() is None:
            os.killpg(demo.pid, signal.SIGKILL)
            demo.wait()
    STARTED.clear()


STARTED: list[subprocess.Popen[bytes]] = []
QUICK = ("--train-options", "--epochs 1 --input-size-px 64 --threads 1")


KILL_POINTS = ("MLflow server is up", "Training on", "Packing", "Gateway is up", "App is up")


def test_a_demo_that_was_killed_leaves_no_process_and_the_next_ones_work(tmp_path: Path) -> None:
    """SIGKILL at five places, and a gateway that could not clear up; then a prediction, and an end by Ctrl-C."""
    for after in KILL_POINTS:
        demo, log = start(demo_command(tmp_path, "--once", *QUICK), tmp_path)
        wait_for(lambda: after in log.read_text() or demo.poll() is not None)  # noqa: B023  (waits here)
        assert demo.poll() is None, log.read_text()

        os.killpg(demo.pid, signal.SIGKILL)
        demo.wait()

        wait_for(lambda: not processes_of(tmp_path))
    Endpoint(url=f"http://127.0.0.1:{free_port()}/v1/predictions", token="gone").save(Workspace(tmp_path).endpoint)

    predicts_once(tmp_path)
    stays_up_until_ctrl_c(tmp_path)


def predicts_once(home: Path) -> None:
    """Nine probabilities for a held-out image, and exit code 0."""
    done = subprocess.run(
        demo_command(home, "--once", *QUICK), env=child_environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "BMA" in done.stdout
    assert done.stdout.count("%  ") >= 9
    assert "held out" in done.stdout
    assert processes_of(home) == []


def stays_up_until_ctrl_c(home: Path) -> None:
    """Exit code 0, after the addresses of the app, MLflow, the gateway and TorchServe were printed and answered."""
    demo, log = start(demo_command(home, *QUICK), home)
    wait_for(lambda: "Everything stays up" in log.read_text() or demo.poll() is not None)
    assert demo.poll() is None, log.read_text()
    addresses = dict(re.findall(r"^  (\w+) +(http://127\.0\.0\.1:\S+)$", log.read_text(), re.MULTILINE))
    assert {name: httpx.get(address, trust_env=False).status_code for name, address in addresses.items()} == {
        "App": 200,
        "MLflow": 200,
        "Gateway": 401,  # as it says that a key is missing
        "TorchServe": 400,  # as it says that a token is missing
    }

    os.killpg(demo.pid, signal.SIGINT)

    assert demo.wait(60) == 0, log.read_text()
    assert processes_of(home) == []


def test_a_taken_port_is_named_with_its_option(tmp_path: Path) -> None:
    """Before anything is started."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = str(listener.getsockname()[1])
        command = [*demo_command(tmp_path, "--once"), "--ui-port", port]
        command[command.index("--ui-port") : command.index("--ui-port") + 2] = []
        done = subprocess.run(command, env=child_environment(), capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert f"Port {port} (app)" in done.stderr
    assert "--ui-port" in done.stderr


def test_a_folder_without_images_is_named_before_anything_starts(tmp_path: Path) -> None:
    """Exit code 2 and a sentence."""
    command = demo_command(tmp_path / "home", "--once", "--data", str(tmp_path))

    done = subprocess.run(command, env=child_environment(), capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert "Train/<diagnosis>" in done.stderr


def start(command: list[str], folder: Path) -> tuple[subprocess.Popen[bytes], Path]:
    """Start in a process group of its own, as a terminal does; also returns the file that gets the output."""
    log = folder / "log"
    with log.open("wb") as stream:
        demo = subprocess.Popen(command, env=child_environment(), stdout=stream, stderr=stream, start_new_session=True)
    STARTED.append(demo)
    return demo, log


def processes_of(home: Path) -> list[str]:
    """Processes whose command line or environment names this test's folder; the tests themselves do not."""
    found = []
    for process in psutil.process_iter(["pid"]):
        try:
            command, home_of = process.cmdline(), process.environ().get("LESION_HOME", "")
        except psutil.Error:
            continue
        if process.pid != os.getpid() and any(str(home) in word for word in (*command, home_of)):
            found.append(" ".join(command))
    return found


def wait_for(condition: object, timeout_s: float = 240) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.2)
