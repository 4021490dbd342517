"""Which status and which words each error leaves with. A reason inside the server stays in its log."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route

from lesion_core.errors import LesionError
from lesion_serve.atlas import AtlasError
from lesion_serve.engine.engine import (
    BusyError,
    DeadlineError,
    EngineDownError,
    EngineError,
    RefusedError,
    UnknownVersionError,
    WorkerDiedError,
)
from lesion_serve.gateway.admission import NotAdmittedError
from lesion_serve.gateway.body import TooLargeError, UploadTooSlowError
from lesion_serve.gateway.deployments import NoSuchVersionError
from lesion_serve.gateway.inputs import InputError
from lesion_serve.gateway.keys import AccessError
from lesion_serve.gateway.metrics import Metrics
from lesion_serve.gateway.problems import Problem, problem_response
from lesion_serve.gateway.recording import NotRecordedError
from lesion_serve.monitor.errors import MonitorError
from lesion_serve.store import StoreError

log = structlog.get_logger()

Handler = Callable[[Request, Exception], Awaitable[Response]]


class ForbiddenError(AccessError):
    """A valid key whose role does not allow this."""

    code = "forbidden"


def as_problem(error: LesionError) -> Problem:
    """What a client is told of an error."""
    match error:
        case RefusedError() | InputError():
            return Problem(error.status, error.code, error.message)
        case TooLargeError():
            return Problem(413, error.code, error.message, {"Connection": "close"})
        case UploadTooSlowError():
            return Problem(408, error.code, error.message, {"Connection": "close"})
        case ForbiddenError():
            return Problem(403, error.code, error.message)
        case AccessError(code="no_key" | "bad_key"):
            return Problem(401, error.code, error.message, {"WWW-Authenticate": "Bearer"})
        case NotAdmittedError():
            status = 503 if error.code == "busy" else 429
            return Problem(status, error.code, error.message, {"Retry-After": str(error.retry_after_s)})
        case DeadlineError():
            return Problem(504, error.code, "There was no answer in time. Try again.")
        case EngineDownError():
            return Problem(503, error.code, _NOT_NOW, {"Retry-After": "5"})
        case BusyError() | WorkerDiedError() | UnknownVersionError():
            return Problem(503, error.code, _NOT_NOW, {"Retry-After": "1"})
        case NotRecordedError(code="duplicate_request"):
            return Problem(409, error.code, error.message)
        case NotRecordedError(code="bad_record"):
            return Problem(500, error.code, error.message)
        case NotRecordedError(code="record_unknown"):
            return Problem(503, error.code, error.message)  # no time to come again: it is to be looked up first
        case NotRecordedError():
            return Problem(503, error.code, error.message, {"Retry-After": "5"})
        case StoreError(code="no_prediction"):
            return Problem(404, error.code, "There is no such prediction among those of this API key.")
        case StoreError(code="erased"):
            return Problem(409, error.code, error.message)
        case StoreError(code="bad_cursor"):
            return Problem(400, error.code, error.message)
        case AtlasError(code="no_atlas" | "no_features"):
            return Problem(404, error.code, error.message)
        case AtlasError():
            return Problem(503, error.code, "The reference images cannot be read. The reason is in the server's log.")
        case MonitorError(code="no_predictions"):
            return Problem(404, error.code, "Nothing was answered in these days. Ask for more of them with 'days'.")
        case NoSuchVersionError() | MonitorError():
            return Problem(404, error.code, error.message)
        case StoreError():
            return Problem(
                503, error.code, "The record of predictions cannot be used at the moment.", {"Retry-After": "5"}
            )
        case EngineError():
            return Problem(502, error.code, "The model gave no answer. The reason is in the server's log.")
        case _:
            return Problem(500, "internal", "The server could not process this request. The reason is in its log.")


_NOT_NOW = "The model cannot answer at the moment. Try again."


def unexpected_problem(error: Exception) -> Problem:
    """What a client is told of an error that nobody foresaw; the log has its traceback."""
    log.error("request_failed", kind=type(error).__name__, exc_info=error)
    return as_problem(LesionError(str(error)))


def add_error_handlers(app: Starlette, metrics: Metrics) -> None:
    """Let the errors of ``app`` leave as problem+json, counted and, where they are the server's, logged.

    Those that nobody foresaw are ``Around``'s, with ``unexpected_problem``: a handler of theirs runs outside of it.
    """

    def answered_by(make: Callable[[Request, Exception], Problem]) -> Handler:
        async def handle(request: Request, error: Exception) -> Response:
            told, request_id = make(request, error), request.state.request_id
            metrics.refused.labels(code=told.code).inc()
            if told.status >= 500:
                log.error(
                    "no_answer", request_id=request_id, code=told.code, reason=str(error), cause=str(error.__cause__)
                )
            return problem_response(told, request_id=request_id)

        return handle

    def of_ours(_: Request, error: Exception) -> Problem:
        assert isinstance(error, LesionError)
        return as_problem(error)

    def of_http(request: Request, error: Exception) -> Problem:
        assert isinstance(error, HTTPException)
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "bad_request")
        headers = dict(error.headers or {})
        if error.status_code == 405:  # Starlette names the methods of one of the routes only
            headers["Allow"] = ", ".join(sorted(_methods_at(app, request)))
        return Problem(error.status_code, code, str(error.detail), headers)

    app.add_exception_handler(LesionError, answered_by(of_ours))
    app.add_exception_handler(HTTPException, answered_by(of_http))


def _methods_at(app: Starlette, request: Request) -> set[str]:
    """Every method that some route takes at the address of a request."""
    return {
        method
        for route in app.routes
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE
        for method in route.methods or ()
    }
