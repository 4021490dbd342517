"""Ask TorchServe for a prediction, and tell apart what it means when it gives none."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from urllib.parse import quote

import aiohttp
import attrs

from lesion_core.errors import WireError
from lesion_core.wire import Prediction, Problem, answer_from_json, from_json
from lesion_serve.engine.engine import (
    BusyError,
    DeadlineError,
    EngineDownError,
    EngineError,
    RefusedError,
    UnknownVersionError,
    WorkerDiedError,
)

LONGEST_S = 600.0  # each request has a deadline of its own
_OURS = frozenset({"authorization", "content-type", "content-length", "host", "connection", "transfer-encoding"})


def prediction_url(port: int, name: str, version: str | None) -> str:
    """Where a version answers, or the default one."""
    path = "/".join(quote(part, safe="") for part in (name, version) if part is not None)
    return f"http://127.0.0.1:{port}/predictions/{path}"


class PredictionClient:
    """Keeps connections to one frontend. For the event loop that it is first used in.

    With aiohttp and not httpx: it is in the way of every answer, and its parser is compiled.
    """

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def predict(
        self,
        url: str,
        token: str,
        image: bytes,
        *,
        request_id: str,
        timeout_s: float,
        content_type: str | None,
        headers: Mapping[str, str],
    ) -> Prediction:
        """Ask for one prediction; see ``Engine.predict`` for the errors."""
        passed_on = {name: value for name, value in headers.items() if name.lower() not in _OURS}
        sent = {
            **passed_on,
            "Authorization": f"Bearer {token}",
            "Content-Type": content_type or "application/octet-stream",
            "X-Request-ID": request_id,
        }
        try:
            async with asyncio.timeout(timeout_s):
                async with self._connections().post(url, data=image, headers=sent) as answer:
                    status, body = answer.status, await answer.read()
        except TimeoutError as error:
            raise DeadlineError(f"No answer within {timeout_s:g} s.") from error
        except aiohttp.ClientError as error:
            raise EngineDownError(f"TorchServe is out of reach, or went away ({error!r}).") from error
        return read_answer(status, body, request_id)

    async def close(self) -> None:
        """Close the connections; a later question opens others."""
        ending, self._session = self._session, None
        if ending is not None:
            await ending.close()

    def _connections(self) -> aiohttp.ClientSession:
        """Here, since they belong to the event loop that runs."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                timeout=aiohttp.ClientTimeout(total=LONGEST_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            )
        return self._session


def read_answer(status: int, body: bytes, request_id: str) -> Prediction:
    """What TorchServe's answer means.

    Raises:
        RefusedError: the handler's own answer, or an image that TorchServe finds too large.
        BusyError: the queue is full, or there is no worker: TorchServe has one sentence for both.
        WorkerDiedError: the worker died, or was ended, with this request.
        EngineDownError: the token is not valid: it is that of an earlier start.
        UnknownVersionError: there is no such version.
        EngineError: anything else.
    """
    try:
        if status == 200:
            return attrs.evolve(answer_from_json(body), request_id=request_id)
        raise RefusedError(status, attrs.evolve(from_json(body, Problem), request_id=request_id))
    except WireError as error:
        if status == 200:
            raise EngineError(f"A worker's answer cannot be read: {error}", code="bad_answer") from error
    if status == 413:
        problem = Problem(code="too_many_bytes", message="The image file is too large.", request_id=request_id)
        raise RefusedError(status, problem)
    kind, message = _said(body)
    told = f"TorchServe answered {status}: {message}"
    if status == 503 and "has no worker" in message:
        raise BusyError(told)
    if status in (500, 507) and message.startswith(("Worker died", "Worker scaled down")):
        raise WorkerDiedError(told)
    if kind in ("ModelNotFoundException", "ModelVersionNotFoundException"):
        raise UnknownVersionError(None, ())
    if "Token" in message or kind == "InvalidKeyException":
        raise EngineDownError(told)
    raise EngineError(told)


def _said(body: bytes) -> tuple[str, str]:
    """Type and message of TorchServe's own JSON, or the text as the message."""
    try:
        said = json.loads(body)
        return str(said["type"]), str(said["message"])
    except (ValueError, KeyError, TypeError):
        return "", body.decode(errors="replace")[:300]
