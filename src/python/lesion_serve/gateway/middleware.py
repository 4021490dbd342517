"""Around every request: an id, a limit on its size, an answer whatever fails, a line in the log, counters. In ASGI."""

from __future__ import annotations

import re
import time
import uuid

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lesion_serve.gateway.body import Body, Room, TooLargeError
from lesion_serve.gateway.errors import as_problem, unexpected_problem
from lesion_serve.gateway.metrics import Metrics
from lesion_serve.gateway.problems import problem_response

REQUEST_ID = "X-Request-ID"
UPLOAD_S = 60.0
CLIENT_WENT_AWAY = 499  # as nginx counts it
# Begins as the record wants its ids to begin.
GOOD_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{7,63}")

log = structlog.get_logger()


class Around:
    """Gives every request its id: the client's own where it is a good one, else a new one."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        metrics: Metrics,
        max_body_bytes: int,
        upload_s: float,
    ) -> None:
        """Wrap an application.

        Args:
            app: answers; an error that leaves it is answered here.
            metrics: counts.
            max_body_bytes: of one request; see ``Room`` for all that are held at the same time.
            upload_s: seconds that a body may take, from when somebody wants it.
        """
        self._app = app
        self._metrics = metrics
        self._limit = max_body_bytes
        self._upload_s = upload_s
        self._room = Room(max_body_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        offered = headers.get(REQUEST_ID.lower(), "")
        is_named = GOOD_ID.fullmatch(offered) is not None
        request_id = offered if is_named else uuid.uuid4().hex
        scope.setdefault("state", {}).update(request_id=request_id, is_named=is_named)
        status, has_begun, started, answered = 500, False, time.perf_counter(), 0.0

        async def send_after_body(message: Message) -> None:
            nonlocal status, has_begun, answered
            if message["type"] == "http.response.start":
                status, has_begun = message["status"], True
                message["headers"] = [*message["headers"], (REQUEST_ID.lower().encode(), request_id.encode())]
            elif not message.get("more_body", False) and body.is_coming:
                await send({**message, "more_body": True})
                answered = time.perf_counter()
                await body.pass_over(self._limit)
                message = {"type": message["type"], "body": b""}
            await send(message)

        with self._room.request(lambda: scope["state"].get("key_id")) as hold:
            body = Body(receive, headers, hold=hold, wait_s=self._upload_s)
            try:
                declared = headers.get("content-length", "0")
                if declared.isdecimal() and int(declared) > self._limit:
                    told = as_problem(TooLargeError(self._limit))
                    self._metrics.refused.labels(code=told.code).inc()
                    await problem_response(told, request_id=request_id)(scope, receive, send_after_body)
                else:
                    await self._app(scope, body.receive, send_after_body)
            except ClientDisconnect:
                status = CLIENT_WENT_AWAY  # in the middle of its request: there is nobody to answer
            except Exception as error:
                told = unexpected_problem(error)
                self._metrics.refused.labels(code=told.code).inc()
                if has_begun:
                    raise
                await problem_response(told, request_id=request_id)(scope, receive, send_after_body)
            finally:
                self._note(scope, request_id, status, (answered or time.perf_counter()) - started)

    def _note(self, scope: Scope, request_id: str, status: int, seconds: float) -> None:
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
