"""What an answer of TorchServe means, with answers as TorchServe 0.12 gives them."""

from __future__ import annotations

import json

import pytest

from lesion_core.wire import Prediction, Problem, to_json
from lesion_serve.engine.engine import (
    BusyError,
    EngineDownError,
    EngineError,
    RefusedError,
    UnknownVersionError,
    WorkerDiedError,
)
from lesion_serve.engine.torchserve_client import prediction_url, read_answer
from support.predictions import make_prediction


def said(status: int, kind: str, message: str) -> bytes:
    return json.dumps({"code": status, "type": kind, "message": message}).encode()


def test_a_prediction_carries_the_id_of_the_request() -> None:
    """TorchServe gives each request an id of its own."""
    body = to_json(make_prediction(request_id="of TorchServe")).encode()

    answer = read_answer(200, body, "ours")

    assert isinstance(answer, Prediction)
    assert answer.request_id == "ours"


@pytest.mark.parametrize("status", [400, 413, 415, 422, 500])
def test_a_problem_of_the_handler_is_passed_on_with_its_status(status: int) -> None:
    """Also a 500 of its own: the worker lives."""
    body = to_json(Problem(code="some_code", message="A sentence.", request_id="of TorchServe")).encode()

    with pytest.raises(RefusedError, match="A sentence") as caught:
        read_answer(status, body, "ours")

    assert (caught.value.status, caught.value.code) == (status, "some_code")
    assert caught.value.problem.request_id == "ours"


NO_WORKER = 'Model "skin_vit" Version 5 has no worker to serve inference request. Please use scale workers API to add.'


@pytest.mark.parametrize(
    ("status", "body", "kind", "code"),
    [
        (503, said(503, "ServiceUnavailableException", NO_WORKER), BusyError, "busy"),
        (507, said(507, "InternalServerException", "Worker died."), WorkerDiedError, "worker_died"),
        (500, said(500, "InternalServerException", "Worker died."), WorkerDiedError, "worker_died"),
        (500, said(500, "InternalServerException", "Worker scaled down."), WorkerDiedError, "worker_died"),
        (503, said(503, "InternalServerException", "Prediction failed"), EngineError, "engine_failed"),
        (404, said(404, "ModelNotFoundException", "Model not found: x"), UnknownVersionError, "unknown_version"),
        (404, said(404, "ModelVersionNotFoundException", "Model version"), UnknownVersionError, "unknown_version"),
        (400, said(400, "InvalidKeyException", "Token Authorization failed. x"), EngineDownError, "engine_down"),
        (413, b"", RefusedError, "too_many_bytes"),
        (502, b"<html>", EngineError, "engine_failed"),
        (200, b'{"schema_version": 99}', EngineError, "bad_answer"),
    ],
)
def test_what_torchserve_says_itself_is_told_apart(
    status: int, body: bytes, kind: type[EngineError], code: str
) -> None:
    """So that a gateway knows whether to ask once more, to wait, or to give up."""
    with pytest.raises(EngineError) as caught:
        read_answer(status, body, "r")

    assert type(caught.value) is kind
    assert caught.value.code == code


def test_a_version_has_an_address_of_its_own() -> None:
    """And the default one answers without it."""

    assert prediction_url(8080, "skin_vit", None) == "http://127.0.0.1:8080/predictions/skin_vit"
    assert prediction_url(8080, "skin_vit", "a/b") == "http://127.0.0.1:8080/predictions/skin_vit/a%2Fb"
