"""A body that nobody needs: the answer does not wait for it, and is not lost because of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from starlette.types import Message

from lesion_serve.gateway import body
from lesion_serve.gateway.keys import Role
from support.gateways import JPEG, GatewayUnderTest, problem_of

LIMIT, PART = 1000, 100
PATH = "/v1/predictions"


class Sending:
    """A client in ASGI, without a key: sends a body in parts, and keeps the order of things."""

    def __init__(self, gateway: GatewayUnderTest, parts: int, **headers: str) -> None:
        self.events = list[str]()
        self._parts = parts
        asyncio.run(self._ask(gateway, {**JPEG, **headers}))

    async def _ask(self, gateway: GatewayUnderTest, headers: dict[str, str]) -> None:
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": "http", "method": "POST", "path": PATH, "raw_path": PATH.encode(), "query_string": b""}
        await gateway.app({**scope, "headers": raw}, self._receive, self._send)

    async def _receive(self) -> Message:
        if not self._parts:  # of a client that waits for something
            await asyncio.Event().wait()
        self._parts -= 1
        self.events.append("part")
        return {"type": "http.request", "body": b"x" * PART, "more_body": self._parts > 0}

    async def _send(self, message: Message) -> None:
        kind = message["type"].rpartition(".")[2]
        is_last = kind == "body" and not message.get("more_body", False)
        self.events.append(f"status {message['status']}" if kind == "start" else "end" if is_last else "answer")


@pytest.fixture
def guarded(tmp_path: Path) -> GatewayUnderTest:
    return GatewayUnderTest(tmp_path, with_keys=True, max_body_bytes=LIMIT)


def test_a_refusal_does_not_wait_for_the_body_which_is_passed_over(guarded: GatewayUnderTest) -> None:
    """Else the connection would be reset under a client that still sends, and it might never read why."""
    client = Sending(guarded, 3, **{"Content-Length": str(3 * PART)})

    assert client.events == ["status 401", "answer", *["part"] * 3, "end"]


@pytest.mark.parametrize("length", [{"Transfer-Encoding": "chunked"}, {"Content-Length": "1000000000"}])
def test_no_more_is_passed_over_than_a_request_may_have(guarded: GatewayUnderTest, length: dict[str, str]) -> None:
    """Strangers do not get to upload."""
    client = Sending(guarded, 1000, **length)

    assert client.events.count("part") == LIMIT / PART
    assert client.events[1:2] + client.events[-1:] == ["answer", "end"]


def test_a_client_that_asks_first_whether_to_send_is_not_waited_for(guarded: GatewayUnderTest) -> None:
    """curl does so with large files."""
    client = Sending(guarded, 3, **{"Content-Length": "300", "Expect": "100-continue"})

    assert client.events == ["status 401", "end"]


def test_nor_is_one_that_sends_no_more(guarded: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    """For long: the answer ends all the same."""
    monkeypatch.setattr(body, "LINGER_S", 0.05)

    assert Sending(guarded, 0, **{"Content-Length": "300"}).events == ["status 401", "answer", "end"]


def test_one_key_does_not_take_all_the_room(guarded: GatewayUnderTest) -> None:
    """It may send slowly and much; another key's image still gets in. What was held is given back."""
    greedy, other = ({**JPEG, "Authorization": f"Bearer {guarded.keys.create(n, Role.CLINICIAN)}"} for n in "ab")
    all_sent = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield b"x" * LIMIT
        await all_sent.wait()

    async def run() -> None:
        transport = httpx.ASGITransport(app=guarded.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000", timeout=60) as client:

            def ask(content: bytes | AsyncIterator[bytes], headers: dict[str, str]) -> asyncio.Task[httpx.Response]:
                return asyncio.create_task(client.post(PATH, content=content, headers=headers))

            kept = [ask(slowly(), greedy) for _ in range(body.BODIES_AT_ONCE)]
            refused = kept[body.BODIES_AT_ONCE // 2 :]
            told = await asyncio.gather(*refused)
            assert [(one.status_code, problem_of(one)["code"]) for one in told] == [(429, "too_many_requests")] * 2
            assert (await ask(b"x" * LIMIT, other)).status_code == 200
            all_sent.set()
            assert [one.status_code for one in await asyncio.gather(*kept)] == [200, 200, 429, 429]
            assert (await ask(b"x" * LIMIT, greedy)).status_code == 200

    asyncio.run(run())
