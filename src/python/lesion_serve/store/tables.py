"""The tables, as queries use them. What makes them in a database is in ``migrations``.

``event`` is the log: only ever appended to. ``fact`` holds what may be erased, a row for each personal fact of an
event; it is never altered, and deleted from only what ``erased`` names. ``erased`` repeats, row by row, what the
chain's own erasure events say, so that a trigger can look it up. ``feature`` is what monitoring keeps of an image, as
JSON of the wire's ``Features``: no part of the chain, and free to be deleted."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()
event = sa.Table(
    "event",
    metadata,
    sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("at", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("request_id", sa.Text),
    sa.Column("role", sa.Text),
    sa.Column("model_name", sa.Text),
    sa.Column("model_version", sa.Text),
    sa.Column("content", sa.Text, nullable=False),
    sa.Column("previous", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
)
fact = sa.Table(
    "fact",
    metadata,
    sa.Column("position", sa.ForeignKey("event.position"), primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("salt", sa.Text, nullable=False),
    sa.Column("value", sa.Text, nullable=False),
)
erased = sa.Table(
    "erased",
    metadata,
    sa.Column("position", sa.ForeignKey("event.position"), primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("by_position", sa.ForeignKey("event.position"), nullable=False),
)
feature = sa.Table(
    "feature",
    metadata,
    sa.Column("position", sa.ForeignKey("event.position"), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)
GUARDS = {
    dialect: {f"{table}_no_{verb}" for table in ("event", "fact", "erased") for verb in ("update", "delete", extra)}
    for dialect, extra in (("sqlite", "replace"), ("postgresql", "truncate"))
}
