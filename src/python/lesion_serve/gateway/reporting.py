"""The monitoring report for who asks the gateway: of the last days, made at most once a minute."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from lesion_core.monitoring import MonitoringReport
from lesion_serve.deployment_store import DeploymentStore
from lesion_serve.store import PredictionStore

KEPT_S = 60.0
MOST_PREDICTIONS = 20_000


class Reporting:
    """Makes reports for the app, one at a time: a report reads thousands of predictions.

    However many ask, they hold one thread: the others, in which records are read, stay free.
    """

    def __init__(
        self, store: PredictionStore, deployments: DeploymentStore, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._deployments = deployments
        self._clock = clock
        self._one_at_a_time = asyncio.Lock()
        self._kept: dict[int, tuple[float, MonitoringReport]] = {}

    async def report(self, days: int) -> MonitoringReport:
        """Of the champion, over ``days`` days, the newest ``MOST_PREDICTIONS`` of its predictions.

        Raises:
            MonitorError: ``no_predictions``.
        """
        async with self._one_at_a_time:
            return await asyncio.to_thread(self._make, days)

    def _make(self, days: int) -> MonitoringReport:
        # Here, since scikit-learn takes a second to import and a gateway has to be up soon.
        from lesion_serve.monitor.reference import baseline_of_deployed, champion_of
        from lesion_serve.monitor.report import Wanted, make_report

        now = self._clock()
        self._kept = {days: one for days, one in self._kept.items() if now - one[0] <= KEPT_S}
        if days not in self._kept:
            champion = champion_of(self._deployments)
            wanted = Wanted(since=datetime.now(UTC) - timedelta(days=days), last=MOST_PREDICTIONS, version=champion)
            made = make_report(self._store, wanted, baseline_of_deployed(self._deployments, champion))
            self._kept[days] = (self._clock(), made)
        return self._kept[days][1]
