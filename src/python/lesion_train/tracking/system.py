"""Load and memory of the machine while a run trains, under the names that MLflow's page has a tab for.

MLflow's own monitor sends each sample to the server itself and loses it where that is down; ours goes to the record.
"""

from __future__ import annotations

import sys
import threading
from types import TracebackType

import psutil

from lesion_train.record import RunRecord

INTERVAL_S = 15.0
_MEGABYTE = 1e6


class SystemSampler:
    """Samples in a thread, while ``with SystemSampler(record):`` lasts. A sample takes about a millisecond."""

    def __init__(self, record: RunRecord, *, interval_s: float = INTERVAL_S) -> None:
        self._record = record
        self._interval_s = interval_s
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="system-sampler", daemon=True)

    def __enter__(self) -> SystemSampler:
        psutil.cpu_percent()  # starts the first interval, and says nothing yet
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        sample = len(self._record.system)  # of before an interruption
        while not self._end.wait(self._interval_s):
            sample += 1
            self._record.add_system(sample, system_sample())


def system_sample() -> dict[str, float]:
    """Percentages in [0, 100], of the time since the last sample, and megabytes."""
    memory = psutil.virtual_memory()
    sample = {
        "cpu_utilization_percentage": psutil.cpu_percent(),
        "system_memory_usage_percentage": memory.percent,
        "system_memory_usage_megabytes": memory.used / _MEGABYTE,
        "process_memory_usage_megabytes": psutil.Process().memory_info().rss / _MEGABYTE,
    }
    torch = sys.modules.get("torch")  # who has not imported it uses no GPU
    if torch is not None and torch.cuda.is_initialized():
        for index in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(index)
            sample[f"gpu_{index}_memory_usage_megabytes"] = (total - free) / _MEGABYTE
            sample[f"gpu_{index}_memory_usage_percentage"] = 100 * (total - free) / total
    return sample
