"""Why there is no answer from the service: a code, and a sentence with the next step."""

from __future__ import annotations

import json

import httpx

from lesion_core.errors import LesionError, WireError
from lesion_core.wire import Problem, from_json

_ASK = "If it stays so, ask whoever runs Lesion here; the reason is in the log of the service."


class ServiceError(LesionError):
    """No answer from the prediction service.

    Codes: ``bad_endpoint`` (address or token cannot be used), ``unreachable``, ``timed_out``, ``refused`` (token or
    key), ``forbidden`` (the key's role, or not from here), ``busy``, ``rejected`` (the image or request; ``problem``
    says why), ``no_model`` (at this address), ``not_found`` (what was asked for), ``failed``, ``not_understood``.
    ``status`` is the HTTP status where there was one; ``problem`` what the service said in our own words.
    """

    code = "failed"

    def __init__(self, message: str, *, code: str, status: int | None = None, problem: Problem | None = None) -> None:
        super().__init__(message, code=code)
        self.status = status
        self.problem = problem


def timed_out(url: str, wait_s: float) -> ServiceError:
    """No answer in time."""
    return ServiceError(
        f"The service at {url} gave no answer within {wait_s:g} s. It may be starting or busy: "
        f"wait a moment and try again. {_ASK}",
        code="timed_out",
    )


def unreachable(url: str) -> ServiceError:
    """Nobody listens there."""
    return ServiceError(
        f"No prediction service answers at {url}. Start it with 'lesion-serve start', or correct the address.",
        code="unreachable",
    )


def not_understood(response: httpx.Response, reason: str) -> ServiceError:
    """An answer that is not one of this release."""
    return ServiceError(
        f"What answers at {response.url.copy_with(query=None)} is not a prediction service of this release: {reason}",
        code="not_understood",
        status=response.status_code,
    )


def refusal(response: httpx.Response) -> ServiceError:
    """Everything but 200: in our own words where the service uses them, else by status (TorchServe's own answers)."""
    status, url = response.status_code, response.url.copy_with(query=None)
    problem = _problem(response)
    reason = problem.message if problem is not None else _foreign_reason(response)
    if status == 403 and problem is not None:
        code, message = "forbidden", problem.message
    elif status in (401, 403) or (status == 400 and problem is None and "token" in reason.lower()):
        code = "refused"
        message = (
            "The prediction service did not accept the app's token: it is wrong, or the service was started anew "
            "since. Try again; an app that was given its token by hand has to be started again with the current one."
        )
    elif status in (429, 503):
        code = "busy"
        message = (
            "The prediction service cannot take the image now: it is busy, or its model is still loading. "
            f"Wait a few seconds and try again. {_ASK}"
        )
    elif status in (404, 405) and (problem is None or problem.code in ("not_found", "method_not_allowed")):
        code = "no_model"
        message = (
            f"A service answers at {url}, but there is no model at this address. "
            "Correct the address, or start the service again with 'lesion-serve start'."
        )
    elif status == 404 and problem is not None:
        code, message = "not_found", problem.message
    elif status == 413:
        code = "rejected"
        message = "The image has more bytes than the prediction service accepts. Use a smaller file."
    elif 400 <= status < 500:
        code = "rejected"
        message = f"The prediction service did not accept the image: {reason or f'HTTP status {status}, no reason.'}"
    elif status >= 500:
        code = "failed"
        message = f"The prediction service failed on this image (HTTP status {status}). Try again. {_ASK}"
    else:
        code = "not_understood"
        message = f"What answers at {url} is not a prediction service (HTTP status {status}). Correct the address."
    if problem is not None and code in ("busy", "failed", "rejected"):
        message = problem.message
    return ServiceError(message, code=code, status=status, problem=problem)


def _problem(response: httpx.Response) -> Problem | None:
    try:
        return from_json(response.content, Problem)
    except WireError:
        return None


def _foreign_reason(response: httpx.Response) -> str:
    """The ``type`` and ``message`` of an answer of TorchServe itself, or nothing."""
    try:
        data = json.loads(response.content)
    except ValueError:
        return ""
    if not isinstance(data, dict):
        return ""
    return " ".join(str(data[key]) for key in ("type", "message") if isinstance(data.get(key), str))[:300]
