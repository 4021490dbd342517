"""``lesion-serve start`` is killed while clients ask, again and again: what it acknowledged is there."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import sys
import threading
from multiprocessing import get_context
from pathlib import Path

import httpx

from lesion_core.errors import LesionError
from lesion_core.processes import free_port
from lesion_core.workspace import Endpoint, Workspace
from lesion_serve import cli
from lesion_serve.engine import in_process
from lesion_serve.gateway import server
from support.gateway_programs import run_command
from support.images import encoded_lesion
from support.onnx_bundles import make_onnx_bundle

KILLS = 50
CLIENTS = 4
# What the program imports once it runs: each of the forked ones has it already.
IMPORTED = (cli, in_process, server)


def start(home: Path, *arguments: str) -> int:
    """Fork the program; its process. Forked, so that 50 starts import everything once; this one has no thread then."""
    Workspace(home).endpoint.unlink(missing_ok=True)  # of the one that was killed
    process = os.fork()
    if process == 0:
        try:
            log = os.open(home / "gateway.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.environ["LESION_HOME"] = str(home)
            sys.argv = ["lesion-serve", "start", *arguments]
            cli.main()
        finally:
            os._exit(1)
    return process


def ask_until_it_is_killed(home: Path, name: str, is_killed: threading.Event, acknowledged: list[str]) -> None:
    """One client: ids of what was answered go to ``acknowledged``."""
    number = 0
    with httpx.Client(trust_env=False, timeout=60) as client:
        while not is_killed.is_set():
            request_id = f"{name}-{number:06}"
            try:
                endpoint = Endpoint.load(Workspace(home).endpoint)
                headers = {"Authorization": f"Bearer {endpoint.token}", "Content-Type": "image/jpeg"}
                answer = client.post(
                    endpoint.url, content=encoded_lesion(), headers={**headers, "X-Request-ID": request_id}
                )
            except (LesionError, httpx.HTTPError):  # it is starting, or gone
                is_killed.wait(0.02)
                continue
            number += 1
            if answer.status_code == 200:
                acknowledged.append(request_id)


def run_and_kill(home: Path, number: int, *arguments: str, after_s: float) -> list[str]:
    """Start it, let clients ask, kill it ``after_s`` after the first answer; all that it acknowledged."""
    process, is_killed, acknowledged = start(home, *arguments), threading.Event(), list[str]()
    clients = [
        threading.Thread(target=ask_until_it_is_killed, args=(home, f"run{number}-{client}", is_killed, acknowledged))
        for client in range(CLIENTS)
    ]
    for client in clients:
        client.start()
    while not acknowledged:
        assert os.waitpid(process, os.WNOHANG) == (0, 0), (home / "gateway.log").read_text()[-2000:]
        is_killed.wait(0.01)
    is_killed.wait(after_s)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    is_killed.set()
    for client in clients:
        client.join()
    return acknowledged


def test_no_acknowledged_answer_is_lost_however_often_the_gateway_is_killed(tmp_path: Path) -> None:
    """Fifty SIGKILLs under four clients; every answer that a client has is in the store, and the chain is whole."""
    maker = get_context("fork").Process(target=make_onnx_bundle, args=(tmp_path / "bundle",))
    maker.start()  # apart, since this process forks, and so must not have threads of torch
    maker.join()
    assert maker.exitcode == 0
    options = ("--engine", "in-process", "--workers", "2", "--port", str(free_port()))
    choose, acknowledged = random.Random(5), list[str]()
    for number in range(KILLS):
        source = [] if number else [str(tmp_path / "bundle")]  # later ones serve what is deployed
        acknowledged += run_and_kill(tmp_path, number, *source, *options, after_s=choose.uniform(0, 0.2))

    with sqlite3.connect(tmp_path / "predictions.db") as connection:
        kept = {row[0] for row in connection.execute("SELECT request_id FROM event")}
    connection.close()
    assert len(acknowledged) > 2 * KILLS
    assert set(acknowledged) - kept == set()
    verified = run_command(tmp_path, "audit", "verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert "Remark" not in verified.stdout
