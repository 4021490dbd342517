"""Kept images are forgotten by a running gateway, every day, without anybody who has to remember it."""

from __future__ import annotations

import threading

import structlog

from lesion_core.errors import LesionError
from lesion_serve.store import PredictionStore, Principal

EVERY_S = 24 * 3600.0
AFTER_A_FAILURE_S = 600.0
PRINCIPAL = Principal(key_id="retention", role="gateway")

log = structlog.get_logger()


class Retention:
    """A thread that erases images older than so many days: at the start, and then every day, until ``stop``."""

    def __init__(self, store: PredictionStore, *, days: float, every_s: float = EVERY_S) -> None:
        self._store = store
        self._days = days
        self._every_s = every_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="retention", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it, after the erasure that is going on."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        pause_s = 0.0
        while not self._stopping.wait(pause_s):
            try:
                done = self._store.erase_old_images(older_than_days=self._days, principal=PRINCIPAL)
            except (LesionError, OSError) as error:
                log.error("old_images_not_erased", days=self._days, reason=str(error))
                pause_s = min(AFTER_A_FAILURE_S, self._every_s)
            else:
                log.info("old_images_erased", days=self._days, images=done.images, orphans=done.orphans)
                pause_s = self._every_s
