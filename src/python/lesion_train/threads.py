"""How many threads a program calculates with, and how they wait for each other."""

from __future__ import annotations

import math
import os
from pathlib import Path

SPINS = "1000"


def usable_cores() -> int:
    """Cores that this process of a run may use: of those that it is let run on, or has a quota of, its share.

    A container's quota is in ``cpu.max`` of its control group (version 2); ``torchrun`` says how many processes share.
    """
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        cores = min(cores, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):  # no such file, or "max": no quota
        pass
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))


ALL_CORES = usable_cores()


def prepare_threads(threads: int) -> None:
    """Set what libraries read when they are imported: call it before. What the environment says already counts.

    Threads of GNU's OpenMP, torch's, spin while they wait, for milliseconds: on cores that another program uses as
    well, that is time which the thread that is waited for does not get. ``benchmarks/shared_cores.py`` measures what a
    short spin costs and gains.
    """
    for name, value in {"OMP_NUM_THREADS": str(threads), "GOMP_SPINCOUNT": SPINS}.items():
        os.environ.setdefault(name, value)
