"""Kept images and features are forgotten by a running gateway, every day, without anybody who has to remember it."""

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
    """A thread that erases what is older than so many days: at the start, and then every day, until ``stop``."""

    def __init__(
        self,
        store: PredictionStore,
        *,
        images_days: float | None = None,
        features_days: float | None = None,
        every_s: float = EVERY_S,
    ) -> None:
        """Begin at once.

        Args:
            store: of which something is erased.
            images_days: after which an image and its features go; ``None`` keeps images.
            features_days: after which features go, also those of shadows and of images that were not kept; ``None``
                keeps them where there is no image to go with.
            every_s: between the end of one run and the next.
        """
        self._store = store
        self._images_days = images_days
        self._features_days = features_days
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
                is_done = self._erase()
            except (LesionError, OSError) as error:
                log.error(
                    "retention_failed",
                    images_days=self._images_days,
                    features_days=self._features_days,
                    reason=str(error),
                )
                is_done = False
            pause_s = self._every_s if is_done else min(AFTER_A_FAILURE_S, self._every_s)

    def _erase(self) -> bool:
        """Erase; whether what is erased can be read nowhere any more, else the store has logged where."""
        is_scrubbed = True
        if self._images_days is not None:
            done = self._store.erase_old_images(older_than_days=self._images_days, principal=PRINCIPAL)
            log.info("old_images_erased", days=self._images_days, images=done.images, orphans=done.orphans)
            is_scrubbed = done.not_scrubbed is None
        if self._features_days is not None:
            done = self._store.erase_old_features(older_than_days=self._features_days)
            log.info("old_features_erased", days=self._features_days, features=done.events)
            is_scrubbed = is_scrubbed and done.not_scrubbed is None
        return is_scrubbed
