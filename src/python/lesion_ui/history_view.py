"""The list of predictions: filters, rows, and choices to open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta

import attrs

from lesion_core.errors import LesionError
from lesion_core.service import DiagnosisLine, Line, Page
from lesion_core.wire import Prediction
from lesion_ui.client import GatewayClient
from lesion_ui.texts import Texts
from lesion_ui.view import NONE_SYMBOL, SYMBOLS
from lesion_ui.wording import time_text

PAGE_ROWS = 200
MOST_ROWS = 10_000
BANDS = ("high", "intermediate", "low")
REVIEWS = ("none", "agree", "other", "comment")
MOST_ASKED = 10  # times, for one page: the gateway looks through some thousand records each time

Diagnoses = Mapping[str, DiagnosisLine]


@attrs.frozen(kw_only=True)
class Filters:
    """What to look for; ``None`` is everything. Dates are whole days in UTC, both included."""

    since: date | None = None
    until: date | None = None
    top: str | None = None
    version: str | None = None
    band: str | None = None
    review: str | None = None
    subject: str | None = None

    def query(self) -> dict[str, str | None]:
        """As the gateway takes it: from the first day's beginning up to the end of the last."""
        return {
            "since": None if self.since is None else f"{self.since.isoformat()}T00:00:00+00:00",
            "until": None if self.until is None else f"{(self.until + timedelta(days=1)).isoformat()}T00:00:00+00:00",
            "top": self.top,
            "version": self.version,
            "band": self.band,
            "review": self.review,
            "subject": self.subject,
        }


def diagnosis_name(code: str, known: Diagnoses, texts: Texts) -> str:
    """A class in a list: symbol and name as the model's own taxonomy has them, else the code."""
    one = known.get(code)
    if one is None:
        return code
    return f"{SYMBOLS[one.malignancy] if one.is_trained else NONE_SYMBOL} {texts.diagnosis(code, one.name)}"


def served_diagnoses(client: GatewayClient) -> Diagnoses:
    """Those of the version that answers now; none where the service does not say, since a page is of use without."""
    try:
        return {one.code: one for one in client.label().diagnoses}
    except LesionError:
        return {}


def learn_taxonomies(client: GatewayClient, lines: Sequence[Line], known: dict[str, Diagnoses]) -> None:
    """Put the diagnoses of every version in a list beside those that are known: lists have codes, records have names.

    Args:
        client: asked for one record of each version that is new.
        lines: the list.
        known: by model version. Without a version whose record cannot be read: its codes are shown.
    """
    failed = set()
    for line in lines:
        if line.model_version not in known and line.model_version not in failed:
            try:
                known[line.model_version] = _diagnoses(client.record(line.request_id).prediction)
            except LesionError:
                failed.add(line.model_version)


def _diagnoses(prediction: Prediction) -> Diagnoses:
    none = prediction.probabilities[-1]  # the wire's order: none of the above is last
    return {
        one.code: DiagnosisLine(code=one.code, name=one.name, malignancy=one.malignancy, is_trained=one is not none)
        for one in prediction.probabilities
    }


def rows(lines: Sequence[Line], known: Mapping[str, Diagnoses], texts: Texts) -> list[dict[str, object]]:
    """The rows of the table, with the headings of the language; ``known`` by model version."""
    return [
        {
            texts("history.at"): time_text(line.at),
            texts("history.top"): diagnosis_name(line.top, known.get(line.model_version, {}), texts),
            texts("history.probability"): texts.percent(line.probability),
            texts("history.band"): texts(f"band.{line.band}") if line.band else "–",
            texts("history.outside"): texts("history.is_outside") if line.is_outside else "",
            texts("history.quality"): texts.find(f"history.quality_{line.quality}") or line.quality,
            texts("history.review"): review_text(line, known.get(line.model_version, {}), texts),
            texts("history.version"): line.model_version,
            texts("history.subject"): line.subject or "",
            texts("history.request"): line.request_id,
        }
        for line in lines
    ]


def review_text(line: Line, known: Diagnoses, texts: Texts) -> str:
    """What was said of it."""
    if line.review is None:
        return texts("history.review_none")
    said = texts.find(f"history.review_{line.review}") or line.review
    if line.review == "other" and line.diagnosis:
        return f"{said}: {diagnosis_name(line.diagnosis, known, texts)}"
    return said


def choice(line: Line, known: Mapping[str, Diagnoses], texts: Texts) -> str:
    """One line in the list of cases to open."""
    top = diagnosis_name(line.top, known.get(line.model_version, {}), texts)
    return f"{time_text(line.at)} · {top} {texts.percent(line.probability)} · {line.request_id}"


def fetch_page(client: GatewayClient, filters: Filters, cursor: str | None) -> Page:
    """The next ``PAGE_ROWS`` lines that are found from ``cursor`` on.

    A page of the gateway may hold fewer, even none, where few records fit, and still have one after it. So may this
    one, once the gateway was asked ``MOST_ASKED`` times.
    """
    found: list[Line] = []
    for _ in range(MOST_ASKED):
        page = client.predictions(**filters.query(), limit=PAGE_ROWS - len(found), cursor=cursor)
        found += page.items
        cursor = page.next
        if cursor is None or len(found) >= PAGE_ROWS:
            break
    return Page(items=tuple(found), next=cursor)


def fetch_all(client: GatewayClient, filters: Filters) -> tuple[list[Line], bool]:
    """Every line that is found, up to ``MOST_ROWS``, and whether there are more."""
    found: list[Line] = []
    cursor: str | None = None
    while True:
        page = client.predictions(**filters.query(), limit=PAGE_ROWS, cursor=cursor)
        found += page.items
        cursor = page.next
        if cursor is None or len(found) >= MOST_ROWS:
            return found[:MOST_ROWS], cursor is not None or len(found) > MOST_ROWS
