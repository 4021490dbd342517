"""What the gateway keeps of an answer, who may see it again, and what clinicians say of it."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from lesion_core.wire import Prediction, Problem, from_json
from lesion_serve.gateway.keys import Role
from lesion_serve.store import Principal, Verdict
from support.gateways import IMAGE, JPEG, GatewayUnderTest

ID = "request-0001"


class Asked:
    """A gateway with keys, where one clinician has asked."""

    def __init__(self, folder: Path) -> None:
        self.gateway = GatewayUnderTest(folder, with_keys=True)
        names = {"asked": Role.CLINICIAN, "other": Role.CLINICIAN, "auditor": Role.AUDITOR, "engineer": Role.ENGINEER}
        self.keys = {name: self.gateway.keys.create(name, role) for name, role in names.items()}
        headers = {**JPEG, "X-Request-ID": ID, "X-Lesion-Subject": "P-17"}
        self.answer = self.send("asked", "POST", "/v1/predictions", content=IMAGE, headers=headers)
        assert self.answer.status_code == 200

    def send(self, who: str, method: str, path: str, **request: object) -> httpx.Response:
        """A request with somebody's key."""
        headers = {**dict(request.pop("headers", {})), "Authorization": f"Bearer {self.keys[who]}"}  # type: ignore[call-overload]
        return self.gateway.send(method, path, headers=headers, **request)

    def say(self, who: str, **said: object) -> httpx.Response:
        """Feedback."""
        return self.send(who, "POST", f"/v1/predictions/{ID}/feedback", json=said)


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    """See ``Asked``."""
    return Asked(tmp_path)


def test_a_prediction_is_found_again_as_it_was_given(asked: Asked) -> None:
    """With the subject, its place in the log and what was said of it."""
    asked.say("asked", verdict="agree")

    found = asked.send("asked", "GET", f"/v1/predictions/{ID}")

    assert found.status_code == 200
    record = found.json()
    assert record["prediction"] == asked.answer.json()
    assert record["subject"] == "P-17"
    assert record["position"] >= 1
    assert len(record["digest"]) == 64
    assert [one["verdict"] for one in record["feedback"]] == ["agree"]


def test_only_who_asked_and_auditors_see_it(asked: Asked) -> None:
    """Others are told that it is not there, as of one that never was."""
    seen = {who: asked.send(who, "GET", f"/v1/predictions/{ID}") for who in asked.keys}
    never = asked.send("other", "GET", "/v1/predictions/never-asked")

    assert {who: answer.status_code for who, answer in seen.items()} == {
        "asked": 200,
        "other": 404,
        "auditor": 200,
        "engineer": 404,
    }
    assert never.status_code == 404
    assert never.json()["detail"] == seen["other"].json()["detail"]


def test_an_id_that_no_database_takes_is_an_unknown_one(asked: Asked) -> None:
    """And is not looked up: PostgreSQL would fail."""
    found = [asked.send("asked", "GET", f"/v1/predictions/%00{end}") for end in ("", "/similar")]
    listed = asked.send("auditor", "GET", "/v1/predictions?version=7%00")

    assert [one.status_code for one in found] == [404, 404]
    assert (listed.status_code, listed.json()["items"]) == (200, []), listed.text


def test_a_second_request_under_the_same_id_is_refused(asked: Asked) -> None:
    """The record of the first stays, and the second answer does not leave."""
    again = asked.send("asked", "POST", "/v1/predictions", content=IMAGE, headers={**JPEG, "X-Request-ID": ID})

    assert again.status_code == 409
    assert from_json(again.content, Problem).code == "duplicate_request"
    assert f"/v1/predictions/{ID}" in again.json()["detail"]
    assert len(asked.gateway.kept) == 1


def test_feedback_is_kept_with_who_said_it(asked: Asked) -> None:
    """Another diagnosis has its code; words go with it."""
    answer = asked.say("asked", verdict="other", diagnosis="BCC", comment="histology", source="histology")

    (kept,) = asked.gateway.kept
    assert answer.status_code == 201
    assert [(one.verdict, one.diagnosis, one.comment) for one in kept.feedback] == [(Verdict.OTHER, "BCC", "histology")]
    assert kept.feedback[0].principal.key_id == answer.json()["key_id"]
    assert answer.json()["source"] == kept.feedback[0].source == "histology"


def test_feedback_on_an_erased_request_is_refused(asked: Asked) -> None:
    """It would write of a person again who was to be forgotten."""
    operator = Principal(key_id="uid:0", role="operator")
    asked.gateway.store.erase_request(ID, principal=operator, reason="case-1")

    refused = asked.say("asked", verdict="comment", comment="Mrs Smith")

    assert refused.status_code == 409
    assert from_json(refused.text, Problem).code == "erased"
    assert asked.gateway.kept[0].feedback == ()


@pytest.mark.parametrize(
    ("who", "said", "status", "hint"),
    [
        ("asked", {"verdict": "maybe"}, 422, "verdict"),
        ("asked", {"verdict": "other"}, 422, "diagnosis"),
        ("asked", {"verdict": "other", "diagnosis": "flu"}, 422, "MEL"),
        ("asked", {"verdict": "agree", "diagnosis": "MEL"}, 422, "diagnosis"),
        ("asked", {"verdict": "comment"}, 422, "comment"),
        ("asked", {"verdict": "comment", "comment": "x" * 4001}, 422, "4000"),
        ("asked", {"verdict": "comment", "comment": "a\0b"}, 422, "NUL"),
        ("asked", {"verdict": "agree", "remark": "?"}, 422, "remark"),
        ("other", {"verdict": "agree"}, 404, "no such prediction"),
        ("auditor", {"verdict": "agree"}, 403, "auditor"),
    ],
)
def test_feedback_that_cannot_be_kept_is_refused(
    asked: Asked, who: str, said: dict[str, object], status: int, hint: str
) -> None:
    """With what was possible, and nothing is kept."""
    answer = asked.say(who, **said)

    assert (answer.status_code, hint in answer.json()["detail"]) == (status, True), answer.text
    assert asked.gateway.kept[0].feedback == ()


def test_the_label_says_what_the_answers_are_for(asked: Asked) -> None:
    """Before anybody uses one."""
    label = asked.send("other", "GET", "/v1/label").json()

    assert label["notice"].startswith("Research use only")
    assert label["intended_use"]
    assert label["not_for"]
    assert label["metrics"]["val_bma"]["low"] < label["metrics"]["val_bma"]["high"]


def test_the_apps_own_token_asks_as_this_machine(tmp_path: Path) -> None:
    """It stands in a file of the user who started the gateway, and ends with it."""
    gateway = GatewayUnderTest(tmp_path, with_keys=True, local_token="a-token-of-this-start")

    def ask(token: str) -> httpx.Response:
        return gateway.ask(headers={**JPEG, "Authorization": f"Bearer {token}"})

    answer = ask("a-token-of-this-start")
    assert from_json(answer.content, Prediction).request_id == gateway.kept[0].request_id
    assert gateway.kept[0].principal.key_id == "local"
    assert ask("a-token-of-another").status_code == 401
