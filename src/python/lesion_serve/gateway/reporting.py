"""The monitoring report for who asks the gateway: of the last days, made at most once a minute."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from lesion_core.monitoring import MonitoringReport
from lesion_serve.deployment_store import DeploymentStore
from lesion_serve.store import PredictionStore

KEPT_S = 60.0
MOST_PREDICTIONS = 20_000


class Reporting:
    """Makes reports for the app. One at a time: a report reads thousands of predictions, and others wait for it."""

    def __init__(
        self, store: PredictionStore, deployments: DeploymentStore, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._deployments = deployments
        self._clock = clock
        self._alone = threading.Lock()
        self._kept: dict[int, tuple[float, MonitoringReport]] = {}

    def report(self, days: int) -> MonitoringReport:
        """Of the version that answered last, over ``days`` days, the newest ``MOST_PREDICTIONS`` of them.

        Raises:
            MonitorError: ``no_predictions``.
        """
        # Here, since scikit-learn takes a second to import and a gateway has to be up soon.
        from lesion_serve.monitor.reference import baseline_of_deployed
        from lesion_serve.monitor.report import Wanted, make_report

        with self._alone:
            made_at, kept = self._kept.get(days, (0.0, None))
            if kept is None or self._clock() - made_at > KEPT_S:
                since = datetime.now(UTC) - timedelta(days=days)
                wanted = Wanted(since=since, last=MOST_PREDICTIONS)
                kept = make_report(self._store, wanted, baseline_of_deployed(self._deployments, None))
                self._kept[days] = (self._clock(), kept)
            return kept
