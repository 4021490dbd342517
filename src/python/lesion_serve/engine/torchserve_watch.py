"""When a version's workers need help: TorchServe starts a dead worker again, but not for ever."""

from __future__ import annotations

from collections.abc import Sequence

from lesion_serve.archive import ArchiveInfo
from lesion_serve.engine.torchserve_management import WorkerStatus

LONGEST_PAUSE_S = 600.0


class VersionWatch:
    """What is known of one version's workers. One thread updates it; others read ``ready`` and ``finding``."""

    def __init__(self, archive: ArchiveInfo, *, wanted: int, stuck_after_s: float) -> None:
        self.archive = archive
        self.ready = wanted
        self.finding: str | None = None
        self.tries = 0
        self.replaced = 0  # workers that are processes for the dead, since the look before
        self.log_size = 0
        self._wanted = wanted
        self._stuck_after_s = stuck_after_s
        self._dead_since: float | None = None
        self._pids: set[int] = set()  # of all processes since TorchServe's start

    def update(self, workers: Sequence[WorkerStatus], *, now: float) -> int | None:
        """Take note of the workers; returns to how many they should be scaled now, or ``None``.

        A worker that has no process may be about to be started again by TorchServe. It counts as given up after
        ``stuck_after_s``, then after twice as long each time, up to ten minutes. A worker that has a process is
        loading, which takes as long as it takes; TorchServe learns of a process only some seconds after its start.

        Args:
            workers: as TorchServe describes them, those that it has given up included.
            now: monotonic seconds.
        """
        self.ready = sum(worker.is_ready for worker in workers)
        self.replaced = self._note({worker.pid for worker in workers if worker.pid is not None})
        if self.ready >= self._wanted:
            self.finding, self.tries, self._dead_since = None, 0, None
            return None
        living = sum(worker.is_ready or not worker.is_dead for worker in workers)
        if living >= self._wanted:
            return None
        if self._dead_since is None:
            self._dead_since = now
        if now - self._dead_since < min(self._stuck_after_s * 2**self.tries, LONGEST_PAUSE_S):
            return None
        self.tries += 1
        self._dead_since = now
        # Beside living workers the dead stay listed, and count.
        return self._wanted if living == 0 else len(workers) + self._wanted - living

    def reset(self) -> None:
        """All workers are being started anew."""
        self.ready, self.finding, self.tries, self._dead_since = 0, None, 0, None
        self._pids = set()

    def _note(self, pids: set[int]) -> int:
        """How many processes there are for the first time, beyond the first of each worker."""
        before = max(self._wanted, len(self._pids))
        self._pids |= pids
        return max(0, len(self._pids) - before)
