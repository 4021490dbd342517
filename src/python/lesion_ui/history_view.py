"""The list of predictions: filters, rows, and choices to open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta

import attrs

from lesion_core.service import Line
from lesion_core.taxonomy import ISIC_2019, Diagnosis
from lesion_ui.client import GatewayClient
from lesion_ui.texts import Texts
from lesion_ui.view import NONE_SYMBOL, SYMBOLS
from lesion_ui.wording import time_text

PAGE_ROWS = 200
MOST_ROWS = 10_000
BANDS = ("high", "intermediate", "low")
REVIEWS = ("none", "agree", "other", "comment")


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


def diagnosis_name(code: str, names: Mapping[str, str], texts: Texts) -> str:
    """A class in a list: symbol and name where they are known, else the code."""
    ours: dict[str, Diagnosis] = {one.code: one for one in ISIC_2019.diagnoses}
    name = names.get(code) or (ours[code].name if code in ours else code)
    symbol = ""
    if code in ours:
        is_none = ours[code] is ISIC_2019.none_of_the_above
        symbol = (NONE_SYMBOL if is_none else SYMBOLS[ours[code].malignancy]) + " "
    return f"{symbol}{texts.diagnosis(code, name)}"


def rows(lines: Sequence[Line], names: Mapping[str, str], texts: Texts) -> list[dict[str, object]]:
    """The rows of the table, with the headings of the language."""
    return [
        {
            texts("history.at"): time_text(line.at),
            texts("history.top"): diagnosis_name(line.top, names, texts),
            texts("history.probability"): texts.percent(line.probability),
            texts("history.band"): texts(f"band.{line.band}") if line.band else "–",
            texts("history.outside"): texts("history.is_outside") if line.is_outside else "",
            texts("history.quality"): texts.find(f"history.quality_{line.quality}") or line.quality,
            texts("history.review"): review_text(line, names, texts),
            texts("history.version"): line.model_version,
            texts("history.subject"): line.subject or "",
            texts("history.request"): line.request_id,
        }
        for line in lines
    ]


def review_text(line: Line, names: Mapping[str, str], texts: Texts) -> str:
    """What was said of it."""
    if line.review is None:
        return texts("history.review_none")
    said = texts.find(f"history.review_{line.review}") or line.review
    if line.review == "other" and line.diagnosis:
        return f"{said}: {diagnosis_name(line.diagnosis, names, texts)}"
    return said


def choice(line: Line, names: Mapping[str, str], texts: Texts) -> str:
    """One line in the list of cases to open."""
    top = diagnosis_name(line.top, names, texts)
    return f"{time_text(line.at)} · {top} {texts.percent(line.probability)} · {line.request_id}"


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
