"""The gateway as a program of its own: with predictors in its threads it starts in seconds."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import attrs
import httpx
import psutil

from lesion_core.processes import child_environment
from lesion_core.workspace import Endpoint, Workspace

COMMAND = (sys.executable, "-m", "lesion_serve")
START_S = 240.0


@attrs.frozen(eq=False)
class GatewayProgram:
    """A program that runs, and its folder."""

    process: subprocess.Popen[bytes]
    home: Path

    @property
    def endpoint(self) -> Endpoint:
        """With the token for this user's programs."""
        return Endpoint.load(Workspace(self.home).endpoint)

    @property
    def headers(self) -> dict[str, str]:
        """For an image of this user's programs."""
        return {"Authorization": f"Bearer {self.endpoint.token}", "Content-Type": "image/jpeg"}

    def family(self, word: str) -> list[psutil.Process]:
        """The processes below it that have a word in their command."""
        return [one for one in psutil.Process(self.process.pid).children(recursive=True) if word in _command(one)]

    @property
    def workers(self) -> list[psutil.Process]:
        """The processes in which TorchServe runs the model."""
        return self.family("model_service_worker")

    @property
    def ready_workers(self) -> int:
        """Workers that can answer, as the gateway says."""
        url = self.endpoint.url.replace("/predictions", "/models")
        answer = httpx.get(url, headers=self.headers, trust_env=False, timeout=60)
        return int(answer.json()["models"][0]["ready_workers"])


def run_command(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``lesion-serve`` with these arguments, in a workspace."""
    environment = child_environment({"LESION_HOME": str(home)})
    return subprocess.run([*COMMAND, *arguments], env=environment, capture_output=True, text=True, check=False)


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # it has just ended
        return ""


@contextmanager
def running_gateway(
    home: Path,
    source: Path,
    port: int,
    *options: str,
    engine: str = "in-process",
    through: Sequence[str] = (),
) -> Iterator[GatewayProgram]:
    """Start it, wait until it answers, end it; a test may have killed it before.

    Args:
        home: its workspace.
        source: a bundle's folder or an archive.
        port: to listen on.
        options: of ``lesion-serve start``.
        engine: ``in-process`` or ``torchserve``.
        through: a command that becomes the program, such as ``unshare --mount``.
    """
    Workspace(home).endpoint.unlink(missing_ok=True)
    command = [*through, *COMMAND, "start", str(source), "--engine", engine, "--port", str(port), *options]
    with (home / "gateway.log").open("ab") as log:
        process = subprocess.Popen(
            command, env=child_environment({"LESION_HOME": str(home)}), stdout=log, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + START_S
        while not Workspace(home).endpoint.exists():
            assert process.poll() is None, (home / "gateway.log").read_text()[-2000:]
            assert time.monotonic() < deadline, "the gateway did not start"
            time.sleep(0.05)
        yield GatewayProgram(process, home)
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(60)
