"""Whatever is changed behind the store's back is found, and what is erased in the open is not."""

from __future__ import annotations

import csv
import json
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lesion_core.processes import child_environment
from lesion_serve.store import ImageKey, ImageStore, StoreError, Verification, create_key
from lesion_serve.store.chain import HASHED
from support.stored import (
    CLINICIAN,
    anchors_in,
    check,
    image_of,
    make_comment,
    make_record,
    open_store,
    tamper,
    url_in,
)

EVENTS = 8
COLUMNS = {
    "event": (*HASHED, "position", "previous", "digest"),
    "fact": ("position", "name", "salt", "value"),
    "erased": ("position", "name", "by_position"),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed store of eight events: the beginning, five predictions, a comment, and an erasure."""
    folder = tmp_path_factory.mktemp("written")
    with open_store(folder) as store:
        for number in range(5):
            store.append(make_record(number))
        store.append_feedback(make_comment(1))
        store.erase_subject("person-0", principal=CLINICIAN, reason="case-1")
    assert check(folder).findings == ()
    assert check(folder).events == EVENTS
    return folder


@pytest.fixture
def copy(written: Path, tmp_path: Path) -> Path:
    """One to spoil."""
    return Path(shutil.copytree(written, tmp_path / "copy"))


def codes(found: Verification) -> list[str]:
    return [finding.code for finding in found.findings]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_column_of_any_row_that_is_altered_is_found(written: Path, tmp_path: Path, data: st.DataObject) -> None:
    """To nothing, to something else, or by one character."""
    table = data.draw(st.sampled_from(sorted(COLUMNS)))
    column = data.draw(st.sampled_from(COLUMNS[table]))
    with sqlite3.connect(written / "predictions.db") as connection:
        rows = connection.execute(f"SELECT rowid, {column} FROM {table}").fetchall()
    connection.close()
    row, value = data.draw(st.sampled_from(rows))
    if isinstance(value, int):
        new = str(data.draw(st.integers(1, 40).filter(lambda number: number != value)))
    else:
        text = value or "x"
        at = data.draw(st.integers(0, len(text) - 1))
        other = "y" if text[at] != "y" else "z"
        new = data.draw(st.sampled_from(["''", "'something else'", f"'{text[:at] + other + text[at + 1 :]}'"]))
    folder = Path(shutil.copytree(written, tmp_path / "spoiled", dirs_exist_ok=True))
    try:
        changed = tamper(folder, f"UPDATE OR IGNORE {table} SET {column} = {new} WHERE rowid = {row}")
        found = check(folder)
    finally:
        shutil.rmtree(folder)

    assert found.is_intact == (changed == 0)


@pytest.mark.parametrize("table", ["event", "fact", "erased"])
def test_any_row_that_is_deleted_is_found(written: Path, tmp_path: Path, table: str) -> None:
    """Each in turn; of the log with its position."""
    with sqlite3.connect(written / "predictions.db") as connection:
        rows = connection.execute(f"SELECT rowid, position FROM {table} ORDER BY position").fetchall()
    connection.close()
    assert len(rows) >= 4
    for row, position in rows:
        folder = Path(shutil.copytree(written, tmp_path / str(row)))
        assert tamper(folder, f"DELETE FROM {table} WHERE rowid = {row}") == 1

        found = check(folder)

        assert position in {finding.position for finding in found.findings}
        if table == "event":
            assert {"missing", "behind_anchor"} & set(codes(found))


def test_the_first_broken_position_comes_first_with_what_is_wrong(copy: Path) -> None:
    """Two rows that changed places, an altered one behind them."""
    swap = (
        "UPDATE event SET position = -3 WHERE position = 3",
        "UPDATE event SET position = 3 WHERE position = 4",
        "UPDATE event SET position = 4 WHERE position = -3",
    )
    tamper(copy, *swap, "UPDATE event SET content = '{}' WHERE position = 6")

    found = check(copy)

    assert (found.findings[0].code, found.findings[0].position) == ("reordered", 3)
    assert "altered" in {finding.code for finding in found.findings if finding.position == 6}


def test_a_log_that_was_cut_off_is_behind_its_anchor(copy: Path) -> None:
    """Its chain alone would be whole; and the store does not open on it."""
    tamper(copy, "DELETE FROM fact WHERE position > 5", "DELETE FROM erased", "DELETE FROM event WHERE position > 5")

    found = check(copy)
    with pytest.raises(StoreError, match="audit verify") as refused:
        open_store(copy)

    assert "behind_anchor" in codes(found)
    assert found.events == 5
    assert refused.value.code == "behind_anchor"


def test_a_log_that_was_rewritten_with_all_its_digests_differs_from_its_anchors(copy: Path, tmp_path: Path) -> None:
    """As somebody does who knows how the chain is made."""
    other = tmp_path / "other"
    with open_store(other) as store:
        for number in range(9):
            store.append(make_record(number, version="99"))
    assert check(other).is_intact
    shutil.copy(other / "predictions.db", copy / "predictions.db")

    assert set(codes(check(copy))) == {"differs_from_anchor"}
    with pytest.raises(StoreError, match="another one"):
        open_store(copy)


def test_a_backup_from_before_the_last_anchor_is_found(tmp_path: Path) -> None:
    """An honest restore as well: somebody has to know."""
    with open_store(tmp_path) as store:
        store.append(make_record(1))
    shutil.copy(tmp_path / "predictions.db", tmp_path / "backup")
    with open_store(tmp_path) as store:
        store.append(make_record(2))
    shutil.copy(tmp_path / "backup", tmp_path / "predictions.db")

    found = check(tmp_path)

    assert codes(found) == ["behind_anchor"]
    assert found.findings[0].position == 3


def test_anchors_that_lag_behind_the_database_are_fine(copy: Path) -> None:
    """A crash between the commit and the anchor."""
    path = anchors_in(copy).path
    path.write_text("".join(f"{line}\n" for line in path.read_text().splitlines()[:1]))

    assert check(copy).findings == ()


def test_anchors_that_are_gone_are_found_and_their_new_beginning_stays_visible(copy: Path) -> None:
    """They are the second place: without them the end of the log could be cut."""
    anchors_in(copy).path.unlink()
    assert codes(check(copy)) == ["anchors_missing"]

    open_store(copy).close()
    found = check(copy)

    assert found.findings == ()
    assert len(found.remarks) == 1
    assert f"event {EVENTS + 1}," in found.remarks[0]


def test_an_anchor_that_is_none_is_found(copy: Path) -> None:
    """By the number of its line."""
    path = anchors_in(copy).path
    path.write_text("{}\n" + path.read_text())

    assert [finding.message[:9] for finding in check(copy).findings] == ["Line 1 of"]


def test_a_trigger_that_is_gone_is_found(copy: Path) -> None:
    """Somebody wanted to alter something."""
    with sqlite3.connect(copy / "predictions.db") as connection:
        connection.execute("DROP TRIGGER event_no_update")
    connection.close()

    assert codes(check(copy)) == ["guard_missing"]


def test_an_erased_person_is_gone_and_the_chain_is_whole(tmp_path: Path) -> None:
    """Subject, fingerprint and comment, also from the bytes of the files; the answer stays."""
    record = make_record(1, subject="person-Xantippe")
    with open_store(tmp_path) as store:
        store.append(record)
        store.append(make_record(2))
        store.append_feedback(make_comment(1))
        before = store.prediction("request-1")
        done = store.erase_subject("person-Xantippe", principal=CLINICIAN, reason="case-1")
        again = store.erase_subject("person-Xantippe", principal=CLINICIAN, reason="case-1")
        after = store.prediction("request-1")
        other = store.prediction("request-2")

    assert (done.facts, done.events, again.facts) == (3, 2, 0)
    assert (after.subject, after.image_sha256) == (None, None)
    assert after.erased == ("image_sha256", "subject")
    assert (after.answer, after.digest, after.feedback[0].diagnosis) == (before.answer, before.digest, "MEL")
    assert after.feedback[0].comment is None
    assert other.subject == "person-2"
    assert check(tmp_path).findings == ()
    content = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"request-1" in content
    for personal in ("Xantippe", record.image_sha256, "Mrs Smith"):
        assert personal.encode() not in content


def test_what_was_erased_and_comes_back_is_found(tmp_path: Path) -> None:
    """From a copy, for one."""
    with open_store(tmp_path) as store:
        store.append(make_record(1))
    with sqlite3.connect(tmp_path / "predictions.db") as connection:
        row = connection.execute("SELECT * FROM fact WHERE name = 'subject'").fetchone()
    connection.close()
    with open_store(tmp_path) as store:
        store.erase_subject("person-1", principal=CLINICIAN, reason="case-1")
    with sqlite3.connect(tmp_path / "predictions.db") as connection:
        connection.execute("INSERT INTO fact VALUES (?, ?, ?, ?)", row)
    connection.close()

    assert codes(check(tmp_path)) == ["fact_returned"]


def test_many_predictions_of_a_person_are_erased_in_several_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each an event of its own."""
    monkeypatch.setattr("lesion_serve.store.erasure._GROUP", 2)
    with open_store(tmp_path) as store:
        for number in range(5):
            store.append(make_record(number, subject="person-1"))
        done = store.erase_subject("person-1", principal=CLINICIAN, reason="case-1")

    assert (done.events, done.facts) == (5, 10)
    found = check(tmp_path)
    assert (found.events, found.findings) == (9, ())


def run(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lesion_serve", "audit", *map(str, arguments)],
        env=child_environment({"LESION_HOME": str(folder)}),
        capture_output=True,
        text=True,
        check=False,
    )


def test_verify_says_what_it_found_in_its_exit_code(copy: Path, tmp_path: Path) -> None:
    """0 intact, 1 findings, 2 no store; nothing is made where nothing was."""
    place: list[str | Path] = ["--anchors", anchors_in(copy).path]
    intact = run(copy, "verify", *place, "--json")
    tamper(copy, "UPDATE event SET model_version = '2' WHERE position = 3")
    altered = run(copy, "verify", "--store", url_in(copy), *place)
    nowhere = run(tmp_path / "nowhere", "verify")

    assert (intact.returncode, json.loads(intact.stdout)["events"]) == (0, EVENTS), intact.stderr
    assert altered.returncode == 1
    assert altered.stdout.startswith("altered: Event 3: ")
    assert nowhere.returncode == 2
    assert "no prediction store" in nowhere.stderr
    assert not (tmp_path / "nowhere").exists()


def test_an_export_has_nothing_personal_unless_asked(written: Path, tmp_path: Path) -> None:
    """JSON lines and CSV, by time, and never over a file that exists."""
    plain = run(written, "export")
    asked = run(written, "export", "--personal", "--until", "2026-03-01T12:03:00")
    table = run(written, "export", "--format", "csv", "--personal", "--out", tmp_path / "out.csv")
    again = run(written, "export", "--out", tmp_path / "out.csv")

    rows = [json.loads(line) for line in plain.stdout.splitlines()]
    assert [row["position"] for row in rows] == list(range(1, EVENTS + 1)), plain.stderr
    assert rows[1]["content"]["answer"]["request_id"] == "request-0"
    assert "person-" not in plain.stdout
    assert "Mrs Smith" not in plain.stdout
    assert [json.loads(line)["subject"] for line in asked.stdout.splitlines()] == [None, "person-1", "person-2"]
    assert table.returncode == 0, table.stderr
    with (tmp_path / "out.csv").open(newline="") as stream:
        assert [row["comment"] for row in csv.DictReader(stream)][6] == "a word of Mrs Smith"
    assert again.returncode == 2


def test_erase_and_retention_work_from_the_command_line(tmp_path: Path) -> None:
    """An unknown subject is said with exit code 1."""
    key, images = tmp_path / "key", tmp_path / "images"
    made = run(tmp_path, "new-key", key)
    assert made.returncode == 0, made.stderr
    with open_store(tmp_path) as store:
        store.append(make_record(1))
    place: list[str | Path] = ["--anchors", anchors_in(tmp_path).path]

    erased = run(tmp_path, "erase", "--subject", "person-1", "--reason", "case-1", *place)
    unknown = run(tmp_path, "erase", "--subject", "person-1", "--reason", "case-1", *place)
    old = run(tmp_path, "retention", "--older-than-days", "30", "--images", images, *place)
    intact = run(tmp_path, "verify", "--images", images, "--image-key", key, *place)

    assert (erased.returncode, erased.stdout[:9]) == (0, "Erased: 2"), erased.stderr
    assert unknown.returncode == 1
    assert (old.returncode, old.stdout[:9]) == (0, "Erased: 0"), old.stderr
    assert intact.returncode == 0, intact.stdout


def test_images_need_their_folder_to_be_erased(tmp_path: Path) -> None:
    """An erasure that leaves the picture would be none; nothing of it happens."""
    create_key(tmp_path / "key")
    images = ImageStore(folder=tmp_path / "images", key=ImageKey.load(tmp_path / "key", images=tmp_path / "images"))
    with open_store(tmp_path, images=images) as store:
        store.append(make_record(1), image_of(1))
    with open_store(tmp_path) as store, pytest.raises(StoreError, match="--images"):
        store.erase_subject("person-1", principal=CLINICIAN, reason="case-1")

    with open_store(tmp_path, images=images) as store:
        assert store.prediction("request-1").subject == "person-1"
        assert store.image("request-1") == image_of(1)
