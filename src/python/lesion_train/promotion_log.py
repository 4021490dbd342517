"""Who made which version champion, when and why: our own log, since MLflow keeps no history of aliases.

A SQLite file of the workspace that is only ever appended to; triggers refuse anything else. A change takes two rows
around the move of the alias: first the *plan*, with who, why and what the gates measured, then its *outcome*. A crash
in between leaves a plan without an outcome, which the next command settles by looking at the alias. The other order
could move the alias and never say who did it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import attrs
import sqlalchemy as sa
from filelock import FileLock

from lesion_core.address import sqlite_address
from lesion_core.errors import LesionError
from lesion_train.record import user_name

DONE, ABANDONED = "done", "abandoned"


class Action(StrEnum):
    """What moved the alias."""

    REGISTER = "register"  # the first version becomes champion by itself
    PROMOTE = "promote"
    ROLLBACK = "rollback"


@attrs.frozen(kw_only=True)
class Promotion:
    """One change of the champion.

    Attributes:
        action: what moved the alias.
        model: registered name.
        tracking_uri: of MLflow, without a password.
        from_version: champion before; ``None`` where there was none.
        to_version: champion after.
        to_digest: of its bundle; empty where it is not known.
        why: a person's words, or the reason of the program.
        is_overridden: it happened although a gate failed.
        gates: what the gates said and measured.
        id, made_at, who: filled in by the log; time in ISO 8601, UTC.
        outcome: ``done``, ``abandoned`` (the alias never moved), or ``None``: a crash came in between.
    """

    action: Action
    model: str
    tracking_uri: str
    from_version: str | None
    to_version: str
    to_digest: str
    why: str
    is_overridden: bool = False
    gates: list[dict[str, Any]] = attrs.field(factory=list)
    id: int = 0
    made_at: str = ""
    who: str = ""
    outcome: str | None = None


_tables = sa.MetaData()
_plans = sa.Table(
    "promotion",
    _tables,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("made_at", sa.String, nullable=False),
    sa.Column("who", sa.String, nullable=False),
    sa.Column("action", sa.String, nullable=False),
    sa.Column("model", sa.String, nullable=False),
    sa.Column("tracking_uri", sa.String, nullable=False),
    sa.Column("from_version", sa.String),
    sa.Column("to_version", sa.String, nullable=False),
    sa.Column("to_digest", sa.String, nullable=False),
    sa.Column("why", sa.String, nullable=False),
    sa.Column("is_overridden", sa.Boolean, nullable=False),
    sa.Column("gates", sa.JSON, nullable=False),
    sqlite_autoincrement=True,
)
_outcomes = sa.Table(
    "outcome",
    _tables,
    sa.Column("promotion_id", sa.ForeignKey("promotion.id"), primary_key=True),
    sa.Column("noted_at", sa.String, nullable=False),
    sa.Column("outcome", sa.String, nullable=False),
)
for _table in (_plans, _outcomes):
    for _verb in ("UPDATE", "DELETE"):
        sa.event.listen(
            _table,
            "after_create",
            sa.DDL(
                f"CREATE TRIGGER {_table.name}_no_{_verb.lower()} BEFORE {_verb} ON {_table.name} "
                "BEGIN SELECT RAISE(ABORT, 'the promotion log is only appended to'); END"
            ),
        )


class PromotionLog:
    """The log in one file; made where it is missing. Writers hold ``tracking.registry.registry_lock``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._engine = sa.create_engine(sqlite_address(path), connect_args={"timeout": 60}, poolclass=sa.NullPool)
        with FileLock(path.with_suffix(".lock")), self._connected() as connection:
            _tables.create_all(connection)

    def plan(self, change: Promotion) -> int:
        """Write what is about to happen; returns the row's id."""
        values = attrs.asdict(change, filter=attrs.filters.exclude("id", "outcome"))
        values |= {"made_at": _now(), "who": user_name(), "action": change.action.value}
        with self._connected("The champion was not touched.") as connection:
            return int(connection.execute(_plans.insert().values(values).returning(_plans.c.id)).scalar_one())

    def close(self, promotion_id: int, outcome: str) -> None:
        """Write how a plan ended: ``done`` or ``abandoned``. Once."""
        with self._connected("How the change ended is noted by the next that is made.") as connection:
            values = {"promotion_id": promotion_id, "noted_at": _now(), "outcome": outcome}
            connection.execute(_outcomes.insert().values(values))

    def changes(self, model: str) -> list[Promotion]:
        """All changes of a model, oldest first."""
        joined = _plans.join(_outcomes, isouter=True)
        query = sa.select(_plans, _outcomes.c.outcome).select_from(joined).where(_plans.c.model == model)
        with self._connected() as connection:
            rows = connection.execute(query.order_by(_plans.c.id)).mappings().all()
        return [Promotion(**{**row, "action": Action(row["action"])}) for row in rows]

    @contextmanager
    def _connected(
        self, then: str = "Free its file or its disk, or restore it from a backup."
    ) -> Iterator[sa.Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except sa.exc.SQLAlchemyError as error:
            reason = str(error).splitlines()[0]
            raise LesionError(
                f"The promotion log {self.path} failed: {reason.rstrip('.')}. {then}", code="log_failed"
            ) from error


def champions_before(changes: Sequence[Promotion], current: str | None) -> list[Promotion]:
    """Changes that made the earlier champions, latest first: what a rollback can return to.

    A rollback takes its step back, so a second one goes further back and not forth again.
    """
    stack: list[Promotion] = []
    for change in changes:
        if change.outcome == DONE and change.action is Action.ROLLBACK:
            if change.to_version not in {entry.to_version for entry in stack}:
                stack[-1:] = [change]  # how it became champion is not known any more
            while stack[-1].to_version != change.to_version:
                stack.pop()
        elif change.outcome == DONE:
            if change.from_version and (not stack or stack[-1].to_version != change.from_version):
                stack.append(attrs.evolve(change, to_version=change.from_version, to_digest=""))  # moved by other means
            stack.append(change)
    if stack and stack[-1].to_version == current:
        stack.pop()
    return stack[::-1]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
