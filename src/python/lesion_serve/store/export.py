"""The log as a file for others: JSON lines or CSV, without what is personal unless it is asked for."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, TextIO

import sqlalchemy as sa

from lesion_serve.store.chain import stamp
from lesion_serve.store.database import Database
from lesion_serve.store.reading import facts_of
from lesion_serve.store.tables import event

_PAGE = 1000
_COLUMNS = tuple(column.name for column in event.columns)
# The key of a kept image opens the image, and stays here in any case.
PERSONAL = ("subject", "image_sha256", "comment")


class ExportFormat(StrEnum):
    """How events are written."""

    JSONL = "jsonl"
    CSV = "csv"


def export_events(
    database: Database,
    stream: TextIO,
    *,
    layout: ExportFormat = ExportFormat.JSONL,
    since: datetime | None = None,
    until: datetime | None = None,
    with_personal: bool = False,
) -> int:
    """Write events in the order of the chain, with their digests; returns how many those were.

    Args:
        database: is there; read only.
        stream: open for text; for CSV with ``newline=""``.
        layout: ``content`` is an object in JSON lines, and JSON text in a cell of CSV.
        since: from this time on.
        until: up to but without this time.
        with_personal: also subject, fingerprint of the image, file name and comment, where they were not erased.
    Raises:
        StoreError: ``no_store``, ``newer_store``, or the database refuses.
    """
    database.require()
    names = (*_COLUMNS, *(PERSONAL if with_personal else ()))
    table = csv.DictWriter(stream, names) if layout is ExportFormat.CSV else None
    if table is not None:
        table.writeheader()
    count = 0
    for row in _rows(database, since, until, with_personal=with_personal):
        if table is not None:
            table.writerow({name: _cell(value) for name, value in row.items()})
        else:
            stream.write(json.dumps({**row, "content": json.loads(row["content"])}, ensure_ascii=False) + "\n")
        count += 1
    return count


def _rows(
    database: Database, since: datetime | None, until: datetime | None, *, with_personal: bool
) -> Iterator[dict[str, Any]]:
    last = 0
    while True:
        query = sa.select(event).where(event.c.position > last).order_by(event.c.position).limit(_PAGE)
        if since is not None:
            query = query.where(event.c.at >= stamp(since))
        if until is not None:
            query = query.where(event.c.at < stamp(until))
        with database.reading() as connection:
            rows = [dict(row) for row in connection.execute(query).mappings()]
            facts: Mapping[int, Mapping[str, str]] = (
                facts_of(connection, [row["position"] for row in rows]) if with_personal else {}
            )
        for row in rows:
            mine = facts.get(row["position"], {})
            yield {**row, **({name: mine.get(name) for name in PERSONAL} if with_personal else {})}
        if len(rows) < _PAGE:
            return
        last = rows[-1]["position"]


def _cell(value: Any) -> Any:
    """A text that a spreadsheet would take for a formula gets an apostrophe in front."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
