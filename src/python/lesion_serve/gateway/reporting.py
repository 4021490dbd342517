"""The monitoring report for who asks the gateway: of the last days, made at most once a minute."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from lesion_core.monitoring import MonitoringReport
from lesion_serve.deployment_store import DeploymentStore
from lesion_serve.store import PredictionStore

KEPT_S = 60.0
MOST_PREDICTIONS = 20_000


class Reporting:
    """Makes reports for the app, in one thread of its own: a report reads thousands of predictions.

    However many ask, one is made at a time, and the threads in which records are written and read stay free.
    """

    def __init__(
        self, store: PredictionStore, deployments: DeploymentStore, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._deployments = deployments
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="reporting")
        self._kept: dict[int, tuple[float, MonitoringReport]] = {}

    async def report(self, days: int) -> MonitoringReport:
        """Of the champion, over ``days`` days, the newest ``MOST_PREDICTIONS`` of its predictions.

        Raises:
            MonitorError: ``no_predictions``.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._make, days)

    def close(self) -> None:
        """Make no more; one that is being made is finished."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _make(self, days: int) -> MonitoringReport:
        # Here, since scikit-learn takes a second to import and a gateway has to be up soon.
        from lesion_serve.monitor.reference import baseline_of_deployed
        from lesion_serve.monitor.report import Wanted, make_report

        now = self._clock()
        self._kept = {days: one for days, one in self._kept.items() if now - one[0] <= KEPT_S}
        if days not in self._kept:
            deployment = self._deployments.read()
            champion = deployment.champion.version if deployment else None
            wanted = Wanted(since=datetime.now(UTC) - timedelta(days=days), last=MOST_PREDICTIONS, version=champion)
            made = make_report(self._store, wanted, baseline_of_deployed(self._deployments, champion))
            self._kept[days] = (self._clock(), made)
        return self._kept[days][1]
