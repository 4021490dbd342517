"""What the gateway tells beside predictions, as both sides read it."""

from __future__ import annotations

import json

import pytest

from lesion_core.errors import WireError
from lesion_core.service import Caller, Feedback, Line, Page, from_json, that_counts, to_json

LINE = Line(
    request_id="a",
    at="2026-01-02T03:04:05+00:00",
    key_id="k",
    subject=None,
    model_version="3",
    top="MEL",
    probability=0.5,
    band="high",
    is_outside=False,
    quality="ok",
    review=None,
    diagnosis=None,
)


def test_a_page_comes_back_as_it_went() -> None:
    """To text and back."""
    page = Page(items=(LINE, LINE), next="cursor")

    assert from_json(to_json(page), Page) == page


def test_what_a_newer_gateway_adds_is_left_out() -> None:
    """An app of this release goes on with a gateway of the next."""
    caller = Caller(key_id="k", name="Ward 3", role="clinician", permissions=("predict",))
    newer = json.loads(to_json(caller)) | {"mood": "good"}

    assert from_json(json.dumps(newer), Caller) == caller


@pytest.mark.parametrize("text", ["", "[1", "3", '{"items": [{}], "next": null}'])
def test_what_is_not_such_a_message_is_refused(text: str) -> None:
    """One named error, whatever it is."""
    with pytest.raises(WireError, match="Page"):
        from_json(text, Page)


def feedback(verdict: str, diagnosis: str | None = None, source: str = "clinical") -> Feedback:
    return Feedback(at="", key_id="", verdict=verdict, diagnosis=diagnosis, comment=None, source=source)


def test_of_what_was_said_the_newest_diagnosis_counts_and_histology_before_all() -> None:
    """No remark takes one back, and no second look at the skin a histology."""
    first, second = feedback("agree"), feedback("other", "BCC")
    remark, histology = feedback("comment"), feedback("other", "MEL", "histology")

    assert that_counts([]) is None
    assert that_counts([remark]) is remark
    assert that_counts([first, second, remark]) is second
    assert that_counts([first, histology, second, remark]) is histology
    assert that_counts([histology, corrected := feedback("other", "NV", "histology")]) is corrected
