"""How an error leaves the gateway: RFC 9457 ``application/problem+json``, always with the request's id.

    {"type": "about:blank", "title": "Service Unavailable", "status": 503, "detail": "…", "code": "busy",
     "request_id": "…", "message": "…", "schema_version": 1}

The last two make it a ``lesion_core.wire.Problem`` as well, so that a client reads a problem in the same way from the
gateway and from an engine. ``code`` is stable and for programs, ``detail`` is a sentence for people that names the next
step. A reason inside the server is not told to clients: it stands in the log, under the same id.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus

import attrs
from starlette.responses import Response

from lesion_core.wire import SCHEMA_VERSION

MEDIA_TYPE = "application/problem+json"


@attrs.frozen
class Problem:
    """What a client is told.

    Attributes:
        status: HTTP status, 400 to 599.
        code: stable, snake_case.
        detail: a sentence.
        headers: of the answer, such as ``Retry-After``.
    """

    status: int
    code: str
    detail: str
    headers: Mapping[str, str] = attrs.field(factory=dict)

    def members(self, request_id: str) -> dict[str, object]:
        """As RFC 9457 and the wire name them, also for one item among several."""
        return {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "request_id": request_id,
            "message": self.detail,
            "schema_version": SCHEMA_VERSION,
        }


def problem_response(problem: Problem, *, request_id: str) -> Response:
    """One problem as an answer to the request with this id."""
    return Response(
        json.dumps(problem.members(request_id), ensure_ascii=False),
        status_code=problem.status,
        media_type=MEDIA_TYPE,
        headers=dict(problem.headers),
    )
