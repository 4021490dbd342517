"""Training that is killed, again and again."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from lesion_core.processes import child_environment
from support import killed_fit, killed_run

KILLS = 10


def report_of(module: str, *arguments: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env={**child_environment(), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_loop_killed_at_any_moment_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    """Ten SIGKILLs: in a step, while a checkpoint is written, after validation; equal to the last bit."""
    report = report_of(killed_run.__name__, str(tmp_path), str(KILLS), "7")

    whole, killed = report["whole"], report["killed"]
    assert [run["ended_by"] for run in killed] == [signal.SIGKILL] * KILLS
    assert not any(run["was_over"] for run in killed)
    assert [run["sha256"] for run in killed] == [whole["sha256"]] * KILLS
    # Each went on from its last checkpoint, which was made before it was killed, to the same last step.
    assert [run["first"] for run in killed] == [run["checkpoint"] + 1 for run in killed]
    assert all(run["checkpoint"] < whole["last"] for run in killed)
    assert {run["last"] for run in killed} == {whole["last"]}
    assert len({run["at"] for run in killed}) == KILLS
    assert len({run["checkpoint"] for run in killed}) >= KILLS // 2, "too few different checkpoints to show anything"


def test_a_whole_run_that_is_killed_goes_on_to_the_same_bundle(tmp_path: Path) -> None:
    """``fit`` itself, with SIGKILL: same weights and scores, each epoch and step once in its record."""
    report = report_of(killed_fit.__name__, str(tmp_path))

    whole, killed = report["whole"], report["killed"]
    assert report["ended_by"] == [signal.SIGKILL] * killed_fit.KILLS
    assert killed["weights"] == whole["weights"]
    assert killed["metrics"] == whole["metrics"]
    assert killed["epochs"] == whole["epochs"] == list(range(1, killed_fit.EPOCHS + 1))
    assert killed["steps"] == whole["steps"]
    assert killed["end"] == "FINISHED"
    assert killed["left"] == [], "checkpoints are left behind"
