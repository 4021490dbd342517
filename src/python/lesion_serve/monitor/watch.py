"""One round of watching: a report, the rules, the alerts into the store and then to people.

    OUT/report.json, OUT/report.html   the newest report
    OUT/state.json                     readings that the rules look back on, and alerts that did not arrive yet

Which rule fires is read from the store, where its last alert says so; a lost ``state.json`` costs a few readings.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import attrs
import cattrs
import structlog

from lesion_core.durable import FOR_OWNER, write_whole
from lesion_core.monitoring import MonitoringReport
from lesion_core.service import to_json
from lesion_serve.monitor.alerts import Alerting, judge_rules
from lesion_serve.monitor.page import render_page
from lesion_serve.monitor.report import Baseline, Wanted, alerts_of, make_report
from lesion_serve.store import AlertRecord, PredictionStore

MOST_UNSENT = 100

log = structlog.get_logger()


@attrs.frozen(kw_only=True)
class _Unsent:
    """An alert that a channel did not take."""

    channel: str
    name: str
    state: str
    severity: str
    value: float | None
    message: str
    at: str

    @classmethod
    def of(cls, channel: str, alert: AlertRecord) -> _Unsent:
        return cls(channel=channel, **{**attrs.asdict(alert), "at": alert.at.isoformat()})

    @property
    def alert(self) -> AlertRecord:
        fields = attrs.asdict(self, filter=attrs.filters.exclude("channel"))
        return AlertRecord(**{**fields, "at": datetime.fromisoformat(self.at)})


@attrs.frozen(kw_only=True)
class _State:
    readings: dict[str, list[float]] = attrs.field(factory=dict)
    unsent: list[_Unsent] = attrs.field(factory=list)


def watch_once(
    store: PredictionStore,
    wanted: Wanted,
    baseline: Baseline | None,
    alerting: Alerting,
    out: Path,
    *,
    now: datetime | None = None,
) -> MonitoringReport:
    """Make a report, write it, and alarm where the rules say so.

    Raises:
        MonitorError: ``no_predictions``.
        StoreError: an alert could not be written down; nothing is sent then.
    """
    now = now or datetime.now(UTC)
    report = make_report(store, wanted, baseline, now=now)
    state = _read_state(out / "state.json")
    states = {alert.name: alert.state for alert in store.alerts()}
    readings, alerts = judge_rules(alerting.rule, report, state.readings, states, at=now)
    for alert in alerts:
        store.append_alert(alert)
        log.warning("alert", name=alert.name, state=alert.state, value=alert.value)
    unsent = [
        _Unsent.of(one.channel, one.alert)
        for one in state.unsent
        if alerting.channels.only(one.channel).send(one.alert)
    ]
    unsent += [_Unsent.of(channel, alert) for alert in alerts for channel in alerting.channels.send(alert)]
    _write_state(out / "state.json", _State(readings=readings, unsent=unsent[-MOST_UNSENT:]))
    report = attrs.evolve(report, alerts=alerts_of(store))
    write_report(report, out)
    return report


def write_report(report: MonitoringReport, out: Path) -> None:
    """Write ``report.json`` and ``report.html``, for our user's eyes only, each whole or not at all."""
    out.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_whole(out / "report.json", to_json(report) + "\n", mode=FOR_OWNER)
    write_whole(out / "report.html", render_page(report), mode=FOR_OWNER)


def _read_state(path: Path) -> _State:
    try:
        return cattrs.structure(json.loads(path.read_text(encoding="utf-8")), _State)
    except FileNotFoundError:
        return _State()
    except (ValueError, cattrs.BaseValidationError):
        log.warning("state_unreadable", path=str(path))
        return _State()


def _write_state(path: Path, state: _State) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_whole(path, json.dumps(attrs.asdict(state), ensure_ascii=False), mode=FOR_OWNER)
