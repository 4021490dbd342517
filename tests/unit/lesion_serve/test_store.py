"""The prediction store: what goes in comes out, once, in order, whoever writes."""

from __future__ import annotations

import base64
import sqlite3
import subprocess
import sys
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import attrs
import pytest

from lesion_core.processes import child_environment
from lesion_core.wire import PNG_SIGNATURE, HeatMap
from lesion_serve.store import Database, FeedbackRecord, PredictionRecord, Role, Search, StoreError, Verdict, Window
from lesion_serve.store.appending import Appender
from lesion_serve.store.chain import prediction_entry
from support.stored import (
    CLINICIAN,
    START,
    answer_of,
    check,
    make_answer,
    make_comment,
    make_record,
    open_store,
    url_in,
)


def test_a_heat_map_is_not_written_down() -> None:
    """It shows the skin of a person, and the chain forgets nothing."""
    drawn = HeatMap(
        code="NV",
        method="class_activation",
        lowest=0.0,
        highest=1.0,
        colours="viridis",
        png_base64=base64.b64encode(PNG_SIGNATURE).decode(),
    )
    answer = attrs.evolve(make_answer(1), heat_map=drawn)

    record = PredictionRecord.of(answer, principal=CLINICIAN, image_sha256="ab" * 32, image_bytes=5)

    assert record.prediction == make_answer(1)


def test_a_prediction_comes_back_as_it_went_in(tmp_path: Path) -> None:
    """After the store was closed; the answer is byte for byte what left."""
    record = make_record(1)
    with open_store(tmp_path) as store:
        receipt = store.append(record)
    with open_store(tmp_path) as store:
        found = store.prediction("request-1")

    assert (found.position, found.digest) == (receipt.position, receipt.digest)
    assert found.answer == record.answer == answer_of(1)
    assert found.prediction == make_answer(1)
    for name in (
        "at",
        "principal",
        "model",
        "image_sha256",
        "image_bytes",
        "subject",
        "timings_ms",
        "role",
    ):
        assert getattr(found, name) == getattr(record, name)
    assert (found.has_image, found.erased, found.feedback) == (False, (), ())


def test_nothing_personal_is_in_what_is_hashed(tmp_path: Path) -> None:
    """Neither subject, nor fingerprint, nor comment."""
    record = make_record(1)
    with open_store(tmp_path) as store:
        store.append(record)
        store.append_feedback(make_comment(1))
    with sqlite3.connect(tmp_path / "predictions.db") as connection:
        hashed = repr(connection.execute("SELECT * FROM event").fetchall())
    connection.close()

    assert "request-1" in hashed
    for personal in ("person-1", record.image_sha256, "Mrs Smith"):
        assert personal not in hashed


def test_a_request_has_one_answer_and_one_shadow(tmp_path: Path) -> None:
    """A second of either is refused by name, and the chain has no trace of it."""
    with open_store(tmp_path) as store:
        store.append(make_record(1))
        store.append(make_record(1, role=Role.SHADOW, version="2"))
        for role in Role:
            with pytest.raises(StoreError, match="request-1") as refused:
                store.append(make_record(1, role=role))
            assert refused.value.code == "duplicate_request"
        shadow = store.prediction("request-1", Role.SHADOW)

    assert shadow.model.version == "2"
    assert check(tmp_path).events == 3


def test_feedback_stands_beside_its_prediction_in_order(tmp_path: Path) -> None:
    """Agreement, another diagnosis, a comment."""
    with open_store(tmp_path) as store:
        store.append(make_record(1))
        agree = FeedbackRecord(request_id="request-1", principal=CLINICIAN, verdict=Verdict.AGREE)
        store.append_feedback(agree)
        store.append_feedback(make_comment(1))
        found = store.prediction("request-1").feedback

    assert [(said.verdict, said.diagnosis, said.comment) for said in found] == [
        (Verdict.AGREE, None, None),
        (Verdict.OTHER, "MEL", "a word of Mrs Smith"),
    ]
    assert [said.position for said in found] == sorted(said.position for said in found)


def test_feedback_on_an_unknown_prediction_is_refused(tmp_path: Path) -> None:
    """As is looking it up."""
    with open_store(tmp_path) as store:
        with pytest.raises(StoreError) as refused:
            store.append_feedback(make_comment(9))
        with pytest.raises(StoreError) as missing:
            store.prediction("request-9")

    assert refused.value.code == missing.value.code == "no_prediction"


@pytest.mark.parametrize(
    "values",
    [
        {"verdict": Verdict.OTHER},
        {"verdict": Verdict.AGREE, "diagnosis": "MEL"},
        {"verdict": Verdict.COMMENT},
        {"verdict": Verdict.COMMENT, "comment": "x" * 4001},
        {"verdict": Verdict.COMMENT, "comment": "\ud800"},
        {"verdict": Verdict.COMMENT, "comment": "a\0b"},
        {"verdict": Verdict.OTHER, "diagnosis": "a\0b"},
        {"verdict": Verdict.AGREE, "request_id": ""},
        {"verdict": Verdict.AGREE, "at": datetime(2026, 1, 1)},
    ],
)
def test_feedback_that_cannot_be_is_no_value(values: dict[str, Any]) -> None:
    """Before it reaches a database."""
    with pytest.raises(StoreError) as refused:
        FeedbackRecord(**{"request_id": "request-1", "principal": CLINICIAN, **values})

    assert refused.value.code == "bad_record"


@pytest.mark.parametrize(
    "values",
    [{"image_sha256": "AB" * 32}, {"image_bytes": -1}, {"subject": "two words"}, {"timings_ms": {"a": float("nan")}}],
)
def test_a_record_that_cannot_be_is_refused(tmp_path: Path, values: dict[str, Any]) -> None:
    """By name, and the store goes on."""
    with open_store(tmp_path) as store:
        with pytest.raises(StoreError) as refused:
            store.append(make_record(1, **values))
        store.append(make_record(1))

    assert refused.value.code == "bad_record"
    assert check(tmp_path).is_intact


def test_predictions_are_read_by_time_model_and_role(tmp_path: Path) -> None:
    """The start belongs to a window and the end does not; times of other zones are the same times."""
    east = timezone(timedelta(hours=5))
    with open_store(tmp_path) as store:
        for number in reversed(range(8)):
            store.append(make_record(number, version=str(number % 2)))
        store.append(make_record(9, role=Role.SHADOW))

        def numbers(**values: Any) -> list[int]:
            return [int(found.request_id[8:]) for found in store.predictions(Window(**values))]

        assert numbers() == [0, 1, 2, 3, 4, 5, 6, 7, 9]
        assert numbers(since=START + timedelta(minutes=2), until=START + timedelta(minutes=4)) == [2, 3]
        assert numbers(since=(START + timedelta(minutes=7)).astimezone(east)) == [7, 9]
        assert numbers(model_version="1", role=Role.ANSWERED) == [1, 3, 5, 7]
        assert numbers(role=Role.SHADOW) == [9]


def test_pages_join_without_a_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where many were asked at the same time."""
    monkeypatch.setattr("lesion_serve.store.reading.PAGE", 3)
    with open_store(tmp_path) as store:
        for number in range(8):
            store.append(make_record(number, at=START + timedelta(minutes=number // 5)))
        found = [item.request_id for item in store.predictions()]

    assert found == [f"request-{number}" for number in range(8)]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE event SET at = at",
        "DELETE FROM event",
        "UPDATE fact SET value = 'x'",
        "DELETE FROM fact",
        "REPLACE INTO event SELECT * FROM event",
        "REPLACE INTO fact SELECT position, name, salt, 'x' FROM fact",
        "INSERT INTO erased VALUES (2, 'subject', 1); UPDATE erased SET name = 'x'",
        "INSERT INTO erased VALUES (2, 'subject', 1); DELETE FROM erased",
    ],
)
def test_the_database_itself_refuses_to_alter_what_was_written(tmp_path: Path, statement: str) -> None:
    """Whoever asks it, with plain SQL."""
    with open_store(tmp_path) as store:
        store.append(make_record(1))
    connection = sqlite3.connect(tmp_path / "predictions.db")
    try:
        with pytest.raises(sqlite3.IntegrityError, match=r"only appended to|only after the chain"):
            connection.executescript(f"BEGIN; {statement}")
        connection.rollback()
    finally:
        connection.close()

    assert check(tmp_path).is_intact


def test_every_connection_is_wal_and_full(tmp_path: Path) -> None:
    """Synchronous FULL is 2: each commit reaches the disk."""
    with open_store(tmp_path) as store, store.database.reading() as connection:
        values = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")]

    assert values == ["wal", 2]


def test_the_files_are_for_their_owner_only(tmp_path: Path) -> None:
    """The database, its write-ahead log, and the anchors."""
    with open_store(tmp_path) as store:
        store.append(make_record(1))
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        modes = {path.name: path.stat().st_mode & 0o077 for path in files}

    assert {"predictions.db", "predictions.db-wal", "heads.jsonl"} <= set(modes)
    assert set(modes.values()) == {0}


def test_threads_append_at_once_and_share_commits(tmp_path: Path) -> None:
    """Eight threads; every record once, no hole, and one refused record takes nobody with it."""
    refused: list[str] = []
    with open_store(tmp_path) as store:

        def work(first: int) -> None:
            for number in (*range(first, first + 10), 1000):
                try:
                    store.append(make_record(number))
                except StoreError as error:
                    refused.append(error.code)

        threads = [threading.Thread(target=work, args=(100 * n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    found = check(tmp_path)
    assert refused == ["duplicate_request"] * 7
    assert (found.events, found.is_intact) == (82, True)


APPEND = """
import sys
from pathlib import Path
from support.stored import make_record, open_store
folder, first = Path(sys.argv[1]), int(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
with open_store(folder) as store:
    for number in range(first, first + 10):
        store.append(make_record(number))
"""


def test_processes_that_start_at_once_on_no_database_share_one_chain(tmp_path: Path) -> None:
    """They make the tables once, begin the chain once, and append in turn."""
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", APPEND, str(tmp_path), str(100 * n)],
            env=child_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for n in range(4)
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("\n")
        writer.stdin.flush()
    for writer in writers:
        _, errors = writer.communicate(timeout=300)
        assert writer.returncode == 0, errors

    found = check(tmp_path)
    assert (found.events, found.findings, found.remarks) == (41, (), ())


def test_an_older_database_is_brought_up_to_date_and_keeps_its_chain(tmp_path: Path) -> None:
    """Rows of revision 0001, read and continued by this release."""
    old = Database(url_in(tmp_path))
    old.migrate("0001")
    before = [Appender(old).append(prediction_entry(make_record(number))) for number in range(3)]
    assert old.revision() == "0001"
    old.close()

    with open_store(tmp_path) as store:
        assert store.database.revision() == "0003"
        after = [(found.position, found.digest) for found in store.predictions()]
        store.append(make_record(3))

    assert after == [(receipt.position, receipt.digest) for receipt in before]
    found = check(tmp_path)
    assert (found.events, found.findings) == (5, ())
    assert [remark[:31] for remark in found.remarks] == ["The anchors began anew at event"]


def test_the_database_of_a_newer_release_is_refused(tmp_path: Path) -> None:
    """Rather than written in a form that it does not have any more."""
    open_store(tmp_path).close()
    with sqlite3.connect(tmp_path / "predictions.db") as connection:
        connection.execute("UPDATE store_revision SET version_num = '9999'")
    connection.close()

    with pytest.raises(StoreError, match="9999") as refused:
        open_store(tmp_path)
    assert refused.value.code == "newer_store"


def test_an_id_with_a_nul_is_unknown_and_no_database_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL takes it in no text, and would fail."""
    with open_store(tmp_path) as store, monkeypatch.context() as patched:
        patched.setattr(store, "database", None)
        with pytest.raises(StoreError) as unknown:
            store.prediction("request\0")
        assert store.list(Search(version="7\0")).items == ()

    assert unknown.value.code == "no_prediction"


def test_a_closed_store_takes_nothing(tmp_path: Path) -> None:
    """By name."""
    store = open_store(tmp_path)
    store.close()

    with pytest.raises(StoreError) as refused:
        store.append(make_record(1))
    assert refused.value.code == "store_closed"


def test_the_store_pulls_in_neither_torch_nor_a_web_framework() -> None:
    """Nor alembic, before there is something to migrate."""
    code = "import lesion_serve.store, sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=child_environment(), capture_output=True, text=True, check=True
    )

    loaded = set(done.stdout.split())
    assert "lesion_serve.store.chain" in loaded
    assert not {"torch", "fastapi", "starlette", "mlflow", "alembic", "pg8000"} & loaded
