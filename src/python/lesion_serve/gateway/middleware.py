"""Around every request: an id, a limit on its size, an answer whatever fails, a line in the log, counters. In ASGI."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lesion_core.errors import LesionError
from lesion_serve.gateway.metrics import Metrics
from lesion_serve.gateway.problems import Problem, problem_response

REQUEST_ID = "X-Request-ID"
CLIENT_WENT_AWAY = 499  # as nginx counts it
# Begins as the record wants its ids to begin.
_GOOD_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{7,63}")

log = structlog.get_logger()


class TooLargeError(LesionError):
    """A body of more bytes than the gateway takes."""

    code = "too_many_bytes"

    def __init__(self, limit: int) -> None:
        super().__init__(f"A request may have {limit / 2**20:.0f} MiB at most. Send fewer or smaller images.")


class Around:
    """Gives every request its id: the client's own where it is a good one, else a new one."""

    def __init__(
        self, app: ASGIApp, *, metrics: Metrics, max_body_bytes: int, unexpected: Callable[[Exception], Problem]
    ) -> None:
        """Wrap an application.

        Args:
            app: answers; an error that leaves it is answered here.
            metrics: counts.
            max_body_bytes: of one request.
            unexpected: what a client is told of such an error.
        """
        self._app = app
        self._unexpected = unexpected
        self._metrics = metrics
        self._limit = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        offered = headers.get(REQUEST_ID.lower(), "")
        is_named = _GOOD_ID.fullmatch(offered) is not None
        request_id = offered if is_named else uuid.uuid4().hex
        scope.setdefault("state", {}).update(request_id=request_id, is_named=is_named)
        status, has_begun, started = 500, False, time.perf_counter()

        async def send_with_id(message: Message) -> None:
            nonlocal status, has_begun
            if message["type"] == "http.response.start":
                status, has_begun = message["status"], True
                message["headers"] = [*message["headers"], (REQUEST_ID.lower().encode(), request_id.encode())]
            await send(message)

        try:
            declared = headers.get("content-length", "0")
            if declared.isdigit() and int(declared) > self._limit:
                error = TooLargeError(self._limit)
                told = Problem(413, error.code, error.message, {"Connection": "close"})
                answer = problem_response(told, request_id=request_id)
                await answer(scope, receive, send_with_id)
            else:
                await self._app(scope, self._limited(receive), send_with_id)
        except ClientDisconnect:
            status = CLIENT_WENT_AWAY  # in the middle of its request: there is nobody to answer
        except Exception as error:
            told = self._unexpected(error)
            self._metrics.refused.labels(code=told.code).inc()
            if has_begun:
                raise
            await problem_response(told, request_id=request_id)(scope, receive, send_with_id)
        finally:
            seconds = time.perf_counter() - started
            # The route's pattern: a path may hold an id, and a counter for each id would never end.
            route = getattr(scope.get("route"), "path", "unmatched")
            self._metrics.requests.labels(route=route, status=str(status)).inc()
            self._metrics.request_seconds.labels(route=route).observe(seconds)
            log.info(
                "request",
                request_id=request_id,
                method=scope["method"],
                route=route,
                status=status,
                ms=round(1000 * seconds, 1),
                key=scope["state"].get("key_id"),
            )

    def _limited(self, receive: Receive) -> Receive:
        """A body without a declared length is counted as it comes."""
        taken = 0

        async def limited() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._limit:
                raise TooLargeError(self._limit)
            return message

        return limited
