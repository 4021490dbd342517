"""What does serving cost? The whole server beside its peers, with one model and one image, in one run.

    ./pants run benchmarks/serving.py -- BUNDLE IMAGE

IMAGE is a JPEG as cameras make them (those of ISIC 2019 have 600 x 450 px). Everything has two workers of one thread:

1. Answers a second for eight clients: the gateway with TorchServe and the durable record; our archive in TorchServe
   alone; TorchServe's stock image classifier in eager mode; LitServe with our predictor; two processes in a loop.
2. What the gateway and the record add to an answer of TorchServe: median and 99th percentile, one client, in turns.
3. Seconds from the start of the program to the first answer, and from the death of a worker to two that are ready.
4. Requests at five times the rate that can be answered: latency of the answers, and of the refusals.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import attrs
import httpx
import numpy as np
import psutil
from serving_peers import litserve, loop_throughput, stock_torchserve

from lesion_core.processes import ChildProcess, free_port
from lesion_core.workspace import Endpoint, Workspace

WORKERS = 2
CLIENTS = 8
SECONDS = 20.0
TURNS = 150
START_S = 180.0

Ask = Callable[[httpx.Client], httpx.Response]


@attrs.frozen
class Timed:
    """One answer: HTTP status, and seconds until it was there."""

    status: int
    seconds: float


def main() -> None:
    """Print all of it."""
    bundle, image = Path(sys.argv[1]), Path(sys.argv[2]).read_bytes()
    rates: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        home.mkdir()
        started = time.monotonic()
        with_server(home, bundle, image, rates, started)
        with stock_torchserve(bundle, Path(folder), workers=WORKERS) as (url, headers):
            rates["stock handler"] = rate(clients(lambda http: http.post(url, content=image, headers=headers)))
        with litserve(bundle, Path(folder), workers=WORKERS) as url:
            rates["LitServe"] = rate(clients(lambda http: http.post(url, files={"request": image})))
    rates["loop"] = loop_throughput(bundle, image, processes=WORKERS, seconds=SECONDS)
    print(f"\nanswers a second, {CLIENTS} clients, {WORKERS} workers    to the loop   to the stock handler")
    for name, value in rates.items():
        print(f"  {name:32} {value:7.1f}   {value / rates['loop']:10.2f}   {value / rates['stock handler']:10.2f}")


def with_server(home: Path, bundle: Path, image: bytes, rates: dict[str, float], started: float) -> None:
    """Everything that is asked of our own server."""
    workspace = Workspace(home)
    command = [sys.executable, "-m", "lesion_serve", "start", str(bundle), "--workers", str(WORKERS)]
    command += ["--port", str(free_port()), "--torchserve-port", str(free_port())]
    environment = {"LESION_HOME": str(home), "OMP_NUM_THREADS": "1"}
    server = ChildProcess.start("server", command, log_path=home / "server.log", environment=environment)
    try:
        server.wait_until(workspace.endpoint.is_file, timeout_s=START_S)
        gateway, torchserve = Endpoint.load(workspace.endpoint), Endpoint.load(workspace.torchserve_endpoint)
        through, direct = asking(gateway, image), asking(torchserve, image)
        with httpx.Client(trust_env=False, timeout=60) as http:
            assert through(http).status_code == 200
            print(f"cold start: {time.monotonic() - started:.1f} s from the start of the program to the first answer")
            added(http, through, direct)
        rates["gateway, TorchServe, record"] = rate(clients(through))
        rates["our archive in TorchServe"] = rate(clients(direct))
        overload(gateway, image, rates["gateway, TorchServe, record"])
        worker_restart(gateway)
    finally:
        server.stop()


def asking(endpoint: Endpoint, image: bytes) -> Ask:
    """One question to an address of ours."""
    headers = {"Authorization": f"Bearer {endpoint.token}", "Content-Type": "image/jpeg"}
    return lambda http: http.post(endpoint.url, content=image, headers=headers)


def clients(ask: Ask, *, count: int = CLIENTS, seconds: float = SECONDS) -> list[Timed]:
    """Answers that ``count`` clients got, who ask without a pause."""
    timed, end = list[Timed](), time.monotonic() + seconds

    def run() -> None:
        with httpx.Client(trust_env=False, timeout=120) as http:
            while time.monotonic() < end:
                began = time.perf_counter()
                status = ask(http).status_code
                timed.append(Timed(status, time.perf_counter() - began))

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return timed


def rate(timed: list[Timed]) -> float:
    """Answers a second; every one has to be an answer."""
    assert {one.status for one in timed} == {200}, {one.status for one in timed}
    return len(timed) / SECONDS


def added(http: httpx.Client, through: Ask, direct: Ask) -> None:
    """What the gateway adds, in turns, so that both meet the same machine."""
    took = np.empty((TURNS, 2))
    for turn in range(TURNS):
        for way, ask in enumerate((through, direct)):
            began = time.perf_counter()
            assert ask(http).status_code == 200
            took[turn, way] = 1000 * (time.perf_counter() - began)
    for name, share in (("median", 50), ("99th percentile", 99)):
        whole, alone = np.percentile(took, share, axis=0)
        print(f"one client, {name}: {whole:.1f} ms, TorchServe alone {alone:.1f} ms: {whole - alone:+.1f} ms")


def overload(endpoint: Endpoint, image: bytes, answers_a_second: float) -> None:
    """Requests come at five times the rate that can be answered, whether or not those before have been."""
    timed = asyncio.run(_arriving(endpoint, image, a_second=5 * answers_a_second))
    accepted = [one.seconds for one in timed if one.status == 200]
    refused = [1000 * one.seconds for one in timed if one.status in (429, 503)]
    others = {one.status for one in timed} - {200, 429, 503}
    print(
        f"{5 * answers_a_second:.0f} requests a second: {len(accepted)} answered, 99th percentile "
        f"{np.percentile(accepted, 99):.2f} s; {len(refused)} refused, median {np.median(refused):.0f} ms, "
        f"99th percentile {np.percentile(refused, 99):.0f} ms; other statuses {others or 'none'}"
    )


async def _arriving(endpoint: Endpoint, image: bytes, *, a_second: float) -> list[Timed]:
    headers = {"Authorization": f"Bearer {endpoint.token}", "Content-Type": "image/jpeg"}
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(trust_env=False, timeout=120, limits=limits) as http:

        async def one() -> Timed:
            began = time.perf_counter()
            answer = await http.post(endpoint.url, content=image, headers=headers)
            return Timed(answer.status_code, time.perf_counter() - began)

        tasks, began = list[asyncio.Task[Timed]](), time.perf_counter()
        while (passed := time.perf_counter() - began) < SECONDS / 2:
            while len(tasks) < passed * a_second:
                tasks.append(asyncio.create_task(one()))
            await asyncio.sleep(0.005)
        return list(await asyncio.gather(*tasks))


def worker_restart(gateway: Endpoint) -> None:
    """Kill one worker, and wait until another process stands in its place and all are ready."""
    workers = worker_processes()
    headers = {"Authorization": f"Bearer {gateway.token}"}
    models = gateway.url.replace("/predictions", "/models")
    workers[0].kill()
    began = time.monotonic()
    while not (
        set(worker_processes()) - set(workers)
        and httpx.get(models, headers=headers, trust_env=False).json()["models"][0]["ready_workers"] == WORKERS
    ):
        time.sleep(0.05)
    print(f"worker killed: all are ready again after {time.monotonic() - began:.1f} s")


def worker_processes() -> list[psutil.Process]:
    """The processes that run models, of all that this one has started."""
    family = psutil.Process().children(recursive=True)
    return [one for one in family if any("model_service_worker" in part for part in _command_line(one))]


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


if __name__ == "__main__":
    main()
