"""Where a request comes from: without API keys, from a program or a page of this machine only.

A page of anybody's, open in a browser on this machine, may send requests to loopback, and name it as the address of its
own host (DNS rebinding) to read the answers too. Its browser tells on it: ``Host`` is the name that the page used, and
``Origin`` where the page is from.
"""

from __future__ import annotations

import re

from starlette.requests import Request

from lesion_serve.gateway.errors import ForbiddenError
from lesion_serve.gateway.settings import is_loopback

_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[^:\[\]@/]+)(:\d*)?", re.IGNORECASE)
_SCHEME = re.compile(r"https?://", re.IGNORECASE)


def require_this_machine(request: Request) -> None:
    """Make sure that no page of another host has sent a request.

    Raises:
        ForbiddenError: ``foreign_request``.
    """
    hosts, origins = request.headers.getlist("host"), request.headers.getlist("origin")
    if len(hosts) != 1 or not _names_loopback(hosts[0]) or not all(_is_of_loopback(one) for one in origins):
        raise ForbiddenError(
            "Without API keys only programs and pages of this machine may ask. Ask http://127.0.0.1 with the gateway's "
            "port, or start the gateway with keys: leave out --no-keys.",
            code="foreign_request",
        )


def _names_loopback(host: str) -> bool:
    """Whether a ``Host`` header, with a port or without, is loopback's: no other name can be trusted to stay there."""
    match = _HOST.fullmatch(host)
    return match is not None and is_loopback(match["name"].strip("[]").lower())


def _is_of_loopback(origin: str) -> bool:
    return (scheme := _SCHEME.match(origin)) is not None and _names_loopback(origin[scheme.end() :])
