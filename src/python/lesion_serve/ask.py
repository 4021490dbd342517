"""Ask a running server about one image."""

from __future__ import annotations

import httpx

from lesion_core.errors import LesionError, WireError
from lesion_core.wire import Prediction, Problem, from_json
from lesion_core.workspace import Endpoint

TIMEOUT_S = 60.0


def ask(endpoint: Endpoint, data: bytes) -> Prediction:
    """Send the bytes of one image.

    Raises:
        LesionError: the server is out of reach, or says why it has no answer.
    """
    headers = {"Authorization": f"Bearer {endpoint.token}", "Content-Type": "application/octet-stream"}
    try:
        with httpx.Client(timeout=TIMEOUT_S, trust_env=False, verify=endpoint.trust()) as client:
            answer = client.post(endpoint.url, content=data, headers=headers, extensions=endpoint.request_extensions)
    except httpx.HTTPError as error:
        raise LesionError(f"No answer from {endpoint.url} ({error}). Is it started?", code="unreachable") from error
    if answer.status_code == 200:
        return from_json(answer.content, Prediction)
    try:
        problem = from_json(answer.content, Problem)
    except WireError:
        text = answer.text[:200].strip() or answer.reason_phrase  # TorchServe's own 413 has no body
        raise LesionError(f"The server answered {answer.status_code}: {text}", code="refused") from None
    raise LesionError(problem.message, code=problem.code)
