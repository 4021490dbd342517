"""Programs that we start end with us."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lesion_core.errors import LesionError, PortTakenError
from lesion_core.processes import ChildProcess, child_environment, free_port, require_free_port

# Writes its own process id and that of a child of its own, then sleeps.
FAMILY = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open(sys.argv[1], "w").write(f"{os.getpid()} {child.pid}\\n")
time.sleep(600)
"""


def read_pids(path: Path) -> list[int]:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if path.exists() and path.read_text().endswith("\n"):
            return [int(word) for word in path.read_text().split()]
        time.sleep(0.05)
    raise AssertionError(f"{path} was not written")


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def wait_until_gone(pids: list[int]) -> list[int]:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and any(is_running(pid) for pid in pids):
        time.sleep(0.05)
    return [pid for pid in pids if is_running(pid)]


def test_stop_ends_a_program_and_its_children(tmp_path: Path) -> None:
    """Grandchildren too."""
    child = ChildProcess.start("family", [sys.executable, "-c", FAMILY, str(tmp_path / "pids")])
    pids = read_pids(tmp_path / "pids")

    child.stop()

    assert wait_until_gone(pids) == []


def test_a_killed_starter_leaves_no_process(tmp_path: Path) -> None:
    """SIGKILL gives the starter no chance to clean up."""
    starter_code = (
        "import sys, time\nfrom lesion_core.processes import ChildProcess\n"
        f"child = ChildProcess.start('family', [sys.executable, '-c', {FAMILY!r}, sys.argv[1]])\ntime.sleep(600)"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", starter_code, str(tmp_path / "pids")], env=child_environment(), start_new_session=True
    )
    pids = read_pids(tmp_path / "pids")

    os.killpg(starter.pid, signal.SIGKILL)
    starter.wait()

    assert wait_until_gone(pids) == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a program that its parent died")
def test_a_killed_guard_leaves_no_program(tmp_path: Path) -> None:
    """The program is asked to end; TorchServe's Java then ends its workers."""
    child = ChildProcess.start("family", [sys.executable, "-c", FAMILY, str(tmp_path / "pids")])
    program, grandchild = read_pids(tmp_path / "pids")
    try:
        os.kill(child._process.pid, signal.SIGKILL)

        assert wait_until_gone([program]) == []
        assert child.wait() == -signal.SIGKILL
    finally:
        os.kill(grandchild, signal.SIGKILL)


def test_the_exit_code_of_a_program_is_passed_on() -> None:
    """The guard is transparent."""

    assert ChildProcess.start("seven", [sys.executable, "-c", "raise SystemExit(7)"]).wait() == 7


def test_a_program_that_ends_early_is_named_with_its_log(tmp_path: Path) -> None:
    """The reason is in the error, not only in a file."""
    child = ChildProcess.start(
        "The server", [sys.executable, "-c", "print('no licence'); raise SystemExit(3)"], log_path=tmp_path / "log"
    )

    with pytest.raises(LesionError, match=r"(?s)The server ended with exit code 3.*no licence") as caught:
        child.wait_until(lambda: False, timeout_s=60)

    assert caught.value.code == "did_not_start"


def test_a_taken_port_is_named_with_the_option_that_changes_it() -> None:
    """A free one is not."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(PortTakenError, match=rf"Port {port} \(app\).*--ui-port"):
            require_free_port(port, "app", "--ui-port")

    require_free_port(free_port(), "app", "--ui-port")


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_a_number_that_is_no_port_is_refused(port: int) -> None:
    """By name, before anything listens."""
    with pytest.raises(LesionError, match=f"--ui-port {port} is no port") as caught:
        require_free_port(port, "app", "--ui-port")

    assert caught.value.code == "bad_port"


def test_a_child_python_imports_what_its_parent_can() -> None:
    """Also where the parent's path was set by hand."""
    code = "import lesion_core.wire, attrs; print(lesion_core.wire.__file__)"

    shown = subprocess.run([sys.executable, "-c", code], env=child_environment(), capture_output=True, check=True)

    import lesion_core.wire

    assert shown.stdout.decode().strip() == lesion_core.wire.__file__
