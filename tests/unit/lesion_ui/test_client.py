"""The client, against a service that behaves and one that does not."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lesion_core.errors import LesionError
from lesion_core.processes import free_port
from lesion_core.wire import Problem
from lesion_core.workspace import Endpoint, Workspace
from lesion_ui.client import CERTIFICATE_VARIABLE, TOKEN_VARIABLE, URL_VARIABLE, GatewayClient, find_endpoint
from lesion_ui.refusals import ServiceError
from support.fake_service import TOKEN, FakeService, make_prediction
from support.kept import make_caller

TORCHSERVE_BUSY = (
    '{"code": 503, "type": "ServiceUnavailableException", "message": "Model \\"skin_vit\\" has no worker"}'
)


def ask(service: FakeService, data: bytes = b"image", timeout_s: float = 20) -> ServiceError:
    """Ask, and expect an error."""
    with pytest.raises(ServiceError) as caught:
        GatewayClient(service.endpoint, timeout_s=timeout_s).predict(data)
    return caught.value


def test_an_answer_is_the_prediction_that_was_sent(service: FakeService) -> None:
    """And the service got the very bytes, with the token."""
    answer = GatewayClient(service.endpoint).predict(b"the image")

    assert answer == make_prediction()
    assert service.requests == [b"the image"]
    assert service.headers["Authorization"] == f"Bearer {TOKEN}"


def test_a_proxy_of_the_environment_is_not_used(service: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image never takes a detour."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)

    assert GatewayClient(service.endpoint).predict(b"image").top.code == "MEL"


def test_a_service_that_is_down_is_unreachable() -> None:
    """The sentence has the address and the next step."""
    endpoint = Endpoint(url=f"http://127.0.0.1:{free_port()}/predictions/skin_vit", token=TOKEN)
    with pytest.raises(ServiceError, match="lesion-serve start") as caught:
        GatewayClient(endpoint).predict(b"image")

    assert caught.value.code == "unreachable"
    assert endpoint.url in caught.value.message


def test_a_service_that_hangs_is_a_timeout(service: FakeService) -> None:
    """Named, with the seconds it waited."""
    service.hang = True
    error = ask(service, timeout_s=0.2)

    assert error.code == "timed_out"
    assert "0.2 s" in error.message


def test_a_wrong_token_is_refused(service: FakeService) -> None:
    """As TorchServe says it: with status 400."""
    with pytest.raises(ServiceError) as caught:
        GatewayClient(Endpoint(url=service.endpoint.url, token="stale")).predict(b"image")

    assert caught.value.code == "refused"
    assert "stale" not in caught.value.message


def test_a_rejected_image_keeps_the_words_of_the_service(service: FakeService) -> None:
    """And its problem, with the code."""
    problem = Problem(code="too_small", message="The image is 8 x 8 pixels; each side needs at least 32.")
    service.answer(problem, status=422)
    error = ask(service)

    assert error.code == "rejected"
    assert error.message == problem.message
    assert error.problem == problem


@pytest.mark.parametrize(
    ("status", "problem", "code"),
    [
        (409, "model_did_not_load", "rejected"),
        (403, "foreign_request", "forbidden"),
        (403, "forbidden", "forbidden"),
    ],
)
def test_a_refusal_of_the_gateway_keeps_its_words(service: FakeService, status: int, problem: str, code: str) -> None:
    """They say what still serves, or how to ask; another token would not help."""
    service.answer(Problem(code=problem, message="The server goes on with version 2."), status=status)
    error = ask(service)

    assert (error.code, error.message) == (code, "The server goes on with version 2.")


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (503, TORCHSERVE_BUSY, "busy"),
        (503, "", "busy"),
        (429, "slow down", "busy"),
        (404, '{"code": 404, "type": "ModelNotFoundException", "message": "Model not found: skin_vit"}', "no_model"),
        (405, '{"code": 405, "type": "MethodNotAllowedException", "message": "No"}', "no_model"),
        (413, "", "rejected"),
        (400, '{"code": 400, "type": "BadRequestException", "message": "Malformed"}', "rejected"),
        (400, "[1, 2]", "rejected"),
        (401, "", "refused"),
        (403, "", "refused"),
        (500, '{"code": 500, "type": "InternalServerException", "message": "Worker died."}', "failed"),
        (507, "Worker died.", "failed"),
        (302, "", "not_understood"),
        (204, "", "not_understood"),
        (200, "<html>hello</html>", "not_understood"),
        (200, '{"schema_version": 2}', "not_understood"),
    ],
)
def test_what_the_server_itself_says_becomes_a_sentence(
    service: FakeService, status: int, body: str, code: str
) -> None:
    """One that says what to do next, without the server's own words for programmers."""
    service.status, service.body = status, body
    error = ask(service)

    assert (error.code, error.status) == (code, status)
    assert error.message.endswith(".") or status == 400
    assert "InternalServerException" not in error.message
    assert "Exception: " not in error.message


@given(status=st.integers(200, 599), body=st.binary(max_size=200))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_answer_is_a_prediction_or_a_named_error(service: FakeService, status: int, body: bytes) -> None:
    """Whatever the bytes and the status."""
    service.status, service.body = status, body

    assert ask(service).message


@pytest.mark.parametrize(
    "url", ["", "nonsense", "ftp://127.0.0.1/x", "http://", "http://[::1", "http://127.0.0.1:99999/"]
)
def test_an_address_that_is_none_is_named(url: str) -> None:
    """Before anything is sent."""
    with pytest.raises(ServiceError) as caught:
        GatewayClient(Endpoint(url=url, token=TOKEN)).predict(b"image")

    assert caught.value.code == "bad_endpoint"


@pytest.mark.parametrize("token", ["", "two words", "line\nbreak", "schlüssel"])
def test_a_token_that_is_none_is_named_but_not_shown(token: str) -> None:
    """It may be a secret with a slip."""
    with pytest.raises(ServiceError) as caught:
        GatewayClient(Endpoint(url="http://127.0.0.1:1/", token=token)).predict(b"image")

    assert caught.value.code == "bad_endpoint"
    assert not token or token not in caught.value.message


def test_the_endpoint_comes_from_the_environment_first(tmp_path: Path) -> None:
    """Then from the file that the server wrote."""
    workspace = Workspace(tmp_path)
    written = Endpoint(url="http://127.0.0.1:1/a", token="a")
    written.save(workspace.endpoint)

    assert find_endpoint({}, workspace) == written
    assert find_endpoint({TOKEN_VARIABLE: "alone"}, workspace) == written
    given_ = {URL_VARIABLE: "http://127.0.0.1:2/b", TOKEN_VARIABLE: "b"}
    assert find_endpoint(given_, workspace) == Endpoint(url="http://127.0.0.1:2/b", token="b")
    trusting = find_endpoint({**given_, CERTIFICATE_VARIABLE: "/c.pem"}, workspace)
    assert trusting.certificate == "/c.pem"


def test_a_certificate_that_cannot_be_read_is_named() -> None:
    """Before anything is sent."""
    with pytest.raises(ServiceError, match=r"/no/c\.pem") as caught:
        GatewayClient(Endpoint(url="https://127.0.0.1:1/", token=TOKEN, certificate="/no/c.pem")).predict(b"image")

    assert caught.value.code == "bad_endpoint"


@pytest.mark.parametrize(
    ("environment", "code"), [({}, "no_endpoint"), ({URL_VARIABLE: "http://127.0.0.1:2/b"}, "no_key")]
)
def test_no_endpoint_is_a_named_error(environment: dict[str, str], code: str, tmp_path: Path) -> None:
    """An address without a key asks the user for one."""
    with pytest.raises(LesionError) as caught:
        find_endpoint(environment, Workspace(tmp_path))

    assert caught.value.code == code


def test_the_key_of_a_user_goes_before_the_apps_own(tmp_path: Path) -> None:
    """At the address of the environment and at that of the file."""
    workspace = Workspace(tmp_path)
    Endpoint(url="http://127.0.0.1:1/a", token="a").save(workspace.endpoint)
    environment = {URL_VARIABLE: "http://127.0.0.1:2/b", TOKEN_VARIABLE: "b"}

    assert find_endpoint({}, workspace, key="mine") == Endpoint(url="http://127.0.0.1:1/a", token="mine")
    assert find_endpoint(environment, workspace, key="mine") == Endpoint(url="http://127.0.0.1:2/b", token="mine")


def test_what_is_known_of_the_patient_goes_along(service: FakeService) -> None:
    """As the headers that the gateway reads."""
    GatewayClient(service.endpoint).predict(b"image", metadata={"age_approx": 55}, heat_map=True, subject="P-1")

    sent = {name.lower(): value for name, value in service.headers.items()}
    assert sent["x-lesion-metadata"] == '{"age_approx": 55}'
    assert (sent["x-lesion-heat-map"], sent["x-lesion-subject"]) == ("true", "P-1")


def test_every_route_gives_the_value_that_the_gateway_sent(service: FakeService) -> None:
    """One method each."""
    client = GatewayClient(service.endpoint)

    assert client.caller() == service.caller
    assert client.label() == service.label
    assert client.versions() == service.versions
    assert client.monitoring(30) == service.report
    assert client.evaluation("3") == service.evaluation
    assert client.card("3") == service.card
    assert client.record("req-0001") == service.record("req-0001")
    assert client.predictions(limit=5).items == tuple(service.lines[:5])
    assert client.promote("4", why="better") == service.versions
    assert client.roll_back(why="worse") == service.versions
    assert service.said == [
        {"action": "promote", "version": "4", "why": "better"},
        {"action": "rollback", "why": "worse"},
    ]


def test_feedback_says_how_the_diagnosis_is_known_only_for_histology(service: FakeService) -> None:
    """Without a word it is clinical."""
    client = GatewayClient(service.endpoint)
    client.give_feedback("req-0001", verdict="agree", diagnosis=None, comment=None, is_histology=False)
    client.give_feedback("req-0001", verdict="other", diagnosis="NV", comment="seen", is_histology=True)

    assert service.said == [
        {"verdict": "agree"},
        {"verdict": "other", "diagnosis": "NV", "comment": "seen", "source": "histology"},
    ]


@pytest.mark.parametrize(
    ("permissions", "route", "code"), [(("predict",), "monitoring", "forbidden"), ((), "record", "not_found")]
)
def test_what_a_key_may_not_see_is_named(
    service: FakeService, permissions: tuple[str, ...], route: str, code: str
) -> None:
    """The role, or that there is no such prediction for it."""
    service.caller = make_caller(permissions)
    client = GatewayClient(service.endpoint)
    with pytest.raises(ServiceError) as caught:
        client.monitoring(7) if route == "monitoring" else client.record("another/../one")

    assert caught.value.code == code


def test_a_gateway_that_does_not_say_who_asks_is_given_up_soon(service: FakeService) -> None:
    """Every page waits for it: 1.5 s, whatever an image may take."""
    service.hang = True
    with pytest.raises(ServiceError, match=r"within 1\.5 s"):
        GatewayClient(service.endpoint).caller()
