"""Talk to the gateway: one method for each of its routes, values of ``lesion_core`` or a named error back."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from typing import Any, Literal, TypeVar
from urllib.parse import quote

import attrs
import httpx

from lesion_core import service, wire
from lesion_core.errors import LesionError, WireError
from lesion_core.monitoring import MonitoringReport
from lesion_core.service import (
    HEAT_MAP_HEADER,
    METADATA_HEADER,
    SUBJECT_HEADER,
    Caller,
    Feedback,
    Label,
    Page,
    Record,
    SimilarCases,
    Versions,
)
from lesion_core.wire import Prediction
from lesion_core.workspace import Endpoint, Workspace
from lesion_ui.refusals import ServiceError, not_understood, refusal, timed_out, unreachable

URL_VARIABLE = "LESION_ENDPOINT_URL"
TOKEN_VARIABLE = "LESION_ENDPOINT_TOKEN"  # noqa: S105 - the name of the variable, not a token
CERTIFICATE_VARIABLE = "LESION_ENDPOINT_CERTIFICATE"
TIMEOUT_S = 30.0
CONNECT_S = 1.5
CHANGE_S = 330.0  # a version may have to be loaded first, and the gateway waits for that
PREDICTIONS = "/v1/predictions"

_Value = TypeVar("_Value")


def find_endpoint(environment: Mapping[str, str], workspace: Workspace, *, key: str | None = None) -> Endpoint:
    """Where predictions are served: the variables if set, else the file that ``lesion-serve`` wrote.

    Args:
        environment: of the process.
        workspace: where the file lies.
        key: of the user, which goes before the app's own.
    Raises:
        LesionError: ``no_endpoint``: neither is there; ``no_key``: there is an address, but no key for it.
    """
    url = environment.get(URL_VARIABLE)
    if not url:
        found = Endpoint.load(workspace.endpoint)
        return found if key is None else attrs.evolve(found, token=key)
    token = key or environment.get(TOKEN_VARIABLE)
    if not token:
        raise LesionError(f"The service at {url} needs an API key, and there is none. Sign in with one.", code="no_key")
    return Endpoint(url=url, token=token, certificate=environment.get(CERTIFICATE_VARIABLE) or None)


@attrs.frozen
class GatewayClient:
    """Asks one gateway. ``timeout_s`` limits the wait for an answer; for the connection, ``CONNECT_S`` does too.

    Every method raises ``ServiceError`` for everything but an answer, and nothing else. Proxies of the environment are
    never used: images go to the given address and nowhere else.
    """

    endpoint: Endpoint
    timeout_s: float = attrs.field(default=TIMEOUT_S, validator=attrs.validators.gt(0))

    def predict(
        self,
        data: bytes,
        *,
        metadata: Mapping[str, object] | None = None,
        heat_map: bool = False,
        subject: str | None = None,
    ) -> Prediction:
        """Send the bytes of one image, with what is known of the patient and the caller's pseudonym for them."""
        headers = {"Content-Type": "application/octet-stream"}
        if metadata:
            headers[METADATA_HEADER] = json.dumps(dict(metadata))
        if heat_map:
            headers[HEAT_MAP_HEADER] = "true"
        if subject:
            headers[SUBJECT_HEADER] = subject
        response = self._ask("POST", None, content=data, headers=headers)
        return _read(response, lambda: wire.from_json(response.content, Prediction))

    def caller(self) -> Caller:
        """Who the key stands for. Asked before every page, so it waits no longer than for a connection."""
        return self._get("caller", Caller, timeout_s=min(self.timeout_s, CONNECT_S))

    def predictions(self, **filters: str | int | None) -> Page:
        """Predictions, newest first.

        Args:
            filters: ``since``, ``until``, ``top``, ``version``, ``band``, ``review``, ``subject``, ``limit``,
                ``cursor``; ``None`` is no filter.
        """
        given = {name: str(value) for name, value in filters.items() if value is not None}
        return self._get("predictions", Page, params=given)

    def record(self, request_id: str) -> Record:
        """One prediction as it is kept, with its feedback."""
        return self._get(f"predictions/{quote(request_id, safe='')}", Record)

    def similar(self, request_id: str) -> SimilarCases | None:
        """Reference images like the one of a prediction; ``None`` where there are none to show."""
        try:
            return self._get(f"predictions/{quote(request_id, safe='')}/similar", SimilarCases)
        except ServiceError as error:
            if error.status == 404:
                return None
            raise

    def give_feedback(
        self, request_id: str, *, verdict: str, diagnosis: str | None, comment: str | None, is_histology: bool
    ) -> Feedback:
        """Say what the answer was worth: ``agree``, ``other`` with a diagnosis, or ``comment``."""
        said: dict[str, object] = {"verdict": verdict}
        if diagnosis is not None:
            said["diagnosis"] = diagnosis
        if comment:
            said["comment"] = comment
        if is_histology:
            said["source"] = "histology"
        response = self._ask("POST", f"predictions/{quote(request_id, safe='')}/feedback", json=said)
        return _read(response, lambda: service.from_json(response.content, Feedback))

    def label(self) -> Label:
        """Intended use and limits, of the version that answers now."""
        return self._get("label", Label)

    def versions(self) -> Versions:
        """What is deployed, and how it came to be so."""
        return self._get("versions", Versions)

    def card(self, version: str) -> str:
        """The model card of a version, Markdown."""
        return self._ask("GET", f"versions/{quote(version, safe='')}/card").text

    def evaluation(self, version: str) -> dict[str, Any]:
        """The evaluation of a version as plain JSON: what is read of it may be missing in another release."""
        response = self._ask("GET", f"versions/{quote(version, safe='')}/evaluation")
        found = _read(response, lambda: json.loads(response.content))
        if not isinstance(found, dict):
            raise not_understood(response, f"The evaluation is a JSON {type(found).__name__}, not an object.")
        return found

    def promote(self, version: str, *, why: str) -> Versions:
        """Make a deployed version the champion; waits until it answers, ``CHANGE_S`` at most."""
        return self._change(action="promote", version=version, why=why)

    def roll_back(self, *, why: str) -> Versions:
        """Make the champion before the champion again; waits as ``promote`` does."""
        return self._change(action="rollback", why=why)

    def monitoring(self, days: int) -> MonitoringReport | None:
        """What the last days looked like; ``None`` where nothing was answered in them."""
        try:
            return self._get("monitoring", MonitoringReport, params={"days": str(days)})
        except ServiceError as error:
            if error.problem is None or error.problem.code != "no_predictions":
                raise
            return None

    def _change(self, **said: str) -> Versions:
        response = self._ask("POST", "deployment", timeout_s=CHANGE_S, json=said)
        return _read(response, lambda: service.from_json(response.content, Versions))

    def _get(self, route: str, kind: type[_Value], *, timeout_s: float | None = None, **options: Any) -> _Value:
        response = self._ask("GET", route, timeout_s=timeout_s, **options)
        return _read(response, lambda: service.from_json(response.content, kind))

    def _ask(
        self, method: str, route: str | None, *, timeout_s: float | None = None, headers: Any = None, **options: Any
    ) -> httpx.Response:
        """One request; ``route`` ``None`` is the endpoint itself."""
        _require_usable(self.endpoint)
        url = self.endpoint.url
        if route is not None:
            url = url.rstrip("/").removesuffix(PREDICTIONS) + "/v1/" + route
        wait_s = timeout_s or self.timeout_s
        sent = {"Authorization": f"Bearer {self.endpoint.token}", "Accept": "application/json", **(headers or {})}
        try:
            timeout = httpx.Timeout(wait_s, connect=min(wait_s, CONNECT_S))
            with httpx.Client(
                trust_env=False, timeout=timeout, follow_redirects=False, verify=_trust(self.endpoint)
            ) as http:
                extensions = self.endpoint.request_extensions
                response = http.request(method, url, headers=sent, extensions=extensions, **options)
        except httpx.TimeoutException as error:
            raise timed_out(self.endpoint.url, wait_s) from error
        except httpx.HTTPError as error:
            raise unreachable(self.endpoint.url) from error
        if response.status_code not in (httpx.codes.OK, httpx.codes.CREATED):
            raise refusal(response)
        return response


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


def _read(response: httpx.Response, read: Any) -> Any:
    try:
        return read()
    except (WireError, ValueError) as error:
        raise not_understood(response, str(error)) from error
