"""Training that is killed, again and again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from lesion_core.processes import child_environment
from support import killed_run

KILLS = 10


def test_a_run_killed_at_any_moment_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    """Ten SIGKILLs: in a step, while a checkpoint is written, in validation; equal to the last bit."""
    done = subprocess.run(
        [sys.executable, "-m", killed_run.__name__, str(tmp_path), str(KILLS), "7"],
        env={**child_environment(), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert [run["sha256"] for run in report["killed"]] == [report["whole"]] * KILLS
    steps = [run["steps"] for run in report["killed"] if not run["was_over"]]
    assert len(set(steps)) >= KILLS // 3, "the kills came too close together to show anything"
