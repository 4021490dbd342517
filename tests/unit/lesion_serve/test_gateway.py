"""The gateway: what clients see of it, with an engine that does as it is told and a real store."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message

from lesion_core.logs import configure_logging
from lesion_core.wire import ConformalSet, OutOfDistribution, Prediction, Problem, from_json
from lesion_serve.deployment import Deployment
from lesion_serve.engine.engine import (
    BusyError,
    DeadlineError,
    EngineDownError,
    EngineError,
    RefusedError,
    UnknownVersionError,
    WorkerDiedError,
)
from lesion_serve.gateway import asking
from lesion_serve.gateway.inputs import SUBJECT_PATTERN
from lesion_serve.gateway.keys import Role
from lesion_serve.gateway.middleware import GOOD_ID
from lesion_serve.store import PredictionRecord, Principal, Receipt, StoreError
from lesion_serve.store import Role as StoreRole
from support.fake_service import make_finding, make_prediction
from support.gateways import IMAGE, JPEG, GatewayUnderTest, deployed


@pytest.fixture
def gateway(tmp_path: Path) -> GatewayUnderTest:
    """Open to everyone."""
    return GatewayUnderTest(tmp_path)


@pytest.fixture
def guarded(tmp_path: Path) -> GatewayUnderTest:
    """Open to those with a key."""
    return GatewayUnderTest(tmp_path, with_keys=True)


def problem_of(answer: httpx.Response) -> dict[str, object]:
    """The problem in an answer, which has to be whole."""
    assert answer.headers["content-type"] == "application/problem+json"
    found: dict[str, object] = answer.json()
    assert set(found) == {"type", "title", "status", "detail", "code", "request_id", "message", "schema_version"}
    assert found["status"] == answer.status_code
    return found


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
    assert kept.file_name is None


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
    monkeypatch.setattr(asking, "LEAST_RECORD_S", 0.1)
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
            "headers": [(b"content-type", b"image/jpeg")],
        }
        await gateway.app(scope, receive, send)
        return sent

    assert asyncio.run(leave()) == []
    assert "Traceback" not in capsys.readouterr().out
    assert 'status="499"} 1.0' in gateway.metrics.text().decode()


def test_several_images_are_answered_one_by_one(gateway: GatewayUnderTest) -> None:
    """A bad one has a problem of its own; each is a record of its own."""
    bad = RefusedError(422, Problem(code="corrupt_image", message="It ends too early."))
    gateway.engine.errors = [None, bad, None]

    files = [("images", (f"{n}.jpg", IMAGE, "image/jpeg")) for n in range(3)]
    answer = gateway.send("POST", "/v1/predictions", files=files)

    items = answer.json()["items"]
    assert answer.status_code == 200
    assert [item["status"] for item in items] == [200, 422, 200]
    assert items[1]["problem"]["code"] == "corrupt_image"
    assert items[1]["prediction"] is None
    assert len({kept.request_id for kept in gateway.kept}) == 2


def test_a_form_of_as_many_images_as_are_promised_is_answered_by_one_slow_worker(tmp_path: Path) -> None:
    """All of it, on an idle server, whatever may wait; one image after the other."""
    gateway = GatewayUnderTest(tmp_path, at_once=1, max_images=16, longest_wait_s=0.01)

    answer = gateway.send("POST", "/v1/predictions", files=[("images", ("a.jpg", IMAGE, "image/jpeg"))] * 16)

    assert [item["status"] for item in answer.json()["items"]] == [200] * 16
    assert gateway.engine.most_at_once == 1
    assert len(gateway.kept) == 16


def test_what_is_known_of_the_patient_reaches_the_handler(gateway: GatewayUnderTest) -> None:
    """From the form's fields as from the headers; one object stands for all images."""
    files = [("images", ("a.jpg", IMAGE, "image/jpeg")), ("images", ("b.jpg", IMAGE, "image/jpeg"))]
    known = '{"age_approx": 55}'

    gateway.send("POST", "/v1/predictions", files=files, data={"metadata": known, "heat_map": "true"})
    gateway.send(
        "POST",
        "/v1/predictions",
        content=IMAGE,
        headers={**JPEG, "X-Lesion-Metadata": known, "X-Lesion-Heat-Map": "true"},
    )

    for _, _, headers in gateway.engine.asked:
        assert json.loads(headers["X-Lesion-Metadata"]) == {"age_approx": 55}
        assert headers["X-Lesion-Heat-Map"] == "true"
    assert len(gateway.engine.asked) == 3


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        ({"content": b"{}", "headers": {"Content-Type": "application/json"}}, 415, "unsupported_request"),
        ({"data": {"a": "b"}}, 415, "unsupported_request"),
        ({"content": IMAGE}, 415, "unsupported_request"),
        ({"content": b"nothing", "headers": {"Content-Type": "multipart/form-data; boundary=x"}}, 400, "bad_form"),
        ({"content": b"nothing", "headers": {"Content-Type": "multipart/form-data"}}, 400, "bad_form"),
        ({"files": [("pictures", ("a.jpg", IMAGE))]}, 400, "bad_request"),
        ({"files": [("images", ("a.jpg", IMAGE))] * 4}, 400, "bad_form"),
        ({"files": [("images", ("a.jpg", IMAGE))], "data": {"metadata": "{"}}, 400, "bad_metadata"),
        ({"files": [("images", ("a.jpg", IMAGE))], "data": {"metadata": "[{}, {}]"}}, 400, "bad_metadata"),
        ({"content": IMAGE, "headers": {**JPEG, "X-Lesion-Metadata": '{"age_approx": 300}'}}, 400, "bad_metadata"),
        ({"content": IMAGE, "headers": {**JPEG, "X-Lesion-Metadata": '{"age": 30}'}}, 400, "bad_metadata"),
        ({"content": IMAGE, "headers": {**JPEG, "X-Lesion-Metadata": "[" * 9000}}, 400, "bad_metadata"),
        ({"files": [("images", ("a.jpg", IMAGE))], "data": {"subject": "Ada Lovelace"}}, 400, "bad_request"),
        ({"content": IMAGE, "headers": {**JPEG, "X-Lesion-Subject": ".P-1734"}}, 400, "bad_request"),
        ({"files": [("images", ("a.jpg", IMAGE))], "data": {"subject": "P-1734\n"}}, 400, "bad_request"),
        ({"files": [("images", ("a.jpg", IMAGE))], "data": {"subject": "null"}}, 400, "bad_request"),
        ({"content": IMAGE * 1000, "headers": JPEG}, 413, "too_many_bytes"),
    ],
)
def test_a_request_that_makes_no_sense_is_told_what_would(
    request_: dict[str, object], status: int, code: str, gateway: GatewayUnderTest
) -> None:
    """And never reaches the engine."""
    answer = gateway.send("POST", "/v1/predictions", **request_)

    assert (answer.status_code, problem_of(answer)["code"]) == (status, code)
    assert gateway.engine.asked == []


def test_a_body_without_a_declared_length_is_counted_as_it_comes(gateway: GatewayUnderTest) -> None:
    """Or a client could fill the memory."""

    async def chunks() -> object:
        for _ in range(100):
            yield b"x" * 1000

    answer = gateway.send("POST", "/v1/predictions", content=chunks(), headers=JPEG)

    assert (answer.status_code, problem_of(answer)["code"]) == (413, "too_many_bytes")


def test_an_upload_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    """Or clients that send a byte a minute would hold every connection; the answer itself may take longer."""
    gateway = GatewayUnderTest(tmp_path, upload_s=0.1)
    never = asyncio.Event()

    async def chunks() -> AsyncIterator[bytes]:
        yield IMAGE
        await never.wait()

    answer = gateway.send("POST", "/v1/predictions", content=chunks(), headers=JPEG)

    assert (answer.status_code, problem_of(answer)["code"]) == (408, "upload_too_slow")
    assert answer.headers["connection"] == "close"
    assert gateway.engine.asked == []


def test_all_bodies_together_have_a_limit_and_give_their_room_back(tmp_path: Path) -> None:
    """Four of the largest; the fifth is told to come again, before it fills the memory."""
    gateway = GatewayUnderTest(tmp_path, at_once=8, max_body_bytes=1000)

    async def five() -> list[int]:
        release, taken = asyncio.Event(), 0

        async def chunks() -> AsyncIterator[bytes]:
            nonlocal taken
            yield b"x" * 1000
            taken += 1
            await release.wait()

        transport = httpx.ASGITransport(app=gateway.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            waiting = [
                asyncio.create_task(client.post("/v1/predictions", content=chunks(), headers=JPEG)) for _ in range(4)
            ]
            while taken < 4:
                await asyncio.sleep(0)
            fifth = await client.post("/v1/predictions", content=b"x", headers=JPEG)
            release.set()
            answers = [fifth, *(await asyncio.gather(*waiting))]
            answers.append(await client.post("/v1/predictions", content=b"x", headers=JPEG))
        return [answer.status_code for answer in answers]

    assert asyncio.run(five()) == [503, 200, 200, 200, 200, 200]


def test_feedback_is_short(tmp_path: Path) -> None:
    """A request that needs no place in the queue needs no room for images either."""
    gateway = GatewayUnderTest(tmp_path, max_body_bytes=2**20)
    answer = gateway.send("POST", "/v1/predictions/some-id-1/feedback", content=b"x" * 70_000)

    assert answer.status_code == 413


def test_only_keys_with_the_role_get_an_answer(guarded: GatewayUnderTest) -> None:
    """Without one 401, with another role's 403."""
    bearer = {role: {**JPEG, "Authorization": f"Bearer {guarded.keys.create(role, role)}"} for role in Role}

    def status(headers: Mapping[str, str]) -> int:
        return guarded.send("POST", "/v1/predictions", content=IMAGE, headers=headers).status_code

    assert status(JPEG) == status({**JPEG, "Authorization": "Bearer lesion_wrong"}) == 401
    assert status(bearer[Role.AUDITOR]) == 403
    assert status(bearer[Role.CLINICIAN]) == status(bearer[Role.ENGINEER]) == 200
    assert [kept.principal.role for kept in guarded.kept] == ["clinician", "engineer"]


def test_a_missing_key_is_noticed_before_the_body_is_read(guarded: GatewayUnderTest) -> None:
    """Strangers do not get to upload."""
    read = 0

    async def chunks() -> object:
        nonlocal read
        for _ in range(3):
            read += 1
            yield b"x"

    answer = guarded.send("POST", "/v1/predictions", content=chunks(), headers=JPEG)

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert read <= 1


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


def test_the_challengers_answer_is_recorded_and_never_shown(gateway: GatewayUnderTest) -> None:
    """Its failure is nobody's business but the log's."""
    gateway.deployment = Deployment(generation=2, champion=deployed("1"), challenger=deployed("2"), shadow=True)
    gateway.engine.errors = [None, None, None, EngineError("the challenger is ill")]

    first, second = gateway.ask(), gateway.ask()

    assert [from_json(answer.content, Prediction).model.version for answer in (first, second)] == ["1", "1"]
    assert [(kept.model.version, kept.role) for kept in gateway.kept] == [
        ("1", StoreRole.ANSWERED),
        ("2", StoreRole.SHADOW),
        ("1", StoreRole.ANSWERED),
    ]


def test_a_challenger_in_the_shadow_draws_nothing(gateway: GatewayUnderTest) -> None:
    """Nobody would see it; what is known of the patient it has to know too."""
    gateway.deployment = Deployment(generation=2, champion=deployed("1"), challenger=deployed("2"), shadow=True)

    gateway.ask(headers={**JPEG, "X-Lesion-Heat-Map": "true", "X-Lesion-Metadata": '{"sex": "male"}'})

    (_, _, shown), (_, _, hidden) = gateway.engine.asked
    assert sorted(shown) == ["X-Lesion-Features", "X-Lesion-Heat-Map", "X-Lesion-Metadata"]
    assert sorted(hidden) == ["X-Lesion-Features", "X-Lesion-Metadata"]


def test_a_share_of_the_answers_is_the_challengers(gateway: GatewayUnderTest) -> None:
    """As many as the deployment says."""
    gateway.deployment = Deployment(generation=2, champion=deployed("1"), challenger=deployed("2"), share_percent=100)

    assert from_json(gateway.ask().content, Prediction).model.version == "2"


@pytest.mark.parametrize(
    "error", [EngineDownError("no worker"), BusyError("no worker"), UnknownVersionError("2", ("1",))]
)
def test_the_champion_answers_for_a_challenger_that_cannot(error: EngineError, gateway: GatewayUnderTest) -> None:
    """An experiment costs no client an answer."""
    gateway.deployment = Deployment(generation=2, champion=deployed("1"), challenger=deployed("2"), share_percent=100)
    gateway.engine.errors = [error]

    assert from_json(gateway.ask().content, Prediction).model.version == "1"
    assert [version for version, _, _ in gateway.engine.asked] == ["2", "1"]
    assert "lesion_fallbacks_total 1.0" in gateway.metrics.text().decode()


def test_who_was_chosen_and_then_unloaded_is_chosen_anew(
    gateway: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deployment may change between the choice and the question; only once, or it would go on for ever."""
    engine, was_asked = gateway.engine, gateway.engine.predict

    async def predict(image: bytes, **given: Any) -> Prediction:
        gateway.deployment = Deployment(generation=2, champion=deployed("2"))
        return await was_asked(image, **given)

    monkeypatch.setattr(engine, "predict", predict)
    engine.errors = [UnknownVersionError("1", ("2",))]
    assert from_json(gateway.ask().content, Prediction).model.version == "2"

    engine.errors = [UnknownVersionError("2", ())]
    assert problem_of(gateway.ask())["code"] == "unknown_version"
    assert len(engine.asked) == 3


def test_what_is_in_progress_and_what_is_loaded_is_scraped_as_it_is(
    gateway: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither always zero, nor of a version that went."""
    was_asked, meanwhile = gateway.engine.predict, list[str]()

    async def predict(image: bytes, **given: Any) -> Prediction:
        meanwhile.append(gateway.metrics.text().decode())
        return await was_asked(image, **given)

    monkeypatch.setattr(gateway.engine, "predict", predict)
    gateway.engine.loaded = ("1", "2")
    before = gateway.send("GET", "/metrics").text
    gateway.ask()
    gateway.engine.loaded = ("2",)
    after = gateway.send("GET", "/metrics").text

    assert "lesion_in_progress 1.0" in meanwhile[0]
    assert "lesion_in_progress 0.0" in after
    assert 'lesion_ready_workers{version="1"} 1.0' in before
    assert 'lesion_ready_workers{version="1"}' not in after
    assert 'lesion_ready_workers{version="2"} 1.0' in after


def test_what_was_counted_can_be_scraped(gateway: GatewayUnderTest) -> None:
    """By route, not by address: those may hold ids without an end."""
    gateway.ask()
    gateway.send("GET", "/v1/unheard-of/0815")

    text = gateway.send("GET", "/metrics").text

    assert 'lesion_requests_total{route="/v1/predictions",status="200"} 1.0' in text
    assert 'lesion_requests_total{route="unmatched",status="404"} 1.0' in text
    assert "0815" not in text


def test_what_was_answered_is_counted_by_version(gateway: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Classes, risk bands, strange images, open answers, photographs, and what each stage took."""
    strange = make_prediction(
        out_of_distribution=OutOfDistribution(detector="mahalanobis", score=20.0, threshold=16.5, is_outside=True),
        conformal_set=ConformalSet(codes=("NV",), coverage=0.9),
        quality=(make_finding(grade="reject"),),
        risk=None,
        timings_ms={"network": 12.0},
    )
    answers = [make_prediction(timings_ms={"decode": 3.0, "network": 30.0}), strange]

    async def predict(image: bytes, *, request_id: str, **given: Any) -> Prediction:
        return attrs.evolve(answers.pop(0), request_id=request_id)

    monkeypatch.setattr(gateway.engine, "predict", predict)
    gateway.engine.restarted = {"worker": 2, "torchserve": 1}
    gateway.ask()
    gateway.ask()

    text = gateway.send("GET", "/metrics").text.splitlines()

    assert {
        'lesion_risk_bands_total{band="high",version="3"} 1.0',
        'lesion_outside_total{version="3"} 1.0',
        'lesion_undecided_total{version="3"} 1.0',
        'lesion_quality_total{grade="ok",version="3"} 1.0',
        'lesion_quality_total{grade="reject",version="3"} 1.0',
        'lesion_stage_seconds_bucket{le="0.025",stage="network",version="3"} 1.0',
        'lesion_stage_seconds_count{stage="network",version="3"} 2.0',
        'lesion_stage_seconds_count{stage="decode",version="3"} 1.0',
        'lesion_restarts_total{part="worker"} 2.0',
        'lesion_restarts_total{part="torchserve"} 1.0',
        "lesion_expected_wait_seconds 0.0",
    } <= set(text)


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
