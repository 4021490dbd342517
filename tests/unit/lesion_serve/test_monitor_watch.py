"""Rounds of watching that are cut off, rules that go, champions that change: no alert is lost, and none is made up."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from lesion_serve.monitor.alerts import FIRING, RESOLVED, Alerting, Rule
from lesion_serve.monitor.errors import MonitorError
from lesion_serve.monitor.notify import Channels, Mail, Webhook
from lesion_serve.monitor.report import Wanted
from lesion_serve.monitor.watch import watch_once
from lesion_serve.store import AlertRecord, PredictionStore
from support.monitored import baseline, fill
from support.samples import draw_sample
from support.stored import START, open_store

NOW = START + timedelta(days=3)
DRIFT = Rule(name="drift", reading="drift", fires_from=1, resolves_at=0, times=1, of=1)
HOOK = Channels(webhook=Webhook(url="http://127.0.0.1:9/"))
MAIL = Mail(host="127.0.0.1", sender="l@e.org", to=("a@e.org",))


class Crash(BaseException):
    """The program ends here."""


class Sent:
    """What the channels took; ``crashes`` are the numbers of the sendings at which the program ends, before them."""

    def __init__(self) -> None:
        self.tries, self.taken, self.crashes = 0, list[tuple[str, str, str]](), set[int]()

    def take(self, channel: str, alert: AlertRecord) -> None:
        self.tries += 1
        if self.tries in self.crashes:
            raise Crash
        self.taken.append((channel, alert.name, alert.state))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[PredictionStore]:
    """One with sixty answers that drift."""
    with open_store(tmp_path) as opened:
        fill(opened, draw_sample(60, seed=4, shift=3.0))
        yield opened


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    """In place of the network."""
    told = Sent()
    monkeypatch.setattr(Webhook, "send", lambda _, alert: told.take("webhook", alert))
    monkeypatch.setattr(Mail, "send", lambda _, alert: told.take("mail", alert))
    return told


def watch(
    store: PredictionStore, out: Path, alerting: Alerting, *, hour: int = 0, version: str | None = None, last: int = 60
) -> None:
    wanted = Wanted(last=last, version=version)
    watch_once(store, wanted, baseline(), alerting, out, now=NOW + timedelta(hours=hour))


def told(store: PredictionStore) -> list[tuple[str, str]]:
    return [(alert.name, alert.state) for alert in store.alerts()]


def test_an_alert_whose_round_ends_before_it_is_sent_goes_out_with_the_next(
    store: PredictionStore, tmp_path: Path, sent: Sent
) -> None:
    """Once, by each channel: what had arrived is not sent again."""
    alerting = Alerting(rule=(DRIFT,), channels=Channels(webhook=HOOK.webhook, mail=MAIL))
    sent.crashes = {2}
    with pytest.raises(Crash):
        watch(store, tmp_path / "out", alerting)
    for hour in (1, 2):
        watch(store, tmp_path / "out", alerting, hour=hour)

    assert told(store) == [("drift", FIRING)]
    assert sent.taken == [("webhook", "drift", FIRING), ("mail", "drift", FIRING)]


def test_an_alert_whose_round_ends_before_it_is_recorded_is_recorded_and_sent_with_the_next(
    store: PredictionStore, tmp_path: Path, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it was then."""

    def crash(alert: AlertRecord) -> None:
        raise Crash

    alerting = Alerting(rule=(DRIFT,), channels=HOOK)
    with monkeypatch.context() as patched:
        patched.setattr(store, "append_alert", crash)
        with pytest.raises(Crash):
            watch(store, tmp_path / "out", alerting)
    assert sent.taken == []
    watch(store, tmp_path / "out", alerting, hour=1)

    assert [alert.at for alert in store.alerts()] == [NOW]
    assert sent.taken == [("webhook", "drift", FIRING)]


def test_what_is_on_its_way_arrives_also_where_there_is_nothing_to_report(
    store: PredictionStore, tmp_path: Path, sent: Sent
) -> None:
    """As after a promotion."""
    alerting = Alerting(rule=(DRIFT,), channels=HOOK)
    sent.crashes = {1}
    with pytest.raises(Crash):
        watch(store, tmp_path / "out", alerting)
    with pytest.raises(MonitorError, match="version 2"):
        watch(store, tmp_path / "out", alerting, version="2")

    assert sent.taken == [("webhook", "drift", FIRING)]


def test_a_rule_that_was_removed_is_resolved_once(store: PredictionStore, tmp_path: Path, sent: Sent) -> None:
    """And only by the watch that had it: another on the same store has rules of its own."""
    other = Rule(name="odd", reading="rejected_rate", fires_from=2, resolves_at=1)
    watch(store, tmp_path / "out", Alerting(rule=(DRIFT, other), channels=HOOK))
    watch(store, tmp_path / "another", Alerting(rule=(other,), channels=HOOK))
    assert told(store) == [("drift", FIRING)]

    for hour in (1, 2):
        watch(store, tmp_path / "out", Alerting(rule=(other,), channels=HOOK), hour=hour)

    assert told(store) == [("drift", FIRING), ("drift", RESOLVED)]
    assert sent.taken == [("webhook", "drift", FIRING), ("webhook", "drift", RESOLVED)]
    assert "removed" in [alert.message for alert in store.alerts()][-1]


def test_readings_of_one_version_do_not_speak_against_another(store: PredictionStore, tmp_path: Path) -> None:
    """One reading of each version is past the limit: that is not twice the same model."""
    alerting = Alerting(rule=(Rule(name="drift", reading="drift", fires_from=1, resolves_at=0, times=2, of=3),))
    watch(store, tmp_path / "out", alerting, version="1")
    fill(store, draw_sample(60, seed=4, shift=3.0), first=60, version="2")
    watch(store, tmp_path / "out", alerting, hour=1, version="2")
    assert told(store) == []

    watch(store, tmp_path / "out", alerting, hour=2, version="1")

    assert told(store) == [("drift", FIRING)]
