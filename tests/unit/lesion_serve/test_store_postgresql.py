"""The store on a real PostgreSQL: the same promises."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from lesion_core.processes import child_environment
from lesion_serve.monitor.report import Wanted, make_report
from lesion_serve.store import AnchorFile, Database, PredictionStore, Search, StoreError, Window, verify
from support.monitored import baseline, fill, review
from support.postgres import private_postgres
from support.samples import draw_sample
from support.stored import CLINICIAN, START, answer_of, make_comment, make_record

APPEND = """
import sys
from pathlib import Path
from lesion_serve.store import PredictionStore
from support.stored import make_record
url, anchors, first = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
with PredictionStore.open(url, anchors=anchors) as store:
    for number in range(first, first + 10):
        store.append(make_record(number))
"""


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with private_postgres("hunter2/@x") as address:
        yield address


@pytest.fixture
def url(postgres: str) -> str:
    """A database of its own for each test."""
    engine = sa.create_engine(postgres, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql("DROP DATABASE IF EXISTS store WITH (FORCE)")
        connection.exec_driver_sql("CREATE DATABASE store")
    engine.dispose()
    return postgres.removesuffix("/postgres") + "/store"


def run(url: str, *statements: str) -> None:
    engine = sa.create_engine(url)
    try:
        with engine.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)
    finally:
        engine.dispose()


def found_in(url: str, anchors: Path) -> list[tuple[str, int | None]]:
    database = Database(url)
    try:
        return [(finding.code, finding.position) for finding in verify(database, AnchorFile(anchors)).findings]
    finally:
        database.close()


def test_processes_that_start_at_once_share_one_chain(tmp_path: Path, url: str) -> None:
    """They make the tables once, and append in turn."""
    anchors = tmp_path / "heads.jsonl"
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", APPEND, url, str(anchors), str(100 * n)],
            env=child_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for n in range(3)
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

    assert found_in(url, anchors) == []
    with PredictionStore.open(url, anchors=anchors, create=False) as store:
        assert len(list(store.predictions(Window(since=START)))) == 30


def test_records_come_back_are_erased_and_the_chain_is_whole(tmp_path: Path, url: str) -> None:
    """As on SQLite."""
    anchors = tmp_path / "heads.jsonl"
    with PredictionStore.open(url, anchors=anchors) as store:
        store.append(make_record(1))
        store.append_feedback(make_comment(1))
        with pytest.raises(StoreError) as twice:
            store.append(make_record(1))
        before = store.prediction("request-1")
        store.erase_subject("person-1", principal=CLINICIAN, reason="case-1")
        after = store.prediction("request-1")

    assert twice.value.code == "duplicate_request"
    assert before.answer == after.answer == answer_of(1)
    assert (before.subject, after.subject, after.feedback[0].comment) == ("person-1", None, None)
    assert found_in(url, anchors) == []


def test_an_older_state_that_a_session_sees_keeps_what_was_erased_and_is_told(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """VACUUM cannot free its rows; the same erasure does so once the session has ended."""
    monkeypatch.setattr("lesion_serve.store.scrubbing.PAUSE_S", 0.001)
    with PredictionStore.open(url, anchors=tmp_path / "heads.jsonl") as store:
        store.append(make_record(1))
        with store.database.reading() as connection:
            connection.execute(sa.text("SELECT count(*) FROM fact")).scalar()
            held = store.erase_subject("person-1", principal=CLINICIAN, reason="case-1")
        again = store.erase_subject("person-1", principal=CLINICIAN, reason="case-1")

    assert held.facts == 2
    assert "another session" in str(held.not_scrubbed)
    assert (again.facts, again.not_scrubbed) == (0, None)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE event SET at = at",
        "DELETE FROM event",
        "TRUNCATE event CASCADE",
        "UPDATE fact SET value = 'x'",
        "DELETE FROM fact",
        "TRUNCATE fact",
    ],
)
def test_the_database_itself_refuses_to_alter_what_was_written(tmp_path: Path, url: str, statement: str) -> None:
    """Also to its owner, unless the triggers are switched off; which an audit finds, with what was altered."""
    anchors = tmp_path / "heads.jsonl"
    with PredictionStore.open(url, anchors=anchors) as store:
        store.append(make_record(1))

    with pytest.raises(sa.exc.DBAPIError, match=r"only appended to|only after the chain"):
        run(url, statement)
    assert found_in(url, anchors) == []
    off = [f"ALTER TABLE {table} DISABLE TRIGGER USER" for table in ("event", "fact", "erased")]
    run(url, *off, "UPDATE event SET model_version = '9' WHERE position = 2")
    found = found_in(url, anchors)
    assert found[0] == ("altered", 2)
    assert [code for code, _ in found[1:]] == ["guard_missing"] * 9


def test_a_server_that_refuses_is_named_without_its_password(postgres: str) -> None:
    """Neither the right one nor the wrong one."""
    wrong = postgres.replace("hunter2", "guessed3")

    with pytest.raises(StoreError) as refused:
        Database(wrong).require()
    assert refused.value.code == "store_unreachable"
    assert "guessed3" not in refused.value.message
    assert "authentication failed" in refused.value.message


def test_an_address_without_a_driver_takes_the_one_that_comes_along(tmp_path: Path, url: str) -> None:
    """As operators copy it from elsewhere."""
    plain = url.replace("postgresql+pg8000://", "postgresql://")
    assert plain != url

    with PredictionStore.open(plain, anchors=tmp_path / "heads.jsonl") as store:
        store.append(make_record(1))
        assert store.prediction("request-1").answer == answer_of(1)


def test_what_is_no_text_here_is_refused_before_it_gets_here(tmp_path: Path, url: str) -> None:
    """A NUL: in a record, in an id that is looked up, in a search."""
    with PredictionStore.open(url, anchors=tmp_path / "heads.jsonl") as store:
        store.append(make_record(1))
        with pytest.raises(StoreError) as comment:
            make_comment(1, "a\0b")
        with pytest.raises(StoreError) as unknown:
            store.prediction("request\0")
        assert store.list(Search(subject="person\0")).items == ()

    assert (comment.value.code, unknown.value.code) == ("bad_record", "no_prediction")


def test_monitoring_reads_and_forgets_there_as_well(url: str, tmp_path: Path) -> None:
    """Pages of predictions, features, reviews; and none is left once they are erased."""
    with PredictionStore.open(url, anchors=tmp_path / "heads.jsonl") as store:
        requests = fill(store, draw_sample(40, seed=4, shift=3.0))
        review(store, requests[0])
        report = make_report(store, Wanted(last=39), baseline())
        store.erase_subject("patient-1", principal=CLINICIAN, reason="case-1")
        left = store.erase_old_features(older_than_days=0).events

        assert report.predictions == 39
        assert {check.name for check in report.checks if check.is_alarm} == {"embedding"}
        assert make_report(store, Wanted(), None).feedback.reviewed == 1
        assert left == 39
    assert found_in(url, tmp_path / "heads.jsonl") == []
