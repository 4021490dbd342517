"""Who uses the app: the key, what it may do, the language, and the end of a session that nobody uses.

The key lives in the session's memory only; the address, the log and the disk never see it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

import attrs

from lesion_core.errors import LesionError
from lesion_core.service import Caller
from lesion_core.workspace import Workspace
from lesion_ui.client import GatewayClient, find_endpoint
from lesion_ui.texts import Texts, language_of, texts_for

IDLE_VARIABLE = "LESION_UI_IDLE_MINUTES"
SIGN_IN_VARIABLE = "LESION_UI_SIGN_IN"
IDLE_MINUTES = 15.0
CALLER_S = 30.0

# What the session holds, by name. Everything else in it belongs to widgets.
KEY, CALLER, LANGUAGE, SEEN, ENDED, VISIT = "api_key", "caller", "language", "seen_at", "ended", "visit"
OTHER_KEY = "other_key"  # why a session ended: somebody else signed in
CONSENT, ASSESSMENT, OPEN_RECORD = "has_consented", "assessment", "open_record"
CHOSEN, PATIENT, PATIENT_CLEARED = "chosen", "patient", "patient_cleared"
BATCH, SIMILAR, DRAFTS = "batch", "similar", "drafts"
TAXONOMIES = "taxonomies"


@attrs.frozen(kw_only=True)
class Visit:
    """What a page needs: the words, whom to ask, and who is asking."""

    texts: Texts
    client: GatewayClient
    caller: Caller

    def may(self, permission: str) -> bool:
        """Whether the caller's role allows it."""
        return permission in self.caller.permissions


def idle_minutes(environment: Mapping[str, str]) -> float:
    """Minutes after which a session ends by itself: ``LESION_UI_IDLE_MINUTES``, else 15."""
    try:
        minutes = float(environment.get(IDLE_VARIABLE, IDLE_MINUTES))
    except ValueError:
        return IDLE_MINUTES
    return minutes if minutes > 0 else IDLE_MINUTES


def current_texts(state: MutableMapping[Any, Any], locale: str | None) -> Texts:
    """The words in the language that was chosen, else in the browser's."""
    return texts_for(state.setdefault(LANGUAGE, language_of(locale)))


def has_ended(state: MutableMapping[Any, Any], *, minutes: float, clock: Callable[[], float] = time.monotonic) -> bool:
    """Whether nothing was done for ``minutes``; if so, everything but the language is forgotten."""
    if state.get(ENDED) in (None, OTHER_KEY) and clock() - state.get(SEEN, clock()) > 60 * minutes:
        forget(state, "idle")
    return ENDED in state


def touch(state: MutableMapping[Any, Any], clock: Callable[[], float] = time.monotonic) -> None:
    """Something was done."""
    state[SEEN] = clock()


def forget(state: MutableMapping[Any, Any], reason: str) -> None:
    """End the session: ``reason`` is ``"idle"``, ``"signed_out"`` or ``OTHER_KEY``."""
    if (batch := state.get(BATCH)) is not None:
        batch.cancel()
    for name in list(state):
        if name != LANGUAGE:
            del state[name]
    state[ENDED] = reason


def go_on_with(state: MutableMapping[Any, Any], key: str, clock: Callable[[], float] = time.monotonic) -> None:
    """Sign in: the session of whoever was here before ends, whatever the roles, and one with this key may begin.

    The page between them takes every field off the screen: a browser would send again what is still in one.
    """
    is_first = VISIT not in state
    forget(state, OTHER_KEY)
    if is_first:
        del state[ENDED]
    state[KEY] = key
    touch(state, clock)


def leave_patient(state: MutableMapping[Any, Any]) -> None:
    """The fields about a patient begin anew, for whoever is next."""
    state.pop(PATIENT, None)


def connect(state: MutableMapping[Any, Any], environment: Mapping[str, str] = os.environ) -> GatewayClient:
    """Whom to ask, with the user's key, else with the app's own.

    Raises:
        LesionError: ``no_endpoint``; ``no_key``: the user has to sign in.
    """
    key = state.get(KEY)
    if key is None and environment.get(SIGN_IN_VARIABLE) == "1":
        raise LesionError("This app is set to let every user sign in.", code="no_key")
    return GatewayClient(find_endpoint(environment, Workspace.default(), key=key))


def caller(
    state: MutableMapping[Any, Any], client: GatewayClient, clock: Callable[[], float] = time.monotonic
) -> Caller:
    """Who is asking; asked of the gateway again every ``CALLER_S`` seconds.

    Raises:
        ServiceError: the gateway does not say.
    """
    known = state.get(CALLER)
    if known is not None and known[0] == client.endpoint and clock() - known[1] < CALLER_S:
        found: Caller = known[2]
        return found
    state.pop(CALLER, None)
    found = client.caller()
    state[CALLER] = (client.endpoint, clock(), found)
    return found
