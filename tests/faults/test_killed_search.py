"""A search for settings whose program is killed in the midst of a trial."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from lesion_core.processes import child_environment
from lesion_core.workspace import Workspace
from lesion_train.config import TrainConfig
from lesion_train.record import RunRecord
from support import killed_search


def test_a_search_that_is_killed_goes_on_with_its_trial_at_once(tmp_path: Path) -> None:
    """With SIGKILL, in the last trial that is wanted: the same settings, from its checkpoint, and then it is over."""
    killed = subprocess.run(
        [sys.executable, "-m", killed_search.__name__, str(tmp_path)],
        env={**child_environment(), "OMP_NUM_THREADS": "1"},
        check=False,
    )
    runs = {path.parent.name: RunRecord(path.parent) for path in (tmp_path / "runs").glob("*/run.json")}
    (parent,) = [record for name, record in runs.items() if name.endswith("tune-killed")]
    (begun,) = parent.children()
    assert killed.returncode == -signal.SIGKILL
    assert parent.end is None
    tried: list[tuple[float, RunRecord | None]] = []

    def run(config: TrainConfig, workspace: Workspace, *, resume: RunRecord | None, **_: Any) -> Any:
        tried.append((config.balance, resume))
        return killed_search.trained(begun)

    study = killed_search.search(tmp_path, run)

    assert tried == [(begun.description["settings"]["balance"], begun)]
    assert study.trials == 1
    assert study.best_run == begun.folder.name
    assert parent.end is not None
    assert parent.end[0] == "FINISHED"
    assert list(parent.searchers.iterdir()) == []
