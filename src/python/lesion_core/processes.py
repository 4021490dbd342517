"""Start other programs so that none outlives the one that started it, however that one ends.

A started program runs under a small guard (this module as a script) in a session of its own. The guard holds the
read end of a pipe whose write end only the starter has: when the starter dies, even by SIGKILL, the pipe closes and
the guard ends the program with all its descendants. Where the guard itself is killed, Linux asks the program to end.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lesion_core.errors import LesionError, PortTakenError

GRACE_S = 10.0
_PR_SET_PDEATHSIG = 1  # prctl(2)
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
"""For one of several programs that share the cores: a network, or its matrices, would take them all."""


def child_environment(
    extra: Mapping[str, str] | None = None, *, inherited: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Environment in which a child Python imports what this one can; telemetry of third parties is off.

    Args:
        extra: variables to set.
        inherited: what it gets of ours; all of it where that is ``None``.
    """
    ours = os.environ if inherited is None else inherited
    standard = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
    paths = [path for path in sys.path if path and path not in standard and not path.endswith("lib-dynload")]
    return {
        **{key: value for key, value in ours.items() if not key.startswith("PEX_")},
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUNBUFFERED": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "ORT_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "true",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "STREAMLIT_BROWSER_GATHER_USAGE_STATS": "false",
        **(extra or {}),
    }


class ChildProcess:
    """One program that we started. Ends with us, or by ``stop``."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log_path: Path | None) -> None:
        self.name = name
        self.log_path = log_path
        self._process = process

    @classmethod
    def start(
        cls,
        name: str,
        command: Sequence[str],
        *,
        log_path: Path | None = None,
        environment: Mapping[str, str] | None = None,
        inherited: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> ChildProcess:
        """Start ``command`` under a guard; its output goes to ``log_path``, or to ours where that is ``None``.

        For ``environment`` and ``inherited`` see ``child_environment``.
        """
        guard = [sys.executable, "-m", "lesion_core.processes", *command]
        with contextlib.ExitStack() as stack:
            output = stack.enter_context(log_path.open("ab")) if log_path else None
            process = subprocess.Popen(
                guard,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT if output else None,
                env=child_environment(environment, inherited=inherited),
                cwd=cwd,
                start_new_session=True,
            )
        return cls(name, process, log_path)

    @property
    def exit_code(self) -> int | None:
        """``None`` while it runs."""
        return self._process.poll()

    def wait(self) -> int:
        """Wait until it ends by itself; returns its exit code."""
        return self._process.wait()

    def stop(self) -> None:
        """Ask it to end, with all its descendants; insist after ``GRACE_S`` seconds. Safe to call twice."""
        if self._process.stdin:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        self._process.wait()

    def log_tail(self, lines: int = 15) -> str:
        """The last lines of its log, for an error message."""
        if self.log_path is None or not self.log_path.is_file():
            return ""
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])

    def wait_until(self, is_ready: Callable[[], bool], *, timeout_s: float, poll_s: float = 0.2) -> None:
        """Wait for ``is_ready()``; an ``OSError`` from it counts as *not yet*.

        Raises:
            LesionError: ``did_not_start``: it ended, or was not ready in time; quotes the end of its log.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self.exit_code is not None:
                reason = f"ended with exit code {self.exit_code}"
                break
            with contextlib.suppress(OSError):
                if is_ready():
                    return
            time.sleep(poll_s)
        else:
            reason = f"was not ready within {timeout_s:.0f} s"
        log = f" The end of {self.log_path}:\n{self.log_tail()}" if self.log_path else ""
        raise LesionError(f"{self.name} {reason}.{log}", code="did_not_start")


def require_free_port(port: int, purpose: str, option: str) -> None:
    """Check that nothing listens on a loopback port.

    Raises:
        PortTakenError: names the port, what wanted it and the option that changes it.
        LesionError: ``bad_port``: there is no such port, or only root may listen on it.
    """
    if not 1 <= port <= 65535:
        raise LesionError(f"{option} {port} is no port: give a number from 1 to 65535.", code="bad_port")
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except PermissionError as error:
            raise LesionError(f"{option} {port} is for root: give a port above 1023.", code="bad_port") from error
        except OSError as error:
            raise PortTakenError(port, purpose, option) from error


def free_port() -> int:
    """A loopback port that was free a moment ago; for tests and engines' internal ports."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _group_alive(group: int, program: subprocess.Popen[bytes]) -> bool:
    program.poll()  # reaps it: a zombie would keep the group alive
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _end_group(group: int, program: subprocess.Popen[bytes]) -> None:
    for number, patience_s in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, GRACE_S)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, number)
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            if not _group_alive(group, program):
                return
            time.sleep(0.05)


def _end_with_parent() -> None:
    """In the program, before it begins: it gets SIGTERM when the guard is gone, for whatever reason."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _guard(command: Sequence[str]) -> int:
    """Run ``command`` until it ends, or until our standard input closes or SIGTERM arrives; then end its group."""
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    program = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=_end_with_parent)
    while program.poll() is None:
        ready, _, _ = select.select([sys.stdin.fileno(), wake_read], [], [])
        if sys.stdin.fileno() in ready:
            break
        if set(os.read(wake_read, 64)) & {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}:
            break
    _end_group(program.pid, program)
    return program.wait()


if __name__ == "__main__":
    code = _guard(sys.argv[1:])
    sys.exit(code if code >= 0 else 128 - code)
