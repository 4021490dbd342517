"""Records for tests of the prediction store, and stores in a folder."""

from __future__ import annotations

import hashlib
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from lesion_core.taxonomy import ISIC_2019, Malignancy
from lesion_core.wire import (
    ClassProbability,
    ConformalSet,
    MalignancyRisk,
    ModelIdentity,
    OutOfDistribution,
    Prediction,
    to_json,
)
from lesion_serve.store import (
    AnchorFile,
    Database,
    FeedbackRecord,
    ImageStore,
    PredictionRecord,
    PredictionStore,
    Principal,
    Verdict,
    Verification,
    verify,
)

CLINICIAN = Principal(key_id="key-7", role="clinician")
START = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)


def image_of(number: int) -> bytes:
    """Bytes that stand for an image; the store does not look into them."""
    return b"\xff\xd8 image %d" % number


def make_answer(number: int, *, version: str = "1") -> Prediction:
    """An answer of the size that real ones have."""
    names = [*ISIC_2019.trained_codes, "UNK"]
    return Prediction(
        request_id=f"request-{number}",
        model=ModelIdentity(name="skin-lesion", version=version, backbone="vit_tiny", bundle_digest="ab" * 32),
        probabilities=tuple(
            ClassProbability(code=name, name=f"Diagnosis – {name}", malignancy=Malignancy.BENIGN, probability=1 / 9)
            for name in names
        ),
        out_of_distribution=OutOfDistribution(
            detector="mahalanobis", score=0.1 + number, threshold=9.5, is_outside=False
        ),
        conformal_set=ConformalSet(codes=("NV", "MEL"), coverage=0.9),
        risk=MalignancyRisk(
            probability=1 / 3, band="low", lower=0.0, upper=0.5, sensitivity=0.95, images=9, malignant=1, prevalence=0.2
        ),
        timings_ms={"decode": 3.25, "network": 21.0625},
    )


def make_record(number: int, *, version: str = "1", **more: Any) -> PredictionRecord:
    """The record of an answer, asked ``number`` minutes after ``START``, about subject ``person-<number modulo 3>``."""
    image = image_of(number)
    values: dict[str, Any] = {
        "at": START + timedelta(minutes=number),
        "principal": CLINICIAN,
        "image_sha256": hashlib.sha256(image).hexdigest(),
        "image_bytes": len(image),
        "subject": f"person-{number % 3}",
        "timings_ms": {"total": 31.5},
    }
    return PredictionRecord.of(make_answer(number, version=version), **{**values, **more})


def make_comment(number: int, comment: str | None = "a word of Mrs Smith") -> FeedbackRecord:
    """Somebody disagrees with an answer, an hour after ``START``."""
    return FeedbackRecord(
        request_id=f"request-{number}",
        principal=CLINICIAN,
        verdict=Verdict.OTHER,
        diagnosis="MEL",
        comment=comment,
        at=START + timedelta(hours=1),
    )


def url_in(folder: Path) -> str:
    """Address of the SQLite database that ``open_store`` uses."""
    return f"sqlite:///{folder / 'predictions.db'}"


def anchors_in(folder: Path) -> AnchorFile:
    """The anchors that ``open_store`` uses."""
    return AnchorFile(folder / "anchors" / "heads.jsonl")


def open_store(folder: Path, *, images: ImageStore | None = None, **options: Any) -> PredictionStore:
    """A store in a folder."""
    return PredictionStore.open(url_in(folder), anchors=anchors_in(folder).path, images=images, **options)


def check(folder: Path, images: ImageStore | None = None) -> Verification:
    """What an audit says of the store in a folder."""
    database = Database(url_in(folder))
    try:
        return verify(database, anchors_in(folder), images)
    finally:
        database.close()


def tamper(folder: Path, *statements: str) -> int:
    """Do what the triggers forbid, as somebody with the file in hand can; returns how many rows that changed."""
    with sqlite3.connect(folder / "predictions.db", isolation_level=None) as connection:
        guards = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in guards:
            connection.execute(f"DROP TRIGGER {name}")
        changed = sum(connection.execute(statement).rowcount for statement in statements)
        for _, sql in guards:
            connection.execute(sql)
    connection.close()
    return changed


def answer_of(number: int) -> str:
    """The JSON that left."""
    return to_json(make_answer(number))
