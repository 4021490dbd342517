"""What one connection may hold: a head of so many bytes, within so many seconds; and how many there are at once.

uvicorn bounds none of these. A client that sends a header without an end, a byte of it now and then, or nothing at all
on thousands of connections would hold memory and file descriptors for as long as it likes, and needs no key for it.
The body is the application's (see ``body``), but for what still comes after the answer: that is bounded here as well.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any, cast

import attrs
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from lesion_serve.gateway.problems import Problem, problem_response
from lesion_serve.gateway.settings import is_loopback

GONE_S = 2.0  # that a client has to take in the last answer


@attrs.frozen(kw_only=True)
class ConnectionLimits:
    """What connections may take.

    Attributes:
        head_bytes: of a request's line and headers.
        head_s: seconds from a new connection, or from the first byte of a later request, to the end of the head; and
            for what is left of a body whose request was answered already.
        connections: at the same time; one address other than loopback gets half of them.
    """

    head_bytes: int = 64 * 1024
    head_s: float = 10.0
    connections: int = 512


def limited(limits: ConnectionLimits, on_refusal: Callable[[str], object]) -> type[asyncio.Protocol]:
    """The protocol for ``uvicorn.Config(http=…)``.

    Args:
        limits: of its connections.
        on_refusal: called with the code of each problem that a connection is told.
    """
    made = partial(_Connection, limits=limits, on_refusal=on_refusal)
    return cast("type[asyncio.Protocol]", made)  # uvicorn only calls it


class _Connection(HttpToolsProtocol):
    """A connection is idle after an answer, or being answered, or has to come on with what it sends."""

    def __init__(self, *, limits: ConnectionLimits, on_refusal: Callable[[str], object], **given: Any) -> None:
        super().__init__(**given)
        self._limits = limits
        self._on_refusal = on_refusal
        self._is_in_head = True
        self._head_bytes = 0  # of the head that is coming
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Refuse one that is too many; else wait for a request."""
        super().connection_made(transport)
        if self._is_too_many():
            told = "As many connections are open as there is room for. Try again in 1 s."
            self._refuse(Problem(503, "too_many_connections", told, {"Retry-After": "1"}))
        self._mind_time()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._stop_clock()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read, and no more of a head than it may have."""
        while data and not self.transport.is_closing():
            piece = data
            if self._is_in_head:
                piece = data[: self._limits.head_bytes - self._head_bytes + 1]
                self._head_bytes += len(piece)
            super().data_received(piece)
            data = data[len(piece) :]
            if self._is_in_head and self._head_bytes > self._limits.head_bytes:
                told = f"The head of a request has {self._limits.head_bytes} bytes at most. Send shorter headers."
                self._refuse(Problem(431, "head_too_large", told))
        self._mind_time()

    def on_message_begin(self) -> None:
        """It is not idle, also where the begin came along with the end of the one before, uncounted."""
        self._head_bytes = self._head_bytes or 1
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """From here on it is the application's."""
        self._is_in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Another head may begin."""
        self._is_in_head, self._head_bytes = True, 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """It is idle, or has to come on with what it sends."""
        super().on_response_complete()
        self._mind_time()

    def send_400_response(self, msg: str) -> None:
        """As every problem is told."""
        self._refuse(Problem(400, "bad_request", f"{msg} Send HTTP/1.1 as RFC 9112 has it."))

    def _is_too_many(self) -> bool:
        most = self._limits.connections
        if len(self.connections) > most:
            return True
        if self.client is None or is_loopback(host := self.client[0]):
            return False
        return sum((getattr(one, "client", None) or ("",))[0] == host for one in self.connections) > most // 2

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _mind_time(self) -> None:
        """Let the clock run where the client has to come on, and only there."""
        is_idle = self.cycle is not None and self._is_in_head and not self._head_bytes
        if self.transport.is_closing() or self._is_answering or is_idle:
            self._stop_clock()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self._limits.head_s, self._give_up)
        if is_idle and not self._is_answering and self.timeout_keep_alive_task is None:
            # The rest of a body that nobody waited for has stopped uvicorn's own clock.
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _stop_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        if self._is_in_head and self._head_bytes:
            told = f"The head of the request was not whole after {self._limits.head_s:g} s. Send it at once."
            self._refuse(Problem(408, "head_too_slow", told))
        else:
            self._close()

    def _refuse(self, problem: Problem) -> None:
        """Tell it, unless another answer is on its way, and close."""
        self._on_refusal(problem.code)
        if not (self._is_answering and self.cycle.response_started):
            response = problem_response(problem, request_id=uuid.uuid4().hex)
            headers = [*self.server_state.default_headers, *response.raw_headers, (b"connection", b"close")]
            first = f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}\r\n".encode()
            lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
            self.transport.write(first + lines + b"\r\n" + bytes(response.body))
        self._close()

    def _close(self) -> None:
        self._stop_clock()
        self.transport.close()
        self.loop.call_later(GONE_S, self.transport.abort)
