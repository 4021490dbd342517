"""Predictions for people who look for some: newest first, a page at a time, filtered by what they show.

What an answer shows lies in the hashed content of its event, not in columns of its own, so a search reads events and
leaves out those that do not fit: ``MOST_READ`` of them at most for one page, which may then hold fewer lines than
wanted and still have a next one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import attrs
import sqlalchemy as sa

from lesion_core.service import Line, Page, that_counts
from lesion_core.wire import QualityFinding, quality_grade
from lesion_serve.store.chain import stamp
from lesion_serve.store.database import Database
from lesion_serve.store.errors import StoreError
from lesion_serve.store.reading import PAGE, facts_of, feedback_on
from lesion_serve.store.records import Kind, Role, StoredFeedback, Verdict
from lesion_serve.store.tables import event, fact

LONGEST_PAGE = 200
MOST_READ = 10 * PAGE
UNREVIEWED = "none"


@attrs.frozen(kw_only=True)
class Search:
    """Which predictions are wanted; ``None`` wants all.

    Attributes:
        since, until: asked from ``since`` on, up to but without ``until``.
        version: of the model that answered.
        key_id: of the API key that asked.
        subject: the caller's pseudonym for the patient.
        top: code of the most probable class.
        band: triage band.
        review: verdict that counts, or ``UNREVIEWED`` for those without one.
        limit: lines of a page, 1 to ``LONGEST_PAGE``.
        cursor: ``Page.next`` of the page before.
    """

    since: datetime | None = None
    until: datetime | None = None
    version: str | None = None
    key_id: str | None = None
    subject: str | None = None
    top: str | None = None
    band: str | None = None
    review: str | None = None
    limit: int = attrs.field(default=50, validator=[attrs.validators.ge(1), attrs.validators.le(LONGEST_PAGE)])
    cursor: str | None = None

    def conditions(self) -> Iterator[sa.ColumnElement[bool]]:
        """What the database can check."""
        yield event.c.kind == Kind.PREDICTION.value
        yield event.c.role == Role.ANSWERED.value
        if self.since is not None:
            yield event.c.at >= stamp(self.since)
        if self.until is not None:
            yield event.c.at < stamp(self.until)
        if self.version is not None:
            yield event.c.model_version == self.version
        if self.subject is not None:
            named = sa.and_(fact.c.name == "subject", fact.c.value == self.subject)
            yield event.c.position.in_(sa.select(fact.c.position).where(named))

    def fits(self, line: Line) -> bool:
        """Whether a line is wanted, as far as the database could not tell."""
        return (
            self.key_id in (None, line.key_id)
            and self.top in (None, line.top)
            and self.band in (None, line.band)
            and self.review in (None, line.review or UNREVIEWED)
        )


def list_predictions(database: Database, search: Search) -> Page:
    """One page of predictions that were given to somebody, newest first.

    Raises:
        StoreError: ``bad_cursor``.
    """
    before, lines, read = _position(search.cursor), list[Line](), 0
    if any("\0" in wanted for wanted in (search.version, search.subject) if wanted):
        return Page(items=(), next=None)  # PostgreSQL takes it in no text, so that no record has it either
    with database.reading() as connection:
        while read < MOST_READ:
            query = sa.select(event).where(*search.conditions())
            if before is not None:
                query = query.where(event.c.position < before)
            rows = connection.execute(query.order_by(event.c.position.desc()).limit(PAGE)).mappings().all()
            for position, line in _lines(connection, rows):
                before = position
                if search.fits(line):
                    lines.append(line)
                if len(lines) == search.limit:
                    return Page(items=tuple(lines), next=str(position))
            if len(rows) < PAGE:
                return Page(items=tuple(lines), next=None)
            read += len(rows)
    return Page(items=tuple(lines), next=None if before is None else str(before))


def _position(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) < 19):
        raise StoreError(f"A cursor is the 'next' of the page before; got {cursor[:40]!r}.", code="bad_cursor")
    return int(cursor)


def _lines(connection: sa.Connection, rows: Sequence[Mapping[Any, Any]]) -> Iterator[tuple[int, Line]]:
    facts = facts_of(connection, [row["position"] for row in rows])
    said = feedback_on(connection, [row["request_id"] for row in rows])
    for row in rows:
        subject = facts.get(row["position"], {}).get("subject")
        yield row["position"], _line(row, subject, said.get(row["request_id"], ()))


def _line(row: Mapping[Any, Any], subject: str | None, feedback: Sequence[StoredFeedback]) -> Line:
    content = json.loads(row["content"])
    answer = content["answer"]
    top = max(answer["probabilities"], key=lambda one: one["probability"])
    counting = that_counts(feedback)
    diagnosis = None
    if counting is not None:
        diagnosis = top["code"] if counting.verdict is Verdict.AGREE else counting.diagnosis
    return Line(
        request_id=row["request_id"],
        at=row["at"],
        key_id=content["principal"]["key_id"],
        subject=subject,
        model_version=row["model_version"],
        top=top["code"],
        probability=top["probability"],
        band=answer["risk"]["band"] if answer["risk"] else None,
        is_outside=answer["out_of_distribution"]["is_outside"],
        quality=quality_grade(QualityFinding(**finding) for finding in answer["quality"]),
        review=None if counting is None else counting.verdict.value,
        diagnosis=diagnosis,
    )
