"""Clients that send no end of a head, or nothing, on as many connections as they can: none of it is held for long."""

from __future__ import annotations

import asyncio
import json
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import attrs
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from lesion_core.processes import free_port
from lesion_serve.gateway.connection import ConnectionLimits, limited
from support.bundles import make_tiny_bundle
from support.gateway_programs import running_gateway

GET = b"GET / HTTP/1.1\r\nHost: gateway\r\n\r\n"
SLOW = GET.replace(b"/", b"/slow", 1)
SHORT_S, LONG_S = 0.2, 3600.0


@attrs.frozen(eq=False)
class Serving:
    """A server in a thread. ``go_on`` lets ``/slow`` answer."""

    address: tuple[str, int]
    refused: list[str]
    go_on: threading.Event

    def connect(self) -> socket.socket:
        """A new connection."""
        return socket.create_connection(self.address, timeout=60)

    def wait_for_clock(self) -> None:
        """As long as a head may take: a connection that says nothing is closed then, without a word."""
        with self.connect() as silent:
            assert silent.recv(1) == b""


@contextmanager
def serving(**limits: float) -> Iterator[Serving]:
    """A server with these limits."""
    go_on, refused = threading.Event(), list[str]()

    async def answer(_: Request) -> Response:
        return PlainTextResponse("an answer")

    async def slow(_: Request) -> Response:
        await asyncio.to_thread(go_on.wait)
        return PlainTextResponse("late")

    app = Starlette(routes=[Route("/", answer, methods=["GET", "POST"]), Route("/slow", slow)])
    given = ConnectionLimits(**{"head_s": LONG_S, **limits})  # type: ignore[arg-type]
    config = uvicorn.Config(app, http=limited(given, refused.append), ws="none", timeout_keep_alive=60, log_config=None)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield Serving(listening.getsockname(), refused, go_on)
        finally:
            go_on.set()
            server.should_exit = True
            thread.join()


def read_answer(client: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of one answer."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = client.recv(1)
        assert byte, f"closed after {head!r}"
        head += byte
    first, *lines = head.decode("latin-1").strip().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    body = b""
    while len(body) < int(headers["content-length"]):
        body += client.recv(4096)
    return int(first.split()[1]), headers, body


def assert_told(client: socket.socket, status: int, code: str) -> dict[str, str]:
    """A whole problem, after which the connection is closed; its headers."""
    found, headers, body = read_answer(client)
    told = json.loads(body)
    assert (found, told["status"], told["code"]) == (status, status, code)
    assert (headers["content-type"], headers["connection"]) == ("application/problem+json", "close")
    with closing(client), suppress(ConnectionResetError):  # where it still sent
        assert client.recv(1) == b""
    return headers


@pytest.mark.parametrize("begins", [b"GET / HTTP/1.1\r\nX-Endless: ", b"GET /", b"\r\n"])
def test_a_head_without_an_end_is_refused(begins: bytes) -> None:
    """Wherever it does not end; no more of it is held than the limit."""
    with serving(head_bytes=1024) as server:
        client = server.connect()
        client.sendall(begins)
        sent = 0
        while not select.select([client], [], [], 0)[0] and sent < 2**30:
            try:
                sent += client.send(b"\r\n" * 50 if begins == b"\r\n" else b"x" * 100)
            except (BrokenPipeError, ConnectionResetError):
                break

        assert_told(client, 431, "head_too_large")
        assert server.refused == ["head_too_large"]


def test_so_is_one_that_comes_at_once() -> None:
    """Whole, and above the limit; a body does not count."""
    with serving(head_bytes=1024) as server:
        for size, status in ((800, 200), (1200, 431)):
            with server.connect() as client:
                padding = b"X-Padding: " + b"x" * size + b"\r\nContent-Length: 100000\r\n\r\n"
                client.sendall(GET.replace(b"GET", b"POST").replace(b"\r\n\r\n", b"\r\n" + padding + b"x" * 100_000))
                assert read_answer(client)[0] == status


def test_a_head_byte_by_byte_is_given_up() -> None:
    """Each byte would start a timer that asks only whether something came."""
    with serving(head_s=SHORT_S) as server:
        client = server.connect()
        client.sendall(b"GET / HTTP/1.1\r\nX-Slow: ")
        while not select.select([client], [], [], 0.01)[0]:
            client.sendall(b"x")

        assert_told(client, 408, "head_too_slow")


def test_nor_is_a_connection_kept_that_says_nothing() -> None:
    """At its begin; no answer belongs to it."""
    with serving(head_s=SHORT_S) as server:
        server.wait_for_clock()

        assert server.refused == []


def test_a_later_head_has_as_much_time_as_the_first() -> None:
    """An answer before it buys nothing; and what came before it was no part of it."""
    with serving(head_s=SHORT_S, head_bytes=100) as server:
        client = server.connect()
        for _ in range(5):
            client.sendall(GET)
            assert read_answer(client)[0] == 200
        client.sendall(GET[:10])

        assert_told(client, 408, "head_too_slow")


def test_an_idle_connection_is_kept_between_requests() -> None:
    """Clients that keep one ask again minutes later."""
    with serving(head_s=SHORT_S) as server, server.connect() as client:
        for _ in range(2):
            client.sendall(GET)
            assert read_answer(client)[2] == b"an answer"
            server.wait_for_clock()


def test_an_answer_may_take_longer_than_a_head() -> None:
    """Also where the next head has begun meanwhile; its own time begins with the answer."""
    with serving(head_s=SHORT_S) as server:
        client = server.connect()
        client.sendall(SLOW + GET[:10])
        server.wait_for_clock()
        server.go_on.set()

        assert read_answer(client)[2] == b"late"
        assert_told(client, 408, "head_too_slow")


@pytest.mark.parametrize("is_sent", [True, False])
def test_the_rest_of_an_answered_body_has_its_time_too(is_sent: bool) -> None:
    """A client could send a byte of it now and then for ever; one that sends it may ask again."""
    with serving(head_s=SHORT_S) as server, server.connect() as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: gateway\r\nContent-Length: 1000\r\n\r\n")
        assert read_answer(client)[0] == 200
        if is_sent:
            client.sendall(b"x" * 1000)
            server.wait_for_clock()
            client.sendall(GET)
            assert read_answer(client)[0] == 200
        else:
            assert client.recv(1) == b""


def test_connections_have_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one above it is told when to come again; one that ends makes room."""
    with serving(connections=4) as server, ExitStack() as stack:
        kept = [stack.enter_context(server.connect()) for _ in range(4)]
        kept[-1].sendall(GET)
        assert read_answer(kept[-1])[0] == 200  # all of them are accepted by now
        assert assert_told(server.connect(), 503, "too_many_connections")["retry-after"] == "1"
        kept[0].close()
        assert _is_let_in(server)

        # Another host may have half of them.
        monkeypatch.setattr("lesion_serve.gateway.connection.is_loopback", lambda _: False)
        kept[1].close()
        kept[2].close()
        assert _is_let_in(server)
        other = stack.enter_context(server.connect())
        other.sendall(GET)
        assert read_answer(other)[0] == 200
        assert_told(server.connect(), 503, "too_many_connections")


def _is_let_in(server: Serving) -> bool:
    """In the end: the server sees a moment later that a connection was closed."""
    for _ in range(10_000):
        with server.connect() as client:
            try:
                client.sendall(GET)
                if read_answer(client)[0] == 200:
                    return True
            except (ConnectionResetError, BrokenPipeError):
                pass
    return False


def test_what_is_no_http_gets_a_problem() -> None:
    """As every error of the gateway."""
    with serving() as server:
        client = server.connect()
        client.sendall(b"\x16\x03\x01 is the begin of TLS\r\n\r\n")

        assert_told(client, 400, "bad_request")


def test_the_gateway_has_these_limits(tmp_path: Path) -> None:
    """Not only this test's server."""
    bundle = make_tiny_bundle(tmp_path / "tiny")
    port = free_port()
    with running_gateway(tmp_path, bundle.folder, port):
        client = socket.create_connection(("127.0.0.1", port), timeout=60)
        client.sendall(b"GET /healthz HTTP/1.1\r\nX-Endless: " + b"x" * 64 * 1024)

        assert_told(client, 431, "head_too_large")
