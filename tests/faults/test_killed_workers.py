"""Workers that are killed while clients ask: the clients do not notice."""

from __future__ import annotations

import random
import re
import time
from pathlib import Path

import httpx

from lesion_core.processes import free_port
from lesion_serve.gateway.keys import Role
from support.asking_clients import AskingClients, make_key
from support.gateway_programs import GatewayProgram, running_gateway
from support.onnx_bundles import make_onnx_bundle
from support.waiting import wait_for

KILLS = 20
CLIENTS = 16
WORKERS = 2


def asked_again(gateway: GatewayProgram) -> float:
    """How many questions the gateway has asked a second time, since a worker died with them."""
    headers = {"Authorization": f"Bearer {make_key(gateway, Role.ENGINEER)}"}
    url = gateway.endpoint.url.replace("/v1/predictions", "/metrics")
    text = httpx.get(url, headers=headers, trust_env=False, timeout=60).text
    (count,) = re.findall(r"^lesion_retries_total (\S+)$", text, re.MULTILINE)
    return float(count)


def test_clients_do_not_notice_that_workers_are_killed(tmp_path: Path) -> None:
    """Twenty SIGKILLs, one whenever all are ready, under sixteen clients: everything that is taken on is answered."""
    bundle = make_onnx_bundle(tmp_path / "bundle")
    options = ("--workers", str(WORKERS), "--torchserve-port", str(free_port()))
    choose, answered_by_one = random.Random(3), 0
    with running_gateway(tmp_path, bundle.folder, free_port(), *options, engine="torchserve") as gateway:
        with AskingClients(gateway, CLIENTS) as clients:
            for _ in range(KILLS):
                wait_for(lambda: len(gateway.workers) == gateway.ready_workers == WORKERS)
                time.sleep(choose.uniform(0, 0.5))
                victim, so_far = choose.choice(gateway.workers), clients.answered
                victim.kill()
                wait_for(lambda victim=victim: victim not in gateway.workers)  # type: ignore[misc]
                wait_for(lambda so_far=so_far: clients.answered > so_far + CLIENTS)  # type: ignore[misc]
                answered_by_one += gateway.ready_workers < WORKERS
        retries = asked_again(gateway)

    print(f"{clients.answered} answers, {retries:.0f} asked again, put off by the gateway: {dict(clients.put_off)}")
    assert clients.failures == []
    assert retries > 0, "no kill hit a worker that had a question: nothing was shown"
    assert clients.put_off.keys() <= {"busy"}, "each client has a share of its own"
    assert clients.put_off["busy"] < clients.answered / 2
    assert answered_by_one >= KILLS // 4, "the worker that is left goes on answering"
