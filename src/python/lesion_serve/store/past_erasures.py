"""Erasures that a log has and an older copy of it has not: what brings the copy back, brings back what they erased."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import attrs
import sqlalchemy as sa

from lesion_core.address import sqlite_address, without_password
from lesion_serve.store.database import Database
from lesion_serve.store.errors import StoreError
from lesion_serve.store.records import Kind, Receipt
from lesion_serve.store.tables import event

_GROUP = 500


@attrs.frozen(kw_only=True)
class PastErasure:
    """One that is to be repeated: when it was, its reason, and ids of the requests that it forgot."""

    at: str
    reason: str
    requests: tuple[str, ...]


def newest_time(file: Path) -> str:
    """When the last event of a SQLite store came in, ISO 8601 in UTC.

    Raises:
        StoreError: it cannot be read.
    """
    database = Database(sqlite_address(file))
    try:
        with database.reading() as connection:
            return connection.scalars(sa.select(event.c.at).order_by(event.c.position.desc()).limit(1)).one()
    finally:
        database.close()


def erasures_after(database: Database, copied: Receipt) -> list[PastErasure]:
    """What was erased of the events of a copy after it was made, oldest first; not what retention took.

    Args:
        database: of the log that went on.
        copied: the last event of the copy.
    Raises:
        StoreError: ``no_store``; ``behind_anchor``: it is not the log that the copy is of.
    """
    database.require()
    with database.reading() as connection:
        digest = connection.scalar(sa.select(event.c.digest).where(event.c.position == copied.position))
        if digest != copied.digest:
            raise StoreError(
                f"{without_password(database.url)} is not the log that the backup was made of, so its erasures say "
                "nothing. Name the database that was in use after the backup.",
                code="behind_anchor",
            )
        query = sa.select(event.c.at, event.c.content).where(
            event.c.kind == Kind.ERASURE.value, event.c.position > copied.position
        )
        found = []
        for row in connection.execute(query.order_by(event.c.position)).all():
            content = json.loads(row.content)
            positions = sorted({position for position, _ in content["erased"] if position <= copied.position})
            if positions:
                requests = _requests(connection, positions)
                found.append(PastErasure(at=row.at, reason=content["reason"], requests=requests))
    return found


def _requests(connection: sa.Connection, positions: Sequence[int]) -> tuple[str, ...]:
    """Their ids, each once, in the order of the log."""
    ids: dict[str, None] = {}
    for start in range(0, len(positions), _GROUP):
        query = sa.select(event.c.request_id).where(event.c.position.in_(positions[start : start + _GROUP]))
        ids.update(dict.fromkeys(connection.scalars(query.order_by(event.c.position))))
    return tuple(ids)
