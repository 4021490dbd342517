"""How a gateway ends: whoever is connected by then is answered."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from lesion_serve.gateway.ending import GRACE_S, Server

REQUEST = b"GET / HTTP/1.1\r\nHost: gateway\r\n\r\n"


async def _answer(_: Request) -> Response:
    return PlainTextResponse("an answer")


async def _end_with(clients: int, *, says: bytes) -> list[bytes]:
    """What clients get that the kernel has connected, and that the server has not seen when it ends."""
    config = uvicorn.Config(Starlette(routes=[Route("/", _answer)]), timeout_graceful_shutdown=GRACE_S, log_config=None)
    config.load()
    server = Server(config, lambda: None)
    server.lifespan = config.lifespan_class(config)
    with socket.create_server(("127.0.0.1", 0)) as listening, contextlib.ExitStack() as stack:
        await server.startup([listening])
        address = listening.getsockname()
        connected = [stack.enter_context(socket.create_connection(address, timeout=60)) for _ in range(clients)]
        for one in connected:
            one.sendall(says)
        await server.shutdown([listening])
        return [_read(one) for one in connected]


def _read(connected: socket.socket) -> bytes:
    with connected.makefile("rb") as stream:
        return stream.read()


def test_connections_that_nobody_has_accepted_are_answered() -> None:
    """The kernel would reset them with the socket that listens."""
    answers = asyncio.run(_end_with(3, says=REQUEST))

    assert [answer.splitlines()[0] for answer in answers] == [b"HTTP/1.1 200 OK"] * 3
    assert all(answer.endswith(b"an answer") for answer in answers)


def test_a_connection_that_says_nothing_does_not_keep_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is closed without a word after the time for a request to come."""
    monkeypatch.setattr("lesion_serve.gateway.ending.ON_ITS_WAY_S", 0.2)

    assert asyncio.run(_end_with(1, says=b"")) == [b""]
