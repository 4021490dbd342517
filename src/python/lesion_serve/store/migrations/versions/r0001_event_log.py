"""The log, the facts that can be erased, and the triggers that guard both."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_REFUSAL = "the prediction store is only appended to"
_UNNAMED = "a fact is deleted only after the chain says so"
# A deleted fact is one that an erasure of the chain names.
_NAMED = "EXISTS (SELECT 1 FROM erased WHERE erased.position = OLD.position AND erased.name = OLD.name)"


def upgrade() -> None:
    """Make the tables and their guards."""
    op.create_table(
        "event",
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
    op.create_index("event_request", "event", ["request_id"])
    op.create_table(
        "fact",
        sa.Column("position", sa.BigInteger, sa.ForeignKey("event.position"), primary_key=True, autoincrement=False),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("salt", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
    )
    op.create_table(
        "erased",
        sa.Column("position", sa.BigInteger, sa.ForeignKey("event.position"), primary_key=True, autoincrement=False),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("by_position", sa.BigInteger, sa.ForeignKey("event.position"), nullable=False),
    )
    statements = _postgresql() if op.get_bind().dialect.name == "postgresql" else _sqlite()
    for statement in statements:
        op.execute(sa.text(statement))


def _sqlite() -> list[str]:
    refuse = f"BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
    guards = [
        f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} {refuse}"
        for table, verb in (
            ("event", "UPDATE"), ("event", "DELETE"), ("fact", "UPDATE"), ("erased", "UPDATE"), ("erased", "DELETE")
        )
    ]  # fmt: skip
    # What REPLACE removes fires no trigger of DELETE, so a row that is there already is refused as well.
    guards += [
        f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} "  # noqa: S608 - names of ours
        f"WHEN EXISTS (SELECT 1 FROM {table} WHERE {key}) {refuse}"
        for table, key in (
            ("event", "position = NEW.position"),
            ("fact", "position = NEW.position AND name = NEW.name"),
            ("erased", "position = NEW.position AND name = NEW.name"),
        )
    ]
    unnamed = f"BEGIN SELECT RAISE(ABORT, '{_UNNAMED}'); END"
    return [*guards, f"CREATE TRIGGER fact_no_delete BEFORE DELETE ON fact WHEN NOT {_NAMED} {unnamed}"]


def _postgresql() -> list[str]:
    return [
        f"CREATE FUNCTION lesion_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{_REFUSAL}'; END $$",
        f"CREATE FUNCTION lesion_refuse_unnamed() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN IF NOT {_NAMED} THEN RAISE EXCEPTION '{_UNNAMED}'; END IF; RETURN OLD; END $$",
        *(
            f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
            f"FOR EACH {'STATEMENT' if verb == 'TRUNCATE' else 'ROW'} EXECUTE FUNCTION lesion_refuse()"
            for table in ("event", "fact", "erased")
            for verb in ("UPDATE", "DELETE", "TRUNCATE")
            if (table, verb) != ("fact", "DELETE")
        ),
        "CREATE TRIGGER fact_no_delete BEFORE DELETE ON fact FOR EACH ROW EXECUTE FUNCTION lesion_refuse_unnamed()",
    ]
