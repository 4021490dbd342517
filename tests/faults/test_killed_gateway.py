"""A gateway that is killed while clients ask, again and again: what it acknowledged is there."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import threading
from pathlib import Path

import httpx
import uvicorn

from lesion_core.processes import free_port
from support.gateways import IMAGE, JPEG, GatewayUnderTest
from support.stored import check

KILLS = 50
CLIENTS = 4


def start(folder: Path, port: int) -> int:
    """Fork a gateway that listens; its process. Forked, so that 50 starts import everything once."""
    process = os.fork()
    if process == 0:
        try:
            gateway = GatewayUnderTest(folder, at_once=CLIENTS)
            uvicorn.run(gateway.app, host="127.0.0.1", port=port, log_config=None)
        finally:
            os._exit(1)
    return process


def ask_until_it_is_gone(port: int, name: str, is_killed: threading.Event, acknowledged: list[str]) -> None:
    """One client: ids of what was answered go to ``acknowledged``."""
    url, number = f"http://127.0.0.1:{port}/v1/predictions", 0
    with httpx.Client(trust_env=False, timeout=10) as client:
        while not is_killed.is_set():
            request_id = f"{name}-{number:06}"
            try:
                answer = client.post(url, content=IMAGE, headers={**JPEG, "X-Request-ID": request_id})
            except httpx.HTTPError:
                continue  # it is starting, or gone
            number += 1
            if answer.status_code == 200:
                acknowledged.append(request_id)


def run_and_kill(folder: Path, number: int, *, after_s: float) -> list[str]:
    """Start it, let clients ask, kill it ``after_s`` after the first answer; all that it acknowledged."""
    port, is_killed, acknowledged = free_port(), threading.Event(), list[str]()
    process = start(folder, port)
    clients = [
        threading.Thread(target=ask_until_it_is_gone, args=(port, f"run{number}-{client}", is_killed, acknowledged))
        for client in range(CLIENTS)
    ]
    for client in clients:
        client.start()
    while not acknowledged:
        assert os.waitpid(process, os.WNOHANG) == (0, 0), "the gateway ended by itself"
    threading.Event().wait(after_s)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    is_killed.set()
    for client in clients:
        client.join()
    return acknowledged


def test_no_acknowledged_answer_is_lost_however_often_the_gateway_is_killed(tmp_path: Path) -> None:
    """Fifty SIGKILLs under four clients; every answer that a client has is in the store, and the chain is whole."""
    choose, acknowledged = random.Random(5), list[str]()
    for number in range(KILLS):
        acknowledged += run_and_kill(tmp_path, number, after_s=choose.uniform(0, 0.2))

    with sqlite3.connect(tmp_path / "predictions.db") as connection:
        kept = {row[0] for row in connection.execute("SELECT request_id FROM event")}
    connection.close()
    assert len(acknowledged) > 2 * KILLS
    assert set(acknowledged) - kept == set()
    found = check(tmp_path)
    assert (found.findings, found.remarks) == ((), ())
