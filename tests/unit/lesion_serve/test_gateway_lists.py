"""What the gateway lists: who asks, predictions page by page, and a report over many of them."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from lesion_core.monitoring import MonitoringReport
from lesion_core.service import Caller, Page, from_json
from lesion_serve.gateway.keys import PERMISSIONS, Permission, Role
from support.gateways import IMAGE, JPEG, GatewayUnderTest


class Clinic:
    """A gateway with keys; two clinicians have asked twice and once."""

    def __init__(self, folder: Path) -> None:
        self.gateway = GatewayUnderTest(folder, with_keys=True)
        names = {"first": Role.CLINICIAN, "second": Role.CLINICIAN, "auditor": Role.AUDITOR, "engineer": Role.ENGINEER}
        self.keys = {name: self.gateway.keys.create(name, role) for name, role in names.items()}
        for who, request_id in (("first", "request-a1"), ("second", "request-b1"), ("first", "request-a2")):
            headers = {**JPEG, "X-Request-ID": request_id, "X-Lesion-Subject": f"P-{request_id}"}
            assert self.send(who, "POST", "/v1/predictions", content=IMAGE, headers=headers).status_code == 200

    def send(self, who: str, method: str, path: str, **request: object) -> httpx.Response:
        """A request with somebody's key."""
        headers = {**dict(request.pop("headers", {})), "Authorization": f"Bearer {self.keys[who]}"}  # type: ignore[call-overload]
        return self.gateway.send(method, path, headers=headers, **request)

    def ids(self, who: str, query: str = "") -> list[str]:
        """What somebody finds."""
        found = self.send(who, "GET", f"/v1/predictions{query}")
        assert found.status_code == 200, found.text
        return [line.request_id for line in from_json(found.content, Page).items]


@pytest.fixture
def clinic(tmp_path: Path) -> Clinic:
    return Clinic(tmp_path)


@pytest.mark.parametrize("role", Role)
def test_a_key_is_told_who_it_stands_for(clinic: Clinic, role: Role) -> None:
    """Name, role, and all that it may do."""
    who = {Role.CLINICIAN: "first", Role.ENGINEER: "engineer", Role.AUDITOR: "auditor"}[role]

    caller = from_json(clinic.send(who, "GET", "/v1/caller").content, Caller)

    assert (caller.name, caller.role) == (who, role.value)
    assert set(caller.permissions) == {one.value for one in PERMISSIONS[role]}


def test_who_may_not_read_all_finds_their_own(clinic: Clinic) -> None:
    """The newest first; auditors find everybody's."""
    assert clinic.ids("first") == ["request-a2", "request-a1"]
    assert clinic.ids("second") == ["request-b1"]
    assert clinic.ids("engineer") == []
    assert clinic.ids("auditor") == ["request-a2", "request-b1", "request-a1"]


def test_a_filter_cannot_reach_what_another_key_asked(clinic: Clinic) -> None:
    """Not even by the subject's name."""
    assert clinic.ids("first", "?subject=P-request-b1") == []
    assert clinic.ids("second", "?subject=P-request-b1") == ["request-b1"]


def test_pages_follow_one_another(clinic: Clinic) -> None:
    """By the cursor of the page before."""
    first = clinic.send("auditor", "GET", "/v1/predictions?limit=2").json()

    assert clinic.ids("auditor", f"?limit=2&cursor={first['next']}") == ["request-a1"]


@pytest.mark.parametrize(
    "query",
    [
        *(
            "limit=0",
            "limit=1000",
            "top=" + "x" * 65,
            "top=",
            "top=NV&top=MEL",
            "subject=null",
            "review=null",
            "band=middle",
            "limit=x",
            "limit=99999999999999999999",
            "limit=000001000000",
            "limit=1.5",
            "limit=1e1",
            "limit=-1",
            "cursor=x",
            "colour=red",
        ),
        *("since=yesterday", "since=0001-01-01T00:00:00%2B23:00"),
    ],
)
def test_a_query_that_cannot_be_answered_is_refused(clinic: Clinic, query: str) -> None:
    """With a sentence that says what it may be."""
    answer = clinic.send("auditor", "GET", f"/v1/predictions?{query}")

    assert answer.status_code == 400
    assert answer.json()["code"] in ("bad_request", "bad_cursor")


def test_the_report_counts_what_was_answered(clinic: Clinic) -> None:
    """Everybody may see it: it names nobody."""
    report = from_json(clinic.send("first", "GET", "/v1/monitoring?days=7").content, MonitoringReport)

    assert report.predictions == 3
    assert sum(report.classes.values()) == 3


def test_without_predictions_there_is_no_report(tmp_path: Path) -> None:
    """404, and why."""
    answer = GatewayUnderTest(tmp_path).send("GET", "/v1/monitoring")

    assert (answer.status_code, answer.json()["code"]) == (404, "no_predictions")


@pytest.mark.parametrize(
    "days", ["0", "367", "x", "1.5", "99999999999999999999", "000001000", "000001" + "9" * 5000, ""]
)
def test_days_are_days(clinic: Clinic, days: str) -> None:
    """A whole number, and no more than a year."""
    assert clinic.send("first", "GET", f"/v1/monitoring?days={days}").status_code == 400


def test_every_role_may_do_what_the_documentation_says() -> None:
    """Nobody but engineers changes what serves; nobody but auditors reads all."""
    assert {role for role in Role if Permission.DEPLOY in PERMISSIONS[role]} == {Role.ENGINEER}
    assert {role for role in Role if Permission.READ_ALL in PERMISSIONS[role]} == {Role.AUDITOR}
