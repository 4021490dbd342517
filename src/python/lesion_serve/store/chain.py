"""The arithmetic of the chain: what is hashed, and how something that is hashed can still be erased.

An event's digest is

    sha256("lesion-event-1" LF  previous digest  LF
           JSON of [at, kind, request_id, role, model_name, model_version, content])

with ``content`` as the very text that lies in the database, so nothing depends on how a library prints numbers. The
position is not in it: it follows from the links, and ``audit`` checks both against each other.

A personal fact (a subject, the fingerprint of an image, a comment, the key of an image) lies in a table of its own,
with 32 random bytes of salt. The event holds its *commitment* only:

    sha256("lesion-fact-1" LF  salt  LF  JSON of [name, value])

Whoever has salt and value can show that they belong to the event. Once both are deleted, the commitment says nothing
about the value, not even to somebody who guesses it, and the digest of the event still comes out as before.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import attrs
import msgspec

from lesion_serve.store.records import AlertRecord, FeedbackRecord, Kind, PredictionRecord

START = "0" * 64
HASHED = ("at", "kind", "request_id", "role", "model_name", "model_version", "content")
SALT_BYTES = 32


@attrs.frozen(kw_only=True)
class Entry:
    """An event that has no place in the chain yet.

    Attributes:
        content: what is hashed beside the columns; values that JSON has.
        facts: personal facts by name; hashed as commitments only, with the salts of ``salted``.
        features: what monitoring keeps beside the log; not hashed at all.
    """

    at: datetime
    kind: Kind
    request_id: str | None = None
    role: str | None = None
    model_name: str | None = None
    model_version: str | None = None
    content: Mapping[str, Any]
    facts: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    features: str | None = attrs.field(default=None, repr=False)


def event_digest(previous: str, event: Mapping[str, Any]) -> str:
    """sha256 of an event and all that came before, in hexadecimal.

    Args:
        previous: digest of the event before; ``START`` for the first one.
        event: has the columns ``HASHED``; text or ``None`` each.
    """
    body = json.dumps([event[name] for name in HASHED], ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(b"lesion-event-1\n" + previous.encode() + b"\n" + body.encode()).hexdigest()


def commitment(salt: str, name: str, value: str) -> str:
    """sha256 that binds a personal fact without telling it, in hexadecimal; ``salt`` is in hexadecimal too."""
    body = json.dumps([name, value], ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(b"lesion-fact-1\n" + bytes.fromhex(salt) + b"\n" + body.encode()).hexdigest()


def columns_of(entry: Entry) -> tuple[dict[str, str | None], list[dict[str, str]]]:
    """The hashed columns of an event, and the rows of its personal facts with fresh salts."""
    facts = [
        {"name": name, "salt": secrets.token_hex(SALT_BYTES), "value": value} for name, value in entry.facts.items()
    ]
    commitments = {fact["name"]: commitment(**fact) for fact in facts}
    content = {**entry.content, **({"facts": commitments} if commitments else {})}
    columns = {
        "at": stamp(entry.at),
        "kind": entry.kind.value,
        "request_id": entry.request_id,
        "role": entry.role,
        "model_name": entry.model_name,
        "model_version": entry.model_version,
        "content": json.dumps(content, ensure_ascii=False, allow_nan=False),
    }
    return columns, facts


def stamp(at: datetime) -> str:
    """A time as text in UTC, of one length, so that text sorts as time does."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def prediction_entry(record: PredictionRecord, image: str | None = None) -> Entry:
    """The event of a prediction; ``image`` is the fact that lets a kept image be read, see ``images``."""
    facts = {
        "image_sha256": record.image_sha256,
        "subject": record.subject,
        "image": image,
    }
    return Entry(
        at=record.at,
        kind=Kind.PREDICTION,
        request_id=record.request_id,
        role=record.role.value,
        model_name=record.model.name,
        model_version=record.model.version,
        content={
            "principal": attrs.asdict(record.principal),
            "backbone": record.model.backbone,
            "bundle_digest": record.model.bundle_digest,
            "image_bytes": record.image_bytes,
            "timings_ms": record.timings_ms,
            "answer": msgspec.json.decode(record.answer),
        },
        facts={name: value for name, value in facts.items() if value is not None},
        features=record.features,
    )


def feedback_entry(record: FeedbackRecord) -> Entry:
    """The event of a feedback."""
    return Entry(
        at=record.at,
        kind=Kind.FEEDBACK,
        request_id=record.request_id,
        content={
            "principal": attrs.asdict(record.principal),
            "verdict": record.verdict.value,
            "diagnosis": record.diagnosis,
            "source": record.source.value,
        },
        facts={"comment": record.comment} if record.comment else {},
    )


def alert_entry(record: AlertRecord) -> Entry:
    """The event of an alert."""
    content = attrs.asdict(record, filter=attrs.filters.exclude("at"))
    return Entry(at=record.at, kind=Kind.ALERT, content=content)
