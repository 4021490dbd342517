"""Does the whole server last? It is asked for an hour and more, and nothing else is done to it.

    ./pants run benchmarks/serving_soak.py -- BUNDLE IMAGE [MINUTES [SECONDS]]

One client asks every SECONDS (2 by default) for MINUTES (70 by default: TorchServe's own tokens would end after 60).
Prints every ten minutes the statuses of all answers so far and the memory of the gateway, of Java and of the workers;
the exit code is 1 where an answer was no 200, or where the log of predictions is not whole in the end.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil
from serving import START_S, Client, all_are_ready, asking, family_with, start_server

from lesion_core.processes import child_environment, free_port
from lesion_core.workspace import Endpoint, Workspace

REPORT_S = 600.0


def main() -> int:
    """Print it; how many things went wrong."""
    bundle, image = Path(sys.argv[1]), Path(sys.argv[2]).read_bytes()
    minutes = float(sys.argv[3]) if len(sys.argv) > 3 else 70.0
    pause_s = float(sys.argv[4]) if len(sys.argv) > 4 else 2.0
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        workspace = Workspace(home)
        server = start_server(home, bundle, port=free_port())
        try:
            server.wait_until(workspace.endpoint.is_file, timeout_s=START_S)
            gateway = Endpoint.load(workspace.endpoint)
            server.wait_until(lambda: all_are_ready(gateway), timeout_s=START_S)
            statuses = soak(Client(asking(gateway, image)), minutes, pause_s)
        finally:
            server.stop()
        command = [sys.executable, "-m", "lesion_serve", "audit", "verify"]
        audit = subprocess.run(command, env=child_environment({"LESION_HOME": str(home)}), check=False)
    return sum(statuses.values()) - statuses[200] + (audit.returncode != 0)


def soak(client: Client, minutes: float, pause_s: float) -> Counter[int]:
    """Ask, and report on the way; the answers by status."""
    statuses, began = Counter[int](), time.monotonic()
    next_report_s = 0.0
    while (passed_s := time.monotonic() - began) < 60 * minutes:
        statuses[client.ask()] += 1
        if passed_s >= next_report_s:
            report(passed_s, statuses)
            next_report_s += REPORT_S
        time.sleep(pause_s)
    report(time.monotonic() - began, statuses)
    return statuses


def report(passed_s: float, statuses: Counter[int]) -> None:
    """One line."""
    told = ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items()))
    memory = "   ".join(
        f"{name} {megabytes(family_with(word)):.0f} MB"
        for name, word in (
            ("gateway", "lesion_serve"),
            ("Java", "org.pytorch.serve.ModelServer"),
            ("workers", "model_service_worker"),
        )
    )
    print(f"{passed_s / 60:5.1f} min   {told}   {memory}", flush=True)


def megabytes(processes: list[psutil.Process]) -> float:
    """Memory of these processes that they share with no other."""
    return sum(one.memory_full_info().uss for one in processes) / 1e6


if __name__ == "__main__":
    sys.exit(main() > 0)
