"""The app as a program, started by its own door."""

from __future__ import annotations

import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lesion_core.processes import ChildProcess, free_port


@contextmanager
def running_app(folder: Path, environment: Mapping[str, str], *options: str) -> Iterator[str]:
    """Start it, wait until it answers, end it; gives its address.

    Args:
        folder: for its log.
        environment: variables that lead it to a service.
        options: of ``lesion-ui``.
    """
    port = free_port()
    app = ChildProcess.start(
        "app",
        [sys.executable, "-m", "lesion_ui", "--port", str(port), *options],
        log_path=folder / "app.log",
        environment=environment,
    )
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        health = f"http://127.0.0.1:{port}/_stcore/health"
        app.wait_until(lambda: direct.open(health, timeout=5).status == 200, timeout_s=120)
        yield f"http://127.0.0.1:{port}"
    finally:
        app.stop()
