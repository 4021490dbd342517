"""What monitoring keeps in the store: features beside the chain, sources of feedback and alerts in it."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import sqlalchemy as sa

from lesion_core.drift_reference import embedding_from_text, embedding_to_text
from lesion_core.wire import DescribedPrediction, Features, Prediction, answer_from_json, describe, from_json, to_json
from lesion_serve.gateway.retention import Retention
from lesion_serve.store import AlertRecord, PredictionRecord, PredictionStore, Role, Source, StoreError, Verdict, Window
from lesion_serve.store.tables import event, feature
from support.stored import CLINICIAN, START, check, make_answer, make_comment, make_record, open_store


def make_features(number: int) -> Features:
    return Features(
        embedding_base64=embedding_to_text(np.array([0.25 * number, -1.5])),
        probabilities=(0.25, 0.75),
        quality={"focus": 0.5, "hair": None},
    )


def described(number: int) -> DescribedPrediction:
    """An answer with its features."""
    return describe(make_answer(number), make_features(number))


def record_of(number: int, **more: Any) -> PredictionRecord:
    """As ``make_record``, with features."""
    facts = {"principal": CLINICIAN, "image_sha256": "0" * 64, "image_bytes": 1}
    return attrs.evolve(make_record(number, **more), features=PredictionRecord.of(described(number), **facts).features)


def kept(store: PredictionStore) -> dict[str, dict[str, object]]:
    """Features by request and role."""
    query = sa.select(event.c.request_id, event.c.role, feature.c.value).join(feature)
    with store.database.reading() as connection:
        return {f"{row.request_id} {row.role}": json.loads(row.value) for row in connection.execute(query)}


def alert(state: str = "firing", minute: int = 0) -> AlertRecord:
    return AlertRecord(
        name="drift",
        state=state,
        severity="warning",
        value=2.0,
        message="2 checks",
        at=START + timedelta(minutes=minute),
    )


def test_features_lie_beside_the_chain(tmp_path: Path) -> None:
    """As they came; the audit does not miss them where they are gone, and the answer does not hold them."""
    with open_store(tmp_path) as store:
        store.append(record_of(2))
        assert kept(store) == {"request-2 answered": json.loads(record_of(2).features or "")}
        assert "features" not in json.loads(store.prediction("request-2").answer)
        assert store.prediction("request-2").prediction == make_answer(2)
        assert store.erase_old_features(older_than_days=0).events == 1
        assert kept(store) == {}
    assert check(tmp_path).is_intact


def test_features_of_a_refused_record_are_not_kept(tmp_path: Path) -> None:
    """They are in its transaction."""
    with open_store(tmp_path) as store:
        store.append(make_record(1))
        with pytest.raises(StoreError, match="already"):
            store.append(record_of(1))
        assert kept(store) == {}


def test_erasing_a_person_erases_features(tmp_path: Path) -> None:
    """Of the answer and of what a challenger said in the shadow; those of other people stay."""
    with open_store(tmp_path) as store:
        for number in (0, 1):
            store.append(record_of(number))
            store.append(record_of(number, role=Role.SHADOW))
        store.erase_subject("person-0", principal=CLINICIAN, reason="case-1")
        assert set(kept(store)) == {"request-1 answered", "request-1 shadow"}
    assert check(tmp_path).is_intact


def test_old_features_go_and_young_ones_stay(tmp_path: Path) -> None:
    """By the time of the question."""
    with open_store(tmp_path) as store:
        store.append(record_of(1, at=datetime.now(UTC) - timedelta(days=40)))
        store.append(record_of(2, at=datetime.now(UTC) - timedelta(days=20)))
        assert store.erase_old_features(older_than_days=30).events == 1
        assert set(kept(store)) == {"request-2 answered"}


def test_the_wire_carries_features_only_to_whoever_asks_for_them() -> None:
    """Who reads an answer gets it without; the values come back as they were, to half precision."""
    told = described(1)

    assert from_json(to_json(told), Prediction) == make_answer(1) == told.undescribed
    assert answer_from_json(to_json(told)) == told
    assert answer_from_json(to_json(make_answer(1))) == make_answer(1)
    np.testing.assert_array_equal(embedding_from_text(told.features.embedding_base64), [0.25, -1.5])


def test_feedback_says_how_a_diagnosis_is_known(tmp_path: Path) -> None:
    """By looking at the patient unless it says otherwise, also where an older record does not say."""
    with open_store(tmp_path) as store:
        store.append(make_record(1))
        store.append_feedback(make_comment(1))
        histology = attrs.evolve(make_comment(1), source=Source.HISTOLOGY, verdict=Verdict.OTHER, diagnosis="BCC")
        store.append_feedback(histology)
        assert [one.source for one in store.prediction("request-1").feedback] == [Source.CLINICAL, Source.HISTOLOGY]


def test_alerts_are_events_of_the_chain(tmp_path: Path) -> None:
    """Read back as they were written, by their time."""
    with open_store(tmp_path) as store:
        store.append_alert(alert())
        store.append_alert(alert("resolved", minute=9))
        assert list(store.alerts()) == [alert(), alert("resolved", minute=9)]
        assert list(store.alerts(Window(since=START + timedelta(minutes=5)))) == [alert("resolved", minute=9)]
    found = check(tmp_path)
    assert found.is_intact
    assert found.events == 3


def test_a_gateway_erases_old_features_by_itself(tmp_path: Path) -> None:
    """Of answers without a kept image and of shadows; young ones stay."""
    with open_store(tmp_path) as store:
        for number, days in ((1, 40), (2, 20)):
            for role in Role:
                store.append(record_of(number, role=role, at=datetime.now(UTC) - timedelta(days=days)))
        retention = Retention(store, features_days=30)
        deadline = time.monotonic() + 60
        while len(kept(store)) > 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        retention.stop()
        assert set(kept(store)) == {"request-2 answered", "request-2 shadow"}
    assert check(tmp_path).is_intact
