"""Talk to the prediction service: image bytes out, a ``Prediction`` or a named error back."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from typing import Literal

import attrs
import httpx

from lesion_core.errors import LesionError, WireError
from lesion_core.wire import Prediction, Problem, from_json
from lesion_core.workspace import Endpoint, Workspace

URL_VARIABLE = "LESION_ENDPOINT_URL"
TOKEN_VARIABLE = "LESION_ENDPOINT_TOKEN"  # noqa: S105 - the name of the variable, not a token
CERTIFICATE_VARIABLE = "LESION_ENDPOINT_CERTIFICATE"
TIMEOUT_S = 30.0

_ASK = "If it stays so, ask whoever runs Lesion here; the reason is in the log of the service."


class ServiceError(LesionError):
    """No answer from the prediction service.

    Codes: ``bad_endpoint`` (address, token or certificate cannot be used), ``unreachable``, ``timed_out``,
    ``refused`` (token), ``busy``, ``rejected`` (the image; ``problem`` says why), ``no_model``, ``failed``,
    ``not_understood``.
    ``status`` is the HTTP status where there was one; ``problem`` what the service said in our own words.
    """

    code = "failed"

    def __init__(self, message: str, *, code: str, status: int | None = None, problem: Problem | None = None) -> None:
        super().__init__(message, code=code)
        self.status = status
        self.problem = problem


def find_endpoint(environment: Mapping[str, str], workspace: Workspace) -> Endpoint:
    """Where predictions are served: the variables if address and token are set, else what ``lesion-serve`` wrote.

    Raises:
        LesionError: ``no_endpoint``: neither is there.
    """
    url, token = environment.get(URL_VARIABLE), environment.get(TOKEN_VARIABLE)
    if not url:
        return Endpoint.load(workspace.endpoint)
    if not token:
        raise LesionError(
            f"{URL_VARIABLE} is set, but {TOKEN_VARIABLE} is not: set both, or neither to use {workspace.endpoint}.",
            code="no_endpoint",
        )
    return Endpoint(url=url, token=token, certificate=environment.get(CERTIFICATE_VARIABLE) or None)


@attrs.frozen
class PredictionClient:
    """Asks one endpoint. ``timeout_s`` limits each wait: for the connection, and for the answer.

    Proxies of the environment are never used: images go to the given address and nowhere else.
    """

    endpoint: Endpoint
    timeout_s: float = attrs.field(default=TIMEOUT_S, validator=attrs.validators.gt(0))

    def predict(self, data: bytes) -> Prediction:
        """Send the bytes of one image.

        Raises:
            ServiceError: for everything but an answer; nothing else is raised.
        """
        url = self.endpoint.url
        _require_usable(self.endpoint)
        headers = {
            "Authorization": f"Bearer {self.endpoint.token}",
            "Content-Type": "application/octet-stream",
            "Accept": "application/json",
        }
        try:
            with httpx.Client(
                trust_env=False, timeout=self.timeout_s, follow_redirects=False, verify=_trust(self.endpoint)
            ) as http:
                response = http.post(url, content=data, headers=headers, extensions=self.endpoint.request_extensions)
        except httpx.TimeoutException as error:
            raise ServiceError(
                f"The service at {url} gave no answer within {self.timeout_s:g} s. It may be starting or busy: "
                f"wait a moment and try again. {_ASK}",
                code="timed_out",
            ) from error
        except httpx.HTTPError as error:
            raise ServiceError(
                f"No prediction service answers at {url}. Start it with 'lesion-serve start', or correct the address.",
                code="unreachable",
            ) from error
        if response.status_code == httpx.codes.OK:
            return _read_prediction(response)
        raise _refusal(response)


def _require_usable(endpoint: Endpoint) -> None:
    """Name an address or a token that no request can be made with."""
    try:
        url = httpx.URL(endpoint.url)
        usable = url.scheme in ("http", "https") and bool(url.host) and 0 < (url.port or 80) < 2**16
    except (httpx.InvalidURL, ValueError, TypeError):
        usable = False
    if not usable:
        raise ServiceError(
            f"{endpoint.url!r} is not the address of a service. An address looks like "
            "http://127.0.0.1:8000/v1/predictions: correct it and start the app again.",
            code="bad_endpoint",
        )
    token = endpoint.token
    if not (isinstance(token, str) and token and token.isascii() and token.isprintable() and " " not in token):
        raise ServiceError(
            "The token for the prediction service is empty or has characters that no token has. "
            "Copy it again from the service's endpoint.json.",
            code="bad_endpoint",
        )


def _trust(endpoint: Endpoint) -> ssl.SSLContext | Literal[True]:
    try:
        return endpoint.trust()
    except LesionError as error:
        raise ServiceError(error.message, code="bad_endpoint") from error


def _read_prediction(response: httpx.Response) -> Prediction:
    try:
        return from_json(response.content, Prediction)
    except WireError as error:
        raise ServiceError(
            f"What answers at {response.url} is not a prediction service of this release: {error.message}",
            code="not_understood",
            status=response.status_code,
        ) from error


def _refusal(response: httpx.Response) -> ServiceError:
    """Everything but 200: in our own words where the service uses them, else by status (TorchServe's own answers)."""
    status = response.status_code
    problem = _problem(response)
    reason = problem.message if problem is not None else _foreign_reason(response)
    if status in (401, 403) or (status == 400 and problem is None and "token" in reason.lower()):
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
    elif status in (404, 405) and problem is None:
        code = "no_model"
        message = (
            f"A service answers at {response.url}, but there is no model at this address. "
            "Correct the address, or start the service again with 'lesion-serve start'."
        )
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
        message = (
            f"What answers at {response.url} is not a prediction service (HTTP status {status}). Correct the address."
        )
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
