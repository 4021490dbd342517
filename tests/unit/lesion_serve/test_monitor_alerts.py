"""Alerts: rules with hysteresis, the record of them, and their way to people, over loopback only."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from lesion_serve.monitor.alerts import FIRING, RESOLVED, Alerting, Rule
from lesion_serve.monitor.errors import MonitorError
from lesion_serve.monitor.notify import Channels, Mail, Webhook
from lesion_serve.monitor.report import Wanted
from lesion_serve.monitor.watch import watch_once
from lesion_serve.store import AlertRecord, PredictionStore
from support.monitored import baseline, fill
from support.samples import draw_sample
from support.stored import START, check, open_store

NOW = START + timedelta(days=3)


def rule(**changes: object) -> Rule:
    given = {"name": "drift", "reading": "drift", "fires_from": 1.0, "resolves_at": 0.0, **changes}
    return Rule(**given)  # type: ignore[arg-type]


def states(one: Rule, readings: list[float]) -> str:
    """F where it fires, - where not, after each reading."""
    state, seen = RESOLVED, ""
    for last in range(1, len(readings) + 1):
        state = one.next_state(state, readings[:last])
        seen += "F" if state == FIRING else "-"
    return seen


class Receiver(BaseHTTPRequestHandler):
    """A webhook; the server's ``status`` says what it answers."""

    def do_POST(self) -> None:
        server: Any = self.server
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server.received.append((self.headers.get("Authorization"), json.loads(body)))
        self.send_response(server.status)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing."""


@contextmanager
def receiver(status: int = 200) -> Iterator[Any]:
    server: Any = HTTPServer(("127.0.0.1", 0), Receiver)
    server.status, server.received = status, []
    with served(server):
        server.url = f"http://127.0.0.1:{server.server_port}/alerts"
        yield server


class MailHandler(socketserver.StreamRequestHandler):
    """Enough of SMTP to take a message."""

    def handle(self) -> None:
        self.wfile.write(b"220 test\r\n")
        for line in self.rfile:
            verb = line.strip().upper()
            if verb == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                lines = iter(self.rfile.readline, b".\r\n")
                self.server.received.append(b"".join(lines).decode())  # type: ignore[attr-defined]
            self.wfile.write(b"221 bye\r\n" if verb == b"QUIT" else b"250 ok\r\n")
            if verb == b"QUIT":
                return


@contextmanager
def served(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[PredictionStore]:
    with open_store(tmp_path) as opened:
        yield opened


def test_a_rule_fires_at_two_of_three_and_holds_until_all_is_well() -> None:
    """One bad reading is none; one that wavers in between changes nothing."""
    wavering = rule(reading="outside_rate", fires_from=0.1, resolves_at=0.05)

    assert states(wavering, [0.2, 0.0, 0.2, 0.07, 0.0, 0.07, 0.0, 0.0]) == "--FFFFF-"
    assert states(wavering, [0.2, 0.0, 0.0, 0.2, 0.07, 0.0, 0.2]) == "-------"
    assert states(rule(times=1, of=1), [1, 0, 2]) == "F-F"


def test_a_rule_for_small_readings_is_the_other_way_round() -> None:
    """Sensitivity that falls."""
    falling = rule(reading="malignant_sensitivity", fires_from=0.85, resolves_at=0.9, is_lower=True, times=1, of=1)

    assert states(falling, [0.95, 0.85, 0.88, 0.91]) == "-FF-"


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        ({"reading": "mood"}, "outside_rate"),
        ({"resolves_at": 1.0}, "resolved"),
        ({"times": 4}, "4 of 3"),
        ({"severity": "panic"}, "page"),
        ({"name": "two words"}, "name"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(changes: dict[str, object], hint: str) -> None:
    """With what was possible."""
    with pytest.raises(ValueError, match=hint):
        rule(**changes)


def test_rules_are_read_from_a_file(tmp_path: Path) -> None:
    """Its own rules instead of the default ones, and where alerts go."""
    path = tmp_path / "rules.toml"
    path.write_text(
        '[[rule]]\nname = "odd"\nreading = "drift"\nfires_from = 2\nresolves_at = 0\nseverity = "page"\n'
        '[channels.webhook]\nurl = "http://127.0.0.1:9/"\n'
    )

    found = Alerting.load(path)

    assert [(one.name, one.fires_from, one.times) for one in found.rule] == [("odd", 2.0, 2)]
    assert found.channels == Channels(webhook=Webhook(url="http://127.0.0.1:9/"))
    assert Alerting().channels == Channels()
    assert len(Alerting().rule) == 4


@pytest.mark.parametrize(
    "text",
    [
        "rule = 1",
        "[[rule]]\nname = 'x'",
        "[mail]\nhost = 'h'",
        "[[rule",
        '[[rule]]\nmood = "bad"',
        pytest.param("rule = " + "[" * 5000, id="deep"),
    ],
)
def test_a_file_of_rules_with_a_slip_is_refused(tmp_path: Path, text: str) -> None:
    """By its name."""
    path = tmp_path / "rules.toml"
    path.write_text(text)

    with pytest.raises(MonitorError, match=r"rules\.toml") as raised:
        Alerting.load(path)
    assert raised.value.code == "bad_rules"


def test_drift_is_alerted_once_recorded_and_resolved(store: PredictionStore, tmp_path: Path) -> None:
    """Two reports of three alarm; the alert is an event of the log, and goes out once. Two good ones resolve it."""
    fill(store, draw_sample(60, seed=4, shift=3.0))
    out = tmp_path / "out"
    with receiver() as hook:
        alerting = Alerting(channels=Channels(webhook=Webhook(url=hook.url)))
        for hour in range(4):
            watch_once(store, Wanted(last=60), baseline(), alerting, out, now=NOW + timedelta(hours=hour))
        fill(store, draw_sample(60, seed=3), first=60)
        for hour in range(4, 7):
            report = watch_once(store, Wanted(last=60), baseline(), alerting, out, now=NOW + timedelta(hours=hour))

    told = [(alert.name, alert.state, alert.at) for alert in store.alerts()]
    assert told == [("drift", FIRING, NOW + timedelta(hours=1)), ("drift", RESOLVED, NOW + timedelta(hours=5))]
    assert [(body["name"], body["state"]) for _, body in hook.received] == [("drift", FIRING), ("drift", RESOLVED)]
    assert "Alarms: embedding" in hook.received[0][1]["message"]
    assert [alert.state for alert in report.alerts] == [RESOLVED, FIRING]
    assert json.loads((out / "report.json").read_text())["alerts"][0]["state"] == RESOLVED
    assert (out / "report.html").stat().st_mode & 0o077 == 0
    store.close()
    assert check(tmp_path).is_intact


def test_an_alert_that_nobody_takes_is_sent_again(store: PredictionStore, tmp_path: Path) -> None:
    """With the next report, and then no more; the record does not wait for it."""
    fill(store, draw_sample(60, seed=4, shift=3.0))
    once = Alerting(rule=(rule(times=1, of=1),))
    with receiver(status=500) as hook:
        alerting = Alerting(rule=once.rule, channels=Channels(webhook=Webhook(url=hook.url)))
        watch_once(store, Wanted(), baseline(), alerting, tmp_path / "out", now=NOW)
        assert len(list(store.alerts())) == len(hook.received) == 1
        hook.status = 200
        for hour in (1, 2):
            watch_once(store, Wanted(), baseline(), alerting, tmp_path / "out", now=NOW + timedelta(hours=hour))

    assert [body for _, body in hook.received] == [hook.received[0][1]] * 2
    assert len(list(store.alerts())) == 1


def test_a_webhook_gets_its_token(tmp_path: Path) -> None:
    """From a file, since options are seen by everybody on the machine."""
    (tmp_path / "token").write_text("s3cret\n")
    alert = AlertRecord(name="drift", state=FIRING, severity="page", value=1.0, message="m", at=NOW)
    with receiver() as hook:
        failed = Channels(webhook=Webhook(url=hook.url, token_file=tmp_path / "token")).send(alert)

    assert failed == ()
    assert hook.received == [
        (
            "Bearer s3cret",
            {
                **{k: getattr(alert, k) for k in ("name", "state", "severity", "value", "message")},
                "at": NOW.isoformat(),
            },
        )
    ]


def test_mail_names_the_rule_and_what_it_read() -> None:
    """Through an SMTP server on this machine; one that is not there is told, not raised."""
    alert = AlertRecord(name="drift", state=FIRING, severity="page", value=1.0, message="two checks", at=NOW)
    server: Any = socketserver.ThreadingTCPServer(("127.0.0.1", 0), MailHandler)
    server.received = []
    with served(server):
        mail = Mail(host="127.0.0.1", port=server.server_address[1], sender="l@e.org", to=("a@e.org",), starttls=False)
        sent = Channels(mail=mail).send(alert)
    gone = Channels(mail=mail).send(alert)

    assert (sent, gone) == ((), ("mail",))
    (message,) = server.received
    assert "Subject: [Lesion] page: drift is firing" in message
    assert "two checks" in message
