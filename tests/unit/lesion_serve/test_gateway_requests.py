"""What a request to the gateway may hold: forms, what is known of the patient, and limits on bodies."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from lesion_core.wire import Problem
from lesion_serve.engine.engine import (
    RefusedError,
)
from support.gateways import IMAGE, JPEG, GatewayUnderTest, problem_of


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
    assert f'lesion_refused_total{{code="{code}"}}' in gateway.metrics.text().decode()
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
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
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
    headers = {"Content-Type": "application/json"}
    answer = gateway.send("POST", "/v1/predictions/some-id-1/feedback", content=b"x" * 70_000, headers=headers)

    assert answer.status_code == 413


def test_no_image_of_a_form_touches_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody would encrypt or erase what lies in a temporary file; large images are no exception."""
    written: list[object] = []
    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", lambda file: written.append(file))
    gateway = GatewayUnderTest(tmp_path, max_body_bytes=2**24)

    answer = gateway.send("POST", "/v1/predictions", files=[("images", ("a.jpg", IMAGE * 2**17, "image/jpeg"))] * 2)

    assert [item["status"] for item in answer.json()["items"]] == [200, 200]
    assert written == []
