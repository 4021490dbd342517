"""A judgement that is being written: it belongs to its request, and is there again when the request is.

Streamlit knows a field by its key, once in the server and once in the browser, which sends what it still has along
with every run. Under a key that was used before, words come back that were meant for something else, and a field that
is shown again can look empty while the server has its words. So every draft has keys of its own, and its fields are
told what to show.
"""

from __future__ import annotations

import secrets
from collections.abc import MutableMapping, Sequence
from typing import Any

import attrs
import streamlit as st

from lesion_ui import session

KINDS = ("agree", "other", "histology", "comment")


@attrs.define
class Draft:
    """What was said of a request and not yet saved.

    Attributes:
        kind: one of ``KINDS``.
        diagnosis: code; ``None`` while none is chosen.
        comment: as it was typed.
    """

    kind: str = KINDS[0]
    diagnosis: str | None = None
    comment: str = ""
    _id: str = attrs.field(init=False, factory=lambda: secrets.token_hex(4))

    def key(self, part: str) -> str:
        """Of a widget of this draft."""
        return f"feedback_{part}-{self._id}"

    def field(self, part: str) -> dict[str, Any]:
        """Key of the widget of an attribute, and what keeps its value. Words for a forgotten draft are lost with it."""
        return {"key": self.key(part), "on_change": self._keep, "args": (part,)}

    def position(self, part: str, options: Sequence[str]) -> int | None:
        """Where an attribute's value is among the options; ``None`` where it is none of them."""
        value = getattr(self, part)
        return options.index(value) if value in options else None

    def _keep(self, part: str) -> None:
        setattr(self, part, st.session_state[self.key(part)])


def draft_of(state: MutableMapping[Any, Any], request_id: str) -> Draft:
    """The draft for a request, begun if there is none."""
    drafts: dict[str, Draft] = state.setdefault(session.DRAFTS, {})
    return drafts.setdefault(request_id, Draft())


def forget_draft(state: MutableMapping[Any, Any], request_id: str) -> None:
    """It was saved, or is not wanted any more."""
    state.get(session.DRAFTS, {}).pop(request_id, None)
