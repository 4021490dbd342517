"""Reading predictions and feedback back, one or a page at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

import attrs
import msgspec
import sqlalchemy as sa

from lesion_core.wire import Features, ModelIdentity, features_from_json
from lesion_serve.store.chain import stamp
from lesion_serve.store.database import Database
from lesion_serve.store.errors import StoreError
from lesion_serve.store.records import (
    AlertRecord,
    Kind,
    Principal,
    Role,
    Source,
    StoredFeedback,
    StoredPrediction,
    Verdict,
)
from lesion_serve.store.tables import erased, event, fact, feature

PAGE = 500
_Row = Mapping[Any, Any]
_Stored = TypeVar("_Stored")


@attrs.frozen(kw_only=True)
class Window:
    """Which predictions are wanted; ``None`` wants all. From ``since`` on, up to but without ``until``."""

    since: datetime | None = None
    until: datetime | None = None
    model_name: str | None = None
    model_version: str | None = None
    role: Role | None = None

    def conditions(self) -> Iterator[sa.ColumnElement[bool]]:
        """As the database has to check them."""
        if self.since is not None:
            yield event.c.at >= stamp(self.since)
        if self.until is not None:
            yield event.c.at < stamp(self.until)
        for name in ("model_name", "model_version", "role"):
            if (wanted := getattr(self, name)) is not None:
                yield event.c[name] == str(wanted)


def find_prediction(database: Database, request_id: str, role: Role) -> StoredPrediction:
    """One prediction with its feedback.

    Raises:
        StoreError: ``no_prediction``.
    """
    found: list[StoredPrediction] = []
    if "\0" not in request_id:  # which PostgreSQL takes in no text, so that no record has it either
        with database.reading() as connection:
            query = sa.select(event).where(
                event.c.request_id == request_id, event.c.kind == Kind.PREDICTION.value, event.c.role == role.value
            )
            found = _predictions(connection, connection.execute(query).mappings().all())
    if not found:
        raise StoreError(f"There is no prediction {request_id!r} ({role.value}).", code="no_prediction")
    return found[0]


def read_predictions(database: Database, window: Window) -> Iterator[StoredPrediction]:
    """All predictions of a window, oldest first, a page in memory at a time; what comes in meanwhile may be in it."""
    return _read(database, Kind.PREDICTION, window, _predictions)


def read_alerts(database: Database, window: Window) -> Iterator[AlertRecord]:
    """All alerts of a window, oldest first."""
    return _read(database, Kind.ALERT, window, _alerts)


def facts_of(connection: sa.Connection, positions: Iterable[int]) -> dict[int, dict[str, str]]:
    """The personal facts of events that are still there, by position and name."""
    found: dict[int, dict[str, str]] = {}
    for row in connection.execute(sa.select(fact).where(fact.c.position.in_(list(positions)))):
        found.setdefault(row.position, {})[row.name] = row.value
    return found


def find_features(database: Database, position: int) -> Features | None:
    """What monitoring keeps of the image of one prediction; ``None`` where nothing was kept, or it was erased."""
    with database.reading() as connection:
        value = connection.scalar(sa.select(feature.c.value).where(feature.c.position == position))
    return None if value is None else features_from_json(value)


def feedback_on(connection: sa.Connection, request_ids: Iterable[str]) -> dict[str, list[StoredFeedback]]:
    """The feedback on some predictions, oldest first, by their ids; without those that have none."""
    about = sa.select(event).where(event.c.request_id.in_(list(request_ids)), event.c.kind == Kind.FEEDBACK.value)
    found: dict[str, list[StoredFeedback]] = {}
    for said in _feedback(connection, connection.execute(about.order_by(event.c.position)).mappings().all()):
        found.setdefault(said.request_id, []).append(said)
    return found


def _read(
    database: Database, kind: Kind, window: Window, build: Callable[[sa.Connection, Sequence[_Row]], list[_Stored]]
) -> Iterator[_Stored]:
    after: tuple[str, int] | None = None
    while True:
        query = sa.select(event).where(event.c.kind == kind.value, *window.conditions())
        if after is not None:
            query = query.where(sa.tuple_(event.c.at, event.c.position) > sa.tuple_(*after))
        with database.reading() as connection:
            query = query.order_by(event.c.at, event.c.position).limit(PAGE)
            rows: Sequence[_Row] = connection.execute(query).mappings().all()
            page = build(connection, rows)
        yield from page
        if len(rows) < PAGE:
            return
        after = rows[-1]["at"], rows[-1]["position"]


def _predictions(connection: sa.Connection, rows: Sequence[_Row]) -> list[StoredPrediction]:
    positions = [row["position"] for row in rows]
    facts, gone = facts_of(connection, positions), dict[int, list[str]]()
    for line in connection.execute(sa.select(erased).where(erased.c.position.in_(positions))):
        gone.setdefault(line.position, []).append(line.name)
    feedback = feedback_on(connection, [row["request_id"] for row in rows])
    return [_prediction(row, facts.get(row["position"], {}), gone.get(row["position"], []), feedback) for row in rows]


def _prediction(
    row: _Row,
    facts: Mapping[str, str],
    gone: list[str],
    feedback: Mapping[str, list[StoredFeedback]],
) -> StoredPrediction:
    content = json.loads(row["content"])
    return StoredPrediction(
        position=row["position"],
        digest=row["digest"],
        request_id=row["request_id"],
        at=datetime.fromisoformat(row["at"]),
        principal=Principal(**content["principal"]),
        model=ModelIdentity(
            name=row["model_name"],
            version=row["model_version"],
            backbone=content["backbone"],
            bundle_digest=content["bundle_digest"],
        ),
        image_sha256=facts.get("image_sha256"),
        image_bytes=content["image_bytes"],
        answer=msgspec.json.encode(content["answer"]).decode(),
        role=Role(row["role"]),
        subject=facts.get("subject"),
        timings_ms=content["timings_ms"],
        has_image="image" in facts,
        erased=tuple(sorted(gone)),
        feedback=tuple(feedback.get(row["request_id"], ())),
    )


def _feedback(connection: sa.Connection, rows: Sequence[_Row]) -> list[StoredFeedback]:
    facts = facts_of(connection, [row["position"] for row in rows])
    return [
        StoredFeedback(
            position=row["position"],
            request_id=row["request_id"],
            at=datetime.fromisoformat(row["at"]),
            principal=Principal(**content["principal"]),
            verdict=Verdict(content["verdict"]),
            diagnosis=content["diagnosis"],
            comment=facts.get(row["position"], {}).get("comment"),
            source=Source(content.get("source", Source.CLINICAL.value)),  # older records do not say
        )
        for row in rows
        for content in [json.loads(row["content"])]
    ]


def _alerts(connection: sa.Connection, rows: Sequence[_Row]) -> list[AlertRecord]:
    return [AlertRecord(at=datetime.fromisoformat(row["at"]), **json.loads(row["content"])) for row in rows]
