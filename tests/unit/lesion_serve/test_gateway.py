"""The gateway: what clients see of it, with an engine that does as it is told and a real store."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message

from lesion_core.logs import configure_logging
from lesion_core.service import SUBJECT_PATTERN
from lesion_core.wire import Prediction, Problem, from_json
from lesion_serve.engine.engine import (
    DeadlineError,
    EngineDownError,
    EngineError,
    RefusedError,
    WorkerDiedError,
)
from lesion_serve.gateway import recording
from lesion_serve.gateway.keys import Role
from lesion_serve.gateway.middleware import GOOD_ID
from lesion_serve.store import PredictionRecord, Principal, Receipt, StoreError
from support.fake_service import make_prediction
from support.gateways import IMAGE, JPEG, GatewayUnderTest, problem_of


def test_an_image_is_answered_and_recorded_under_one_id(gateway: GatewayUnderTest) -> None:
    """The client's own id, where it sends a good one."""
    answer = gateway.send("POST", "/v1/predictions", content=IMAGE, headers={**JPEG, "X-Request-ID": "my-request-0001"})

    assert answer.status_code == 200
    assert from_json(answer.content, Prediction).request_id == "my-request-0001"
    assert answer.headers["x-request-id"] == "my-request-0001"
    (kept,) = gateway.kept
    assert (kept.request_id, kept.principal.key_id, kept.model.version) == ("my-request-0001", "local", "1")
    assert kept.prediction == from_json(answer.content, Prediction)
    assert kept.image_sha256 == hashlib.sha256(IMAGE).hexdigest()


@pytest.mark.parametrize(
    "offered", ["short", "with space in it", "x" * 65, "../../etc/passwd", "", "_12345678", "-.-.-.-.-"]
)
def test_an_id_that_could_do_harm_is_replaced(offered: str, gateway: GatewayUnderTest) -> None:
    """It goes into logs and records."""
    answer = gateway.send("POST", "/v1/predictions", content=IMAGE, headers={**JPEG, "X-Request-ID": offered})

    assert len(answer.headers["x-request-id"]) == 32


def test_an_answer_that_cannot_be_recorded_does_not_leave(gateway: GatewayUnderTest) -> None:
    """A clinic must be able to find every answer that was given."""
    gateway.store.close()

    answer = gateway.ask()

    assert answer.status_code == 503
    assert problem_of(answer)["code"] == "not_recorded"
    assert b"probabilit" not in answer.content
    assert int(answer.headers["retry-after"]) >= 1


@given(
    subject=st.from_regex(SUBJECT_PATTERN),
    request_id=st.from_regex(GOOD_ID, fullmatch=True),
    number=st.integers(1, 999),
)
def test_whatever_is_taken_as_subject_or_id_is_a_record(subject: str, request_id: str, number: int) -> None:
    """The patterns of the gateway allow nothing that those of the store refuse."""
    prediction = attrs.evolve(make_prediction(), request_id=f"{request_id}-{number}")
    principal = Principal(key_id="local", role="clinician")

    record = PredictionRecord.of(prediction, principal=principal, image_sha256="0" * 64, image_bytes=1, subject=subject)

    assert (record.subject, record.request_id) == (subject, f"{request_id}-{number}")


@pytest.mark.parametrize("subject", ["a", "0" * 64, "nullable", "P-17:34_x."])
def test_every_subject_and_id_that_is_taken_can_be_recorded(subject: str, gateway: GatewayUnderTest) -> None:
    """Else its answer would be computed and withheld, time and again."""
    headers = {**JPEG, "X-Lesion-Subject": subject, "X-Request-ID": "0._-._-._"}

    assert gateway.ask(headers=headers).status_code == 200
    (kept,) = gateway.kept
    assert (kept.subject, kept.request_id) == (subject, "0._-._-._")


def test_an_id_that_was_used_is_refused_before_anything_is_computed(guarded: GatewayUnderTest) -> None:
    """In the same words whoever used it; only who did gets that answer by it."""
    first, other = (guarded.keys.create(name, Role.CLINICIAN) for name in ("first", "other"))

    def headers(key: str) -> dict[str, str]:
        return {**JPEG, "Authorization": f"Bearer {key}", "X-Request-ID": "twice-used"}

    assert guarded.ask(headers=headers(first)).status_code == 200
    again, others = guarded.ask(headers=headers(first)), guarded.ask(headers=headers(other))

    assert again.status_code == others.status_code == 409
    assert problem_of(again) == problem_of(others)
    assert problem_of(again)["code"] == "duplicate_request"
    assert len(guarded.engine.asked) == 1
    assert guarded.send("GET", "/v1/predictions/twice-used", headers=headers(other)).status_code == 404


@pytest.mark.parametrize(
    ("reason", "status", "code", "is_to_be_repeated"),
    [
        ("store_full", 503, "not_recorded", True),
        ("store_failed", 503, "record_unknown", False),
        ("store_unreachable", 503, "record_unknown", False),
        ("bad_record", 500, "bad_record", False),
    ],
)
def test_a_client_is_told_to_ask_again_only_where_that_is_safe(
    reason: str,
    status: int,
    code: str,
    is_to_be_repeated: bool,
    gateway: GatewayUnderTest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where nobody knows whether there is a record, it looks first; what never can be recorded is not tried again."""

    def fail(*_: object) -> None:
        raise StoreError("The disk is ill.", code=reason)

    monkeypatch.setattr(gateway.store, "append", fail)
    answer = gateway.ask()

    assert (answer.status_code, problem_of(answer)["code"]) == (status, code)
    assert ("retry-after" in answer.headers) is is_to_be_repeated
    assert ("asking again is safe" in str(problem_of(answer)["detail"])) is is_to_be_repeated


def test_the_deadline_holds_for_the_record_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that hangs must not keep clients for as long as it likes; the answer is withheld."""
    gateway = GatewayUnderTest(tmp_path, deadline_s=0.1)
    monkeypatch.setattr(recording, "LEAST_RECORD_S", 0.1)
    append, let_go = gateway.store.append, threading.Event()

    def hang(*given: Any) -> Receipt:
        let_go.wait(60)
        return append(*given)

    monkeypatch.setattr(gateway.store, "append", hang)
    answer = gateway.ask()
    let_go.set()
    asyncio.run(gateway.asking.close())

    assert (answer.status_code, problem_of(answer)["code"]) == (503, "record_unknown")
    assert len(gateway.kept) == 1


def test_a_question_is_asked_again_once_when_its_worker_died(gateway: GatewayUnderTest) -> None:
    """The client does not notice."""
    gateway.engine.errors = [WorkerDiedError("gone")]

    assert gateway.ask().status_code == 200
    assert len(gateway.engine.asked) == 2
    assert len(gateway.kept) == 1


def test_a_question_is_not_asked_a_third_time(gateway: GatewayUnderTest) -> None:
    """An image that kills workers must not kill all of them."""
    gateway.engine.errors = [WorkerDiedError("gone"), WorkerDiedError("gone again")]

    answer = gateway.ask()

    assert (answer.status_code, problem_of(answer)["code"]) == (503, "worker_died")
    assert len(gateway.engine.asked) == 2


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (RefusedError(422, Problem(code="corrupt_image", message="It ends too early.")), 422, "corrupt_image"),
        (EngineDownError("starting"), 503, "engine_down"),
        (DeadlineError("late"), 504, "deadline_passed"),
        (EngineError("strange words"), 502, "engine_failed"),
        (RuntimeError("a secret of the server"), 500, "internal"),
    ],
)
def test_every_failure_is_a_problem_with_a_code(
    error: Exception, status: int, code: str, gateway: GatewayUnderTest
) -> None:
    """And nothing of the server's inside, which stands in its log."""
    gateway.engine.errors = [error]

    answer = gateway.ask()

    assert (answer.status_code, problem_of(answer)["code"]) == (status, code)
    assert b"secret" not in answer.content
    assert gateway.kept == []


def test_an_error_that_nobody_foresaw_is_logged_without_key_and_patient(
    guarded: GatewayUnderTest, capsys: pytest.CaptureFixture[str]
) -> None:
    """The trace is there, the values are not; the client gets the id to ask for it."""
    key = guarded.keys.create("a clinic", Role.CLINICIAN)
    told = {"X-Lesion-Subject": "P-17341", "X-Lesion-Metadata": '{"anatom_site_general": "left knee"}'}
    guarded.engine.errors = [RuntimeError("strange")]
    configure_logging()
    try:
        answer = guarded.ask(headers={**JPEG, **told, "Authorization": f"Bearer {key}", "X-Request-ID": "odd-one-1"})
    finally:
        structlog.reset_defaults()

    assert (answer.status_code, answer.headers["x-request-id"]) == (500, "odd-one-1")
    assert problem_of(answer)["request_id"] == "odd-one-1"
    log = capsys.readouterr().err
    assert "Traceback" in log
    assert "RuntimeError: strange" in log
    assert "odd-one-1" in log
    for secret in (key, key.split("_")[-1], "P-17341", "left knee"):
        assert secret not in log
    assert 'lesion_refused_total{code="internal"} 1.0' in guarded.metrics.text().decode()


def test_a_client_that_goes_away_while_it_sends_is_no_error_of_the_server(
    gateway: GatewayUnderTest, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is counted as such, and leaves no traceback."""

    async def leave() -> list[Message]:
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/predictions",
            "raw_path": b"/v1/predictions",
            "query_string": b"",
            "headers": [(b"host", b"127.0.0.1:8000"), (b"content-type", b"image/jpeg")],
        }
        await gateway.app(scope, receive, send)
        return sent

    assert asyncio.run(leave()) == []
    assert "Traceback" not in capsys.readouterr().out
    assert 'status="499"} 1.0' in gateway.metrics.text().decode()


def test_only_keys_with_the_role_get_an_answer(guarded: GatewayUnderTest) -> None:
    """Without one 401, with another role's 403."""
    bearer = {role: {**JPEG, "Authorization": f"Bearer {guarded.keys.create(role, role)}"} for role in Role}

    def status(headers: Mapping[str, str]) -> int:
        return guarded.send("POST", "/v1/predictions", content=IMAGE, headers=headers).status_code

    assert status(JPEG) == status({**JPEG, "Authorization": "Bearer lesion_wrong"}) == 401
    assert status(bearer[Role.AUDITOR]) == 403
    assert status(bearer[Role.CLINICIAN]) == status(bearer[Role.ENGINEER]) == 200
    assert [kept.principal.role for kept in guarded.kept] == ["clinician", "engineer"]


def test_health_and_readiness_need_no_key(guarded: GatewayUnderTest) -> None:
    """A load balancer has none; readiness follows the engine."""
    assert guarded.send("GET", "/healthz").status_code == 200
    assert guarded.send("GET", "/readyz").status_code == 200

    guarded.engine.ready = False

    assert guarded.send("GET", "/healthz").status_code == 200
    assert problem_of(guarded.send("GET", "/readyz"))["code"] == "not_ready"


def test_before_a_model_is_loaded_clients_are_told_to_come_again(gateway: GatewayUnderTest) -> None:
    """The gateway may be up first."""
    gateway.deployment = None

    answer = gateway.ask()

    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1


def test_loaded_versions_are_listed(gateway: GatewayUnderTest) -> None:
    """With their digests."""
    (model,) = gateway.send("GET", "/v1/models").json()["models"]

    assert (model["version"], model["is_default"], len(model["bundle_digest"])) == ("1", True, 64)


@pytest.mark.parametrize(("method", "path", "status"), [("DELETE", "/v1/predictions", 405), ("GET", "/nothing", 404)])
def test_other_addresses_are_problems_as_well(method: str, path: str, status: int, gateway: GatewayUnderTest) -> None:
    """One form for every error."""
    answer = gateway.send(method, path)

    assert answer.status_code == status
    problem_of(answer)
