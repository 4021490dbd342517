"""One round of watching: a report, the rules, the alerts into the store and then to people.

    OUT/report.json, OUT/report.html   the newest report
    OUT/state.json                     readings that the rules look back on, and alerts that did not arrive yet

Which rule fires is read from the store, where its last alert says so; a lost ``state.json`` costs a few readings, and
what was on its way. Readings of one version say nothing of another, so each has its own.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import attrs

from lesion_core.durable import FOR_OWNER, write_whole
from lesion_core.monitoring import MonitoringReport
from lesion_core.service import to_json
from lesion_serve.monitor.alerts import Alerting, end_removed_rules, judge_rules
from lesion_serve.monitor.page import render_page
from lesion_serve.monitor.report import Baseline, Wanted, alerts_of, make_report
from lesion_serve.monitor.watch_state import Delivery
from lesion_serve.store import AlertRecord, PredictionStore


def watch_once(
    store: PredictionStore,
    wanted: Wanted,
    baseline: Baseline | None,
    alerting: Alerting,
    out: Path,
    *,
    now: datetime | None = None,
) -> MonitoringReport:
    """Deliver what an earlier round did not, make a report, write it, and alarm where the rules say so.

    Raises:
        MonitorError: ``no_predictions``.
        StoreError: an alert could not be written down; it is not sent then, but with the next round.
    """
    now = now or datetime.now(UTC)
    delivery = Delivery(out / "state.json", store, alerting.channels)
    delivery.deliver()
    readings = delivery.state.readings_of({rule.name for rule in alerting.rule})
    if ended := end_removed_rules(alerting.rule, delivery.state.rules, _last_alerts(store), at=now):
        delivery.begin(ended, readings)
    report = make_report(store, wanted, baseline, now=now)
    states = {name: alert.state for name, alert in _last_alerts(store).items()}
    kept, alerts = judge_rules(alerting.rule, report, readings.get(report.model_version, {}), states, at=now)
    delivery.begin(alerts, {**readings, report.model_version: kept})
    report = attrs.evolve(report, alerts=alerts_of(store))
    write_report(report, out)
    return report


def write_report(report: MonitoringReport, out: Path) -> None:
    """Write ``report.json`` and ``report.html``, for our user's eyes only, each whole or not at all."""
    out.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_whole(out / "report.json", to_json(report) + "\n", mode=FOR_OWNER)
    write_whole(out / "report.html", render_page(report), mode=FOR_OWNER)


def _last_alerts(store: PredictionStore) -> dict[str, AlertRecord]:
    return {alert.name: alert for alert in store.alerts()}
