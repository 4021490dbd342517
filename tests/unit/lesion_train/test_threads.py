"""Threads: as many as there are cores to use, which others may be using too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lesion_core.processes import child_environment
from lesion_train.threads import prepare_threads, usable_cores


@pytest.mark.parametrize(
    ("quota", "processes", "expected"),
    [("max 100000", 1, 16), ("350000 100000", 1, 4), ("350000 100000", 2, 2), ("max 100000", 64, 1), (None, 4, 4)],
)
def test_a_process_takes_its_share_of_the_cores(
    monkeypatch: pytest.MonkeyPatch, quota: str | None, processes: int, expected: int
) -> None:
    """A container's quota counts, and so do the other processes that torchrun starts on the machine."""

    def read_text(path: Path) -> str:
        if quota is None:
            raise FileNotFoundError(path)
        return f"{quota}\n"

    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(16)))
    monkeypatch.setattr(Path, "read_text", read_text)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))

    assert usable_cores() == expected


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Ours, without what the tests are run with."""
    mine = {name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS", "GOMP_SPINCOUNT")}
    monkeypatch.setattr(os, "environ", mine)
    return mine


def test_threads_are_set_and_do_not_spin_for_long(environment: dict[str, str]) -> None:
    """For libraries that are imported later."""
    prepare_threads(3)

    assert (environment["OMP_NUM_THREADS"], environment["GOMP_SPINCOUNT"]) == ("3", "1000")


def test_what_the_environment_says_counts(environment: dict[str, str]) -> None:
    """Who knows the machine decides."""
    environment |= {"OMP_NUM_THREADS": "7", "GOMP_SPINCOUNT": "infinite"}

    prepare_threads(3)

    assert (environment["OMP_NUM_THREADS"], environment["GOMP_SPINCOUNT"]) == ("7", "infinite")


def test_torch_reads_it() -> None:
    """It is told before torch is imported, and in the words of torch's own OpenMP, which says so itself."""
    code = (
        "from lesion_train.threads import prepare_threads\n"
        "prepare_threads(2)\n"
        "import torch\n"
        "print(torch.get_num_threads())"
    )
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "MKL_"))}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=child_environment({"OMP_DISPLAY_ENV": "verbose"}, inherited=inherited),
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout == "2\n"
    assert "GOMP_SPINCOUNT = '1000'" in done.stderr
