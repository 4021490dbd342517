"""What an erasure promises: of one person or one request, from the disk as well, and nothing comes back."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from lesion_core import logs
from lesion_serve.cli import app
from lesion_serve.gateway.retention import Retention
from lesion_serve.store import Database, PredictionStore, Role, StoreError
from lesion_serve.store.scrubbing import scrub
from support.stored import CLINICIAN, anchors_in, check, make_comment, make_record, open_store, url_in

SUBJECT = "person-Xantippe"


@pytest.fixture(autouse=True)
def _in_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for a reader waits for milliseconds here."""
    monkeypatch.setattr("lesion_serve.store.scrubbing.LOCKED_MS", 1)
    monkeypatch.setattr("lesion_serve.store.scrubbing.PAUSE_S", 0.001)
    monkeypatch.setattr(logs, "configure_logging", lambda: None)  # it would keep this test's terminal for the next one


def written(folder: Path) -> PredictionStore:
    store = open_store(folder)
    store.append(make_record(1, subject=SUBJECT))
    store.append(make_record(1, subject=SUBJECT, role=Role.SHADOW, version="2"))
    store.append(make_record(2, subject=SUBJECT))
    store.append_feedback(make_comment(1))
    return store


def erase(folder: Path, *arguments: str) -> int:
    where = ["--store", url_in(folder), "--anchors", str(anchors_in(folder).path)]
    try:
        app(["audit", "erase", "--reason", "case-1", *arguments, *where], exit_on_error=False, print_error=False)
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def test_what_another_program_keeps_on_the_disk_is_said_and_goes_with_the_same_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A reader of an older state: the row is deleted, and the database's file has it still."""
    written(tmp_path).close()
    reader = Database(url_in(tmp_path))
    with reader.reading() as connection:
        connection.exec_driver_sql("SELECT count(*) FROM fact").scalar()
        held = erase(tmp_path, "--subject", SUBJECT, "--json")
        told = json.loads(capsys.readouterr().out.splitlines()[-1])
        on_disk = SUBJECT.encode() in (tmp_path / "predictions.db").read_bytes()
        in_words = erase(tmp_path, "--subject", SUBJECT)
        said = capsys.readouterr().out
    reader.close()
    again = erase(tmp_path, "--subject", SUBJECT, "--json")
    after = json.loads(capsys.readouterr().out.splitlines()[-1])

    assert (held, told["facts"], on_disk) == (1, 7, True)
    assert "another program reads" in told["not_scrubbed"]
    assert in_words == 1
    assert "NOT SCRUBBED: " in said
    assert "Repeat the command" in said
    assert (again, after["facts"], after["not_scrubbed"]) == (1, 0, None)
    assert not any(SUBJECT.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_an_erasure_that_breaks_off_scrubs_what_it_has_erased(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second group fails; the first one is gone from the disk all the same."""
    scrubbed = list[Database]()
    monkeypatch.setattr("lesion_serve.store.erasure.scrub", scrubbed.append)

    def fail(*_: object) -> None:
        raise StoreError("the disk is full", code="store_full")

    with written(tmp_path) as store:
        monkeypatch.setattr("lesion_serve.store.erasure._forget", fail)
        with pytest.raises(StoreError, match="full"):
            store.erase_subject(SUBJECT, principal=CLINICIAN, reason="case-1")

    assert len(scrubbed) == 1


def test_a_database_that_cannot_be_scrubbed_raises_nothing(tmp_path: Path) -> None:
    """What was erased is erased; the reason is told."""
    (tmp_path / "predictions.db").write_bytes(b"no database at all, but long enough to look like a header" * 20)

    left = scrub(Database(url_in(tmp_path)))

    assert left is not None
    assert "predictions.db" in left


def test_one_request_is_erased_with_its_shadows_and_comments(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The other requests of the person stay; a request that nobody knows is told by the exit code."""
    written(tmp_path).close()

    assert erase(tmp_path, "--request", "request-1") == 0
    assert "Erased: 5 facts of 3 events" in capsys.readouterr().out
    assert erase(tmp_path, "--request", "request-9") == 1
    assert "this request" in capsys.readouterr().out

    with open_store(tmp_path) as store:
        answered, shadow = (store.prediction("request-1", role) for role in (Role.ANSWERED, Role.SHADOW))
        assert (answered.subject, shadow.subject, answered.feedback[0].comment) == (None, None, None)
        assert store.prediction("request-2").subject == SUBJECT
    assert check(tmp_path).findings == ()


@pytest.mark.parametrize("named", [[], ["--subject", SUBJECT, "--request", "request-1"]])
def test_what_to_erase_is_named_in_one_way(tmp_path: Path, named: list[str]) -> None:
    """Neither nothing nor both."""
    written(tmp_path).close()

    with pytest.raises(StoreError, match="either --subject or --request"):
        erase(tmp_path, *named)


def test_nothing_is_written_of_an_erased_request_any_more(tmp_path: Path) -> None:
    """Neither feedback nor what a challenger says late; old images that went are no such erasure."""
    with written(tmp_path) as store:
        store.erase_subject(SUBJECT, principal=CLINICIAN, reason="case-1")
        with pytest.raises(StoreError) as comment:
            store.append_feedback(make_comment(1))
        with pytest.raises(StoreError) as shadow:
            store.append(make_record(2, subject=SUBJECT, role=Role.SHADOW, version="2"))
        store.append(make_record(3))
        store.append_feedback(make_comment(3))

    assert comment.value.code == shadow.value.code == "erased"
    assert check(tmp_path).findings == ()


def test_a_gateway_scrubs_again_soon_where_it_could_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a day later."""
    monkeypatch.setattr("lesion_serve.gateway.retention.AFTER_A_FAILURE_S", 0.001)
    left, twice = iter(["another program reads", None]), threading.Event()

    def scrubbed(_: Database) -> str | None:
        told = next(left)
        if told is None:
            twice.set()
        return told

    monkeypatch.setattr("lesion_serve.store.erasure.scrub", scrubbed)
    with open_store(tmp_path) as store:
        retention = Retention(store, features_days=1)
        try:
            assert twice.wait(30)
        finally:
            retention.stop()
