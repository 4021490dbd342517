"""Around every request: an id, a limit on its size, an answer whatever fails, a line in the log, counters. In ASGI."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lesion_core.errors import LesionError
from lesion_serve.gateway.admission import NotAdmittedError
from lesion_serve.gateway.metrics import Metrics
from lesion_serve.gateway.problems import Problem, problem_response

REQUEST_ID = "X-Request-ID"
UPLOAD_S = 60.0
BODIES_AT_ONCE = 4
CLIENT_WENT_AWAY = 499  # as nginx counts it
# Begins as the record wants its ids to begin.
_GOOD_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{7,63}")

log = structlog.get_logger()


class TooLargeError(LesionError):
    """A body of more bytes than the gateway takes."""

    code = "too_many_bytes"

    def __init__(self, limit: int) -> None:
        super().__init__(f"A request may have {limit / 2**20:g} MiB at most. Send fewer or smaller images.")


class UploadTooSlowError(LesionError):
    """A body that was not whole in time."""

    code = "upload_too_slow"

    def __init__(self, seconds: float) -> None:
        super().__init__(f"The request was not whole after {seconds:g} s. Send fewer or smaller images.")


class Around:
    """Gives every request its id: the client's own where it is a good one, else a new one."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        metrics: Metrics,
        max_body_bytes: int,
        upload_s: float,
        unexpected: Callable[[Exception], Problem],
    ) -> None:
        """Wrap an application.

        Args:
            app: answers; an error that leaves it is answered here.
            metrics: counts.
            max_body_bytes: of one request; ``BODIES_AT_ONCE`` times as many of all that are held at the same time.
            upload_s: seconds that a body may take, from when somebody wants it.
            unexpected: what a client is told of such an error.
        """
        self._app = app
        self._unexpected = unexpected
        self._metrics = metrics
        self._limit = max_body_bytes
        self._upload_s = upload_s
        self._held = 0

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
                with self._held_bytes() as hold:
                    await self._app(scope, self._limited(receive, hold), send_with_id)
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

    @contextmanager
    def _held_bytes(self) -> Iterator[Callable[[int], None]]:
        """Counts what a request holds in memory until it has been answered."""
        held = 0

        def hold(size: int) -> None:
            nonlocal held
            held += size
            self._held += size
            if held > self._limit:
                raise TooLargeError(self._limit)
            if self._held > BODIES_AT_ONCE * self._limit:
                raise NotAdmittedError(
                    "The server holds as many images as it has room for. Try again in 1 s.",
                    retry_after_s=1,
                    code="busy",
                )

        try:
            yield hold
        finally:
            self._held -= held

    def _limited(self, receive: Receive, hold: Callable[[int], None]) -> Receive:
        """A body is counted as it comes, whatever length was declared, and has to come in time."""
        deadline, is_whole = 0.0, False

        async def limited() -> Message:
            nonlocal deadline, is_whole
            if is_whole:
                return await receive()
            now = asyncio.get_running_loop().time()
            deadline = deadline or now + self._upload_s
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError as error:
                raise UploadTooSlowError(self._upload_s) from error
            is_whole = not message.get("more_body", False)
            hold(len(message.get("body", b"")))
            return message

        return limited
