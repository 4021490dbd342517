"""What a report is made of, out of the prediction store: a small row for each prediction, whatever the answer holds.

A hundred thousand answers are read in seconds and never lie in memory at once: of each only these few values stay.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import sqlalchemy as sa

from lesion_core.drift_reference import DriftSample, embedding_from_text
from lesion_core.service import that_counts
from lesion_core.taxonomy import Malignancy
from lesion_core.wire import worst_grade
from lesion_serve.store import Database, Source, Verdict, Window
from lesion_serve.store.reading import PAGE
from lesion_serve.store.records import Kind
from lesion_serve.store.tables import event, fact, feature


@attrs.frozen(kw_only=True)
class _Said:
    """The part of a feedback that a diagnosis is read from."""

    verdict: Verdict
    diagnosis: str | None
    source: Source


@attrs.frozen(kw_only=True)
class Review:
    """What counts of all that was said of an answer (``lesion_core.service.that_counts``): ``diagnosis`` is a code."""

    diagnosis: str
    source: Source


@attrs.frozen(kw_only=True)
class Seen:
    """One prediction.

    Attributes:
        position: in the log.
        request_id: of the prediction.
        at: ISO 8601, UTC.
        version, bundle_digest: what answered.
        top: code of the most probable class.
        probability: of ``top``.
        malignant: codes of the malignant classes.
        risk: of malignancy; ``None`` where the model states none.
        band: triage band of it.
        is_outside: unlike the training images.
        outside_threshold: of ``strangeness``, from which on it is.
        strangeness: on the scale of the detector.
        quality: grade of the photograph.
        timings_ms: by stage.
        review: the diagnosis as it is known by now, ``None`` where nobody said.
    """

    position: int
    request_id: str
    at: str
    version: str
    bundle_digest: str
    top: str
    probability: float
    malignant: frozenset[str]
    risk: float | None
    band: str | None
    is_outside: bool
    outside_threshold: float
    strangeness: float
    quality: str
    timings_ms: Mapping[str, float]
    review: Review | None = None


def read_seen(database: Database, window: Window, *, last: int | None = None) -> list[Seen]:
    """Predictions of a window, oldest first.

    Args:
        database: of the store.
        window: which ones.
        last: only so many, the newest.
    """
    found: list[Seen] = []
    for rows in _pages(database, window, last):
        reviews = _reviews(database, [row["request_id"] for row in rows])
        found += [_seen(row, reviews.get(row["request_id"], ())) for row in rows]
    return found[::-1]


def independent(database: Database, seen: Sequence[Seen]) -> list[Seen]:
    """One of each patient and of each image, the first: what a test may take for independent.

    Where the subject was never told, or was erased, every image counts.
    """
    facts: dict[int, dict[str, str]] = {}
    with database.reading() as connection:
        for positions in _groups([one.position for one in seen]):
            query = sa.select(fact.c.position, fact.c.name, fact.c.value).where(
                fact.c.position.in_(positions), fact.c.name.in_(("subject", "image_sha256"))
            )
            for row in connection.execute(query):
                facts.setdefault(row.position, {})[row.name] = row.value
    taken: set[tuple[str, str]] = set()
    chosen = []
    for one in seen:
        marks = set(facts.get(one.position, {}).items())
        if not marks & taken:
            chosen.append(one)
        taken |= marks
    return chosen


def read_sample(database: Database, seen: Sequence[Seen]) -> DriftSample | None:
    """Those of the predictions that came with features, as drift is compared; ``None`` where none did."""
    found: list[tuple[dict[str, Any], float]] = []
    by_position = {one.position: one for one in seen}
    with database.reading() as connection:
        for positions in _groups(list(by_position)):
            query = sa.select(feature).where(feature.c.position.in_(positions)).order_by(feature.c.position)
            found += [
                (json.loads(row.value), by_position[row.position].strangeness) for row in connection.execute(query)
            ]
    if not found:
        return None
    return DriftSample(
        embeddings=np.stack([embedding_from_text(one["embedding_base64"]) for one, _ in found]),
        probabilities=np.array([one["probabilities"] for one, _ in found], dtype=np.float32),
        strangeness=np.array([strangeness for _, strangeness in found], dtype=np.float32),
        quality={
            name: np.array([one["quality"].get(name) for one, _ in found], dtype=np.float32)  # None becomes NaN
            for name in found[0][0]["quality"]
        },
    )


def _pages(database: Database, window: Window, last: int | None) -> Iterator[Sequence[Mapping[Any, Any]]]:
    """Newest first."""
    before: tuple[str, int] | None = None
    left = last
    columns = [event.c[name] for name in ("position", "at", "request_id", "model_version", "content")]
    while left is None or left > 0:
        size = PAGE if left is None else min(PAGE, left)
        query = sa.select(*columns).where(event.c.kind == Kind.PREDICTION.value, *window.conditions())
        if before is not None:
            query = query.where(sa.tuple_(event.c.at, event.c.position) < sa.tuple_(*before))
        with database.reading() as connection:
            query = query.order_by(event.c.at.desc(), event.c.position.desc()).limit(size)
            rows = connection.execute(query).mappings().all()
        if rows:
            yield rows
        if len(rows) < size:
            return
        before = rows[-1]["at"], rows[-1]["position"]
        left = None if left is None else left - len(rows)


def _seen(row: Mapping[Any, Any], said: Sequence[_Said]) -> Seen:
    content = json.loads(row["content"])
    answer = content["answer"]
    top = max(answer["probabilities"], key=lambda one: one["probability"])
    risk, outside = answer["risk"], answer["out_of_distribution"]
    return Seen(
        position=row["position"],
        request_id=row["request_id"],
        at=row["at"],
        version=row["model_version"],
        bundle_digest=content["bundle_digest"],
        top=top["code"],
        probability=top["probability"],
        malignant=_malignant(answer),
        risk=None if risk is None else risk["probability"],
        band=None if risk is None else risk["band"],
        is_outside=outside["is_outside"],
        outside_threshold=outside["threshold"],
        strangeness=outside["score"],
        quality=worst_grade(finding["grade"] for finding in answer["quality"]),
        timings_ms=content["timings_ms"],
        review=_review(said, top["code"]),
    )


_MALIGNANT: dict[frozenset[str], frozenset[str]] = {}


def _malignant(answer: Mapping[str, Any]) -> frozenset[str]:
    """One set for all answers that have the same, so that memory holds it once."""
    codes = frozenset(one["code"] for one in answer["probabilities"] if one["malignancy"] == Malignancy.MALIGNANT.value)
    return _MALIGNANT.setdefault(codes, codes)


def _review(said: Sequence[_Said], top: str) -> Review | None:
    counting = that_counts([one for one in said if one.verdict is not Verdict.COMMENT])
    if counting is None:
        return None
    return Review(
        diagnosis=top if counting.verdict is Verdict.AGREE else str(counting.diagnosis), source=counting.source
    )


def _reviews(database: Database, requests: Sequence[str]) -> dict[str, list[_Said]]:
    """What was said of answers, by request, oldest first."""
    found: dict[str, list[_Said]] = {}
    query = sa.select(event.c.request_id, event.c.content).where(
        event.c.request_id.in_(list(requests)), event.c.kind == Kind.FEEDBACK.value
    )
    with database.reading() as connection:
        for row in connection.execute(query.order_by(event.c.position)):
            content = json.loads(row.content)
            said = _Said(
                verdict=Verdict(content["verdict"]),
                diagnosis=content["diagnosis"],
                source=Source(content.get("source", Source.CLINICAL.value)),
            )
            found.setdefault(row.request_id, []).append(said)
    return found


def _groups(positions: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(positions), PAGE):
        yield positions[start : start + PAGE]
