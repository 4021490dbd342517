"""What does serving cost? The whole server beside its peers, with one model and one image, in one run.

    ./pants run benchmarks/serving.py -- BUNDLE IMAGE

IMAGE is a JPEG as cameras make them (those of ISIC 2019 have 600 x 450 px). Everything has two workers of one thread:

1. Answers a second for eight clients: the gateway with TorchServe and the durable record; our archive in TorchServe
   alone; TorchServe's stock image classifier in eager mode; LitServe with our predictor; two processes in a loop.
2. What the gateway and the record add to an answer of TorchServe: median and 99th percentile, one client, in turns.
3. Seconds from the start of the program to the first answer, and from the death of a worker to two that are ready.
4. Requests at five times the rate that can be answered: latency of the answers, and of the refusals.

Beside each figure that has one stands its limit; the exit code is 1 where one does not hold. Use a machine that does
nothing else. Machines become slower and faster by themselves: all are started first, asked in turns, and compared
within each turn; the median is printed.
"""

from __future__ import annotations

import http.client
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import httpx
import numpy as np
import psutil
from limited import Limited
from serving_peers import litserve, loop_throughput, stock_torchserve

from lesion_core.processes import ONE_THREAD, ChildProcess, free_port
from lesion_core.workspace import Endpoint, Workspace
from support.load import ask_at_rate

WORKERS = 2
CLIENTS = 8
ROUNDS = 5
SECONDS = 8.0
OVERLOAD_S = 10.0
TURNS = 150
START_S = 180.0
OURS, STOCK, LOOP = "gateway, TorchServe, record", "stock handler", "loop"


class Client:
    """Asks one question again and again over one connection, its bytes ready: its work takes the server time."""

    def __init__(self, question: httpx.Request) -> None:
        self._path = question.url.raw_path.decode()
        self._body = question.read()
        self._headers = dict(question.headers)
        self._connection = http.client.HTTPConnection(question.url.host, question.url.port, timeout=120)

    def ask(self) -> int:
        """The answer's status, once all of it is here."""
        status, _ = self.ask_for_body()
        return status

    def ask_for_body(self) -> tuple[int, bytes]:
        """The whole answer."""
        self._connection.request("POST", self._path, body=self._body, headers=self._headers)
        answer = self._connection.getresponse()
        return answer.status, answer.read()


def main() -> int:
    """Print all of it; how many limits do not hold."""
    # For all that is started: a worker of "one thread" whose matrices took two would be slower for it.
    os.environ |= ONE_THREAD
    bundle, image = Path(sys.argv[1]), Path(sys.argv[2]).read_bytes()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as started:
        gateway, torchserve, cold_start_s = started.enter_context(own_server(Path(folder), bundle, image))
        through, direct = asking(gateway, image), asking(torchserve, image)
        figures = [
            Limited("gateway and record add, median of one client", added(through, direct), 5, "ms"),
            Limited("start of the program to the first answer", cold_start_s, 15, "s"),
            *overload(gateway, image, rate(through)),
            Limited("a worker is killed, until all are ready", worker_restart(gateway), 5, "s"),
        ]
        url, headers = started.enter_context(stock_torchserve(bundle, Path(folder), workers=WORKERS))
        lit_url = started.enter_context(litserve(bundle, Path(folder), workers=WORKERS))
        ways = {
            OURS: partial(rate, through),
            "our archive in TorchServe": partial(rate, direct),
            STOCK: partial(rate, httpx.Request("POST", url, content=image, headers=headers)),
            "LitServe": partial(rate, httpx.Request("POST", lit_url, files={"request": image})),
            LOOP: partial(loop_throughput, bundle, image, processes=WORKERS, seconds=SECONDS),
        }
        rounds = [{name: measure() for name, measure in ways.items()} for _ in range(ROUNDS)]
    return report(rounds, figures)


def report(rounds: list[dict[str, float]], figures: list[Limited]) -> int:
    """Print the medians over the rounds, of answers a second and of their ratios within a round."""

    def ratio(name: str, other: str) -> float:
        return float(np.median([one[name] / one[other] for one in rounds]))

    print(f"\nanswers a second, {CLIENTS} clients, {WORKERS} workers    to the loop   to the stock handler")
    for name in rounds[0]:
        value = np.median([one[name] for one in rounds])
        print(f"  {name:32} {value:7.1f}   {ratio(name, LOOP):10.2f}   {ratio(name, STOCK):10.2f}")
    to_loop = "  ".join(f"{one[OURS] / one[LOOP]:.3f}" for one in rounds)
    print(f"  ours to the loop, by round: {to_loop}")
    figures = [
        Limited("answers a second, to those of the loop", ratio(OURS, LOOP), 0.85, at_least=True),
        Limited("answers a second, to those of the stock handler", ratio(OURS, STOCK), 2.0, at_least=True),
        *figures,
    ]
    print("\n" + "\n".join(str(one) for one in figures))
    return sum(not one.holds for one in figures)


@contextmanager
def own_server(folder: Path, bundle: Path, image: bytes) -> Iterator[tuple[Endpoint, Endpoint, float]]:
    """Our own server, all of its workers ready: its gateway, its TorchServe, and seconds to the first answer."""
    home = folder / "home"
    home.mkdir()
    workspace = Workspace(home)
    began = time.monotonic()
    server = start_server(home, bundle, port=free_port())
    try:
        server.wait_until(workspace.endpoint.is_file, timeout_s=START_S)
        gateway, torchserve = Endpoint.load(workspace.endpoint), Endpoint.load(workspace.torchserve_endpoint)
        assert Client(asking(gateway, image)).ask() == 200
        cold_start_s = time.monotonic() - began
        server.wait_until(lambda: all_are_ready(gateway), timeout_s=START_S)
        yield gateway, torchserve, cold_start_s
    finally:
        server.stop()


def start_server(home: Path, source: Path, *, port: int) -> ChildProcess:
    """The program that serves a bundle or an archive, with a workspace of its own; it need not answer yet."""
    command = [sys.executable, "-m", "lesion_serve", "start", str(source), "--workers", str(WORKERS)]
    command += ["--port", str(port), "--torchserve-port", str(free_port())]
    return ChildProcess.start("server", command, log_path=home / "server.log", environment={"LESION_HOME": str(home)})


def asking(endpoint: Endpoint, image: bytes) -> httpx.Request:
    """One question to an address of ours."""
    headers = {"Authorization": f"Bearer {endpoint.token}", "Content-Type": "image/jpeg"}
    return httpx.Request("POST", endpoint.url, content=image, headers=headers)


def rate(question: httpx.Request) -> float:
    """Answers a second of clients who ask without a pause; what comes when the time is over does not count."""
    statuses, in_time, end = set[int](), list[float](), time.monotonic() + SECONDS

    def run() -> None:
        client = Client(question)
        while time.monotonic() < end:
            statuses.add(client.ask())
            if (now := time.monotonic()) <= end:
                in_time.append(now)

    threads = [threading.Thread(target=run) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == {200}, statuses
    return len(in_time) / SECONDS


def added(through: httpx.Request, direct: httpx.Request) -> float:
    """What the gateway adds in the median, in ms; in turns, so that both meet the same machine."""
    took = np.empty((TURNS, 2))
    clients = Client(through), Client(direct)
    for turn in range(TURNS):
        for way, client in enumerate(clients):
            began = time.perf_counter()
            assert client.ask() == 200
            took[turn, way] = 1000 * (time.perf_counter() - began)
    for name, share in (("median", 50), ("99th percentile", 99)):
        whole, alone = np.percentile(took, share, axis=0)
        print(f"one client, {name}: {whole:.1f} ms, TorchServe alone {alone:.1f} ms: {whole - alone:+.1f} ms")
    whole, alone = np.median(took, axis=0)
    return float(whole - alone)


def overload(endpoint: Endpoint, image: bytes, answers_a_second: float) -> list[Limited]:
    """Requests come at five times the rate that can be answered, whether or not those before have been."""
    timed = ask_at_rate(endpoint.url, image, [endpoint.token], a_second=5 * answers_a_second, seconds=OVERLOAD_S)
    accepted = [one.seconds for one in timed if one.answer.status_code == 200]
    refused = [1000 * one.seconds for one in timed if one.is_refused]
    others = {one.answer.status_code for one in timed if not one.is_refused} - {200}
    print(
        f"{5 * answers_a_second:.0f} requests a second: {len(accepted)} answered, median {np.median(accepted):.2f} s; "
        f"{len(refused)} refused, median {np.median(refused):.0f} ms; other statuses: {others or 'none'}"
    )
    return [
        Limited("overload: other statuses than 200, 429 and 503", len(others), 0),
        Limited("overload: answers, 99th percentile", float(np.percentile(accepted, 99)), 2, "s"),
        Limited("overload: refusals, 99th percentile", float(np.percentile(refused, 99)), 100, "ms"),
    ]


def worker_restart(gateway: Endpoint) -> float:
    """Kill one worker; seconds until another process stands in its place and all are ready."""
    workers = family_with("model_service_worker")
    workers[0].kill()
    began = time.monotonic()
    while not (set(family_with("model_service_worker")) - set(workers) and all_are_ready(gateway)):
        time.sleep(0.05)
    return time.monotonic() - began


def all_are_ready(gateway: Endpoint) -> bool:
    """Whether every worker can answer, as the gateway says."""
    headers = {"Authorization": f"Bearer {gateway.token}"}
    answer = httpx.get(gateway.url.replace("/predictions", "/models"), headers=headers, trust_env=False)
    return bool(answer.json()["models"][0]["ready_workers"] == WORKERS)


def family_with(word: str) -> list[psutil.Process]:
    """The processes with a word in their command, of all that this one has started."""
    family = psutil.Process().children(recursive=True)
    return [one for one in family if any(word in part for part in _command_line(one))]


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


if __name__ == "__main__":
    sys.exit(main() > 0)
