"""Nothing leaves the machine: the main job works without a network, and does not even try to reach one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lesion_core.processes import child_environment
from lesion_core.wire import Prediction, from_json
from support import offline_run

TELEMETRY = ("_TELEMETRY", "DO_NOT_TRACK", "_USAGE_STATS")
# A namespace of its own has loopback only. Root may make one; others need one of users around it.
ALONE = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--net"]


def run_alone(*arguments: str) -> dict[str, Any]:
    """``support.offline_run`` in a namespace; what it printed."""
    command = [*ALONE, sys.executable, "-m", offline_run.__name__, *arguments]
    # As from a user's shell, where nobody has switched anything off.
    environment = {name: value for name, value in child_environment().items() if not name.endswith(TELEMETRY)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(autouse=True)
def namespaces() -> None:
    """Skips where none can be made."""
    try:
        done = subprocess.run([*ALONE, "true"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("needs unshare (util-linux)")
    if done.returncode:
        pytest.skip(f"needs network namespaces, which this machine does not give: {done.stderr.strip()}")


def test_what_tries_to_leave_would_be_seen() -> None:
    """One packet to an address elsewhere is counted; else the next test would prove nothing."""
    found = run_alone("stray")

    assert found["answered"] != "connected"
    assert found["without_route"] >= 1


def test_what_asks_for_a_name_would_be_seen() -> None:
    """Wherever the machine's name server is: on another address, or on loopback, from where it would ask another."""
    found = run_alone("name")

    assert found["answered"] == "gaierror"
    assert found["without_route"] + found["names_asked"] >= 1


def test_from_training_to_a_prediction_nobody_else_is_asked(tmp_path: Path) -> None:
    """Train, register, archive, serve, predict with loopback only: an answer, and not one packet or question."""
    found = run_alone("job", str(tmp_path))

    assert from_json(found["answered"], Prediction).top.name
    assert (found["without_route"], found["names_asked"]) == (0, 0)
