"""Mirror a run while it trains, without ever making training wait."""

from __future__ import annotations

import shlex
import threading
import time
from collections.abc import Callable

import structlog

from lesion_train.tracking.client import TrackingError
from lesion_train.tracking.mirror import Mirror
from lesion_train.tracking.registry import RegisteredVersion, register

log = structlog.get_logger()

PAUSE_S = 5.0  # between two times of sending, so that rows go together
LONGEST_PAUSE_S = 300.0  # between two attempts while the server does not answer


def send(mirror: Mirror) -> None:
    """Send all of a run that ended; a failure is logged, since nothing is lost."""
    try:
        mirror.sync()
    except TrackingError as error:
        log.warning("tracking_failed", reason=error.message)


class BackgroundMirror:
    """Sends new rows in a thread that lives as long as there is something to send.

    Where sending fails, the record keeps the rows, the next attempt waits twice as long as the last, and training goes
    on. A server that accepts and never answers holds up the thread only.
    """

    def __init__(self, mirror: Mirror, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._mirror = mirror
        self._clock = clock
        self._guard = threading.Lock()
        self._idle = threading.Event()  # not Thread.join: Ctrl-C may end start() before it knows that the thread runs
        self._idle.set()
        self._not_before = 0.0
        self._failures = 0

    def notify(self) -> None:
        """Say that the record has new rows. Returns at once."""
        with self._guard:
            if not self._idle.is_set() or self._clock() < self._not_before:
                return  # whoever sends next sends all
            self._idle.clear()
            threading.Thread(target=self._send, name="mlflow-mirror", daemon=True).start()

    def _send(self) -> None:
        try:
            self._mirror.sync_rows()
            self._failures = 0
        except TrackingError as error:
            self._failures += 1
            if self._failures == 1:
                log.warning("tracking_failed", reason=error.message)
        finally:
            pause_s = min(LONGEST_PAUSE_S, PAUSE_S * 2**self._failures)
            with self._guard:
                self._not_before = self._clock() + pause_s
                self._idle.set()

    def register(self, name: str, *, timeout_s: float = 30.0) -> RegisteredVersion:
        """Send the rest of the run and register its bundle; see ``registry.register``.

        Args:
            name: of the registered model.
            timeout_s: how long to wait for what is being sent already.
        Raises:
            TrackingError: MLflow does not answer, or refuses.
        """
        self._wait(timeout_s)
        return register(self._mirror, name)

    def finish(self, *, timeout_s: float = 30.0) -> None:
        """Send the rest of the run. Arguments and errors are those of ``register``."""
        self._wait(timeout_s)
        self._mirror.sync()

    def _wait(self, timeout_s: float) -> None:
        if not self._idle.wait(timeout_s):
            raise TrackingError(
                f"MLflow has not answered for {timeout_s:.0f} s. Nothing is lost: send the run later with: "
                f"lesion-train register {shlex.quote(str(self._mirror.record.folder))}"
            )
