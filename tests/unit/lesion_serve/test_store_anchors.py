"""The heads of the chain that are noted in another place: when, where, and read again after a crash."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from lesion_core.workspace import Workspace
from lesion_serve.store import AnchorFile, StoreError, default_anchors
from support.stored import anchors_in, check, make_record, open_store, url_in


def wait(until: Callable[[], bool]) -> None:
    """At most half a minute."""
    for _ in range(3000):
        if until():
            return
        threading.Event().wait(0.01)
    pytest.fail("it did not come to pass")


def test_the_anchors_stand_beside_the_database_in_another_folder(tmp_path: Path) -> None:
    """Of PostgreSQL in the workspace."""
    workspace = Workspace(tmp_path)

    assert default_anchors(url_in(tmp_path / "db"), workspace) == tmp_path / "db/predictions-anchors/heads.jsonl"
    assert default_anchors("postgresql+pg8000://u:p@h/d", workspace) == tmp_path / "predictions-anchors" / "heads.jsonl"


def test_anchors_that_cannot_be_written_stop_no_record_and_are_said_on_closing(tmp_path: Path) -> None:
    """The records are safe; the audit still holds with the older anchor."""
    store = open_store(tmp_path, anchor_every_s=3600)
    path = anchors_in(tmp_path).path
    lines = path.read_text()
    path.unlink()
    path.mkdir()
    store.append(make_record(1))
    with pytest.raises(StoreError) as refused:
        store.close()
    path.rmdir()
    path.write_text(lines)

    assert refused.value.code == "anchor_failed"
    assert (check(tmp_path).events, check(tmp_path).findings) == (2, ())


@pytest.mark.parametrize("is_damaged", [False, True])
def test_only_a_server_begins_lost_anchors_anew_and_says_so(tmp_path: Path, is_damaged: bool) -> None:
    """Every other command refuses, and leaves the log and its place as they are."""
    with open_store(tmp_path) as store:
        store.append(make_record(1))
    path = anchors_in(tmp_path).path
    if is_damaged:
        path.write_text("no anchor\n")
    else:
        path.unlink()
    for _ in range(2):
        with pytest.raises(StoreError, match="lesion-serve start") as refused:
            open_store(tmp_path, create=False)
        assert refused.value.code == "anchors_missing"
    assert (path.exists(), check(tmp_path).events, check(tmp_path).is_intact) == (is_damaged, 2, False)

    with capture_logs() as lines:
        open_store(tmp_path).close()

    assert [line["event"] for line in lines] == ["anchors_begun_anew", "prediction_store_opened"]
    assert any("began anew at event 3" in remark for remark in check(tmp_path).remarks)
    open_store(tmp_path, create=False).close()


def test_anchors_that_vanish_while_a_server_runs_are_not_made_again_by_the_way(tmp_path: Path) -> None:
    """It says so as long as it lasts; once they are back, they go on."""
    store = open_store(tmp_path, anchor_every_records=1, anchor_every_s=0.01)
    path = anchors_in(tmp_path).path
    away = path.rename(path.with_name("elsewhere"))
    assert store.anchor_failure is None
    store.append(make_record(1))
    wait(lambda: store.anchor_failure is not None)
    assert "are gone" in str(store.anchor_failure)
    assert not path.exists()

    away.rename(path)
    wait(lambda: store.anchor_failure is None)
    store.close()

    assert check(tmp_path).findings == ()
    assert anchors_in(tmp_path).read()[0][-1].position == 2


def test_an_audit_finds_that_anchors_cannot_be_read(tmp_path: Path) -> None:
    """And checks the rest."""
    open_store(tmp_path).close()
    path = anchors_in(tmp_path).path
    path.unlink()
    path.mkdir()

    found = check(tmp_path)

    assert [finding.code for finding in found.findings] == ["anchors_unreadable"]
    assert found.events == 1


def test_anchors_follow_after_so_many_records(tmp_path: Path) -> None:
    """By the thread, while the store stays open."""
    with open_store(tmp_path, anchor_every_records=2, anchor_every_s=3600) as store:
        for number in range(4):
            store.append(make_record(number))
        while (noted := store._anchoring.noted) is None or noted.position < 4:
            threading.Event().wait(0.01)
        positions = [anchor.position for anchor in anchors_in(tmp_path).read()[0]]

    assert positions[0] == 1
    assert positions == sorted(positions)


def test_the_furthest_anchor_is_found_at_the_end_of_a_long_file(tmp_path: Path) -> None:
    """Without reading all of it; where the end is damaged, further up."""
    file = AnchorFile(tmp_path / "heads.jsonl")
    assert file.latest() is None
    lines = [json.dumps({"position": n, "digest": "d" * 64, "at": "2026-01-01"}) for n in range(1, 3001)]
    file.path.write_text("\n".join(lines) + "\n")
    latest = file.latest()
    assert latest is not None
    assert latest.position == 3000

    file.path.write_text("\n".join([lines[0], *["damaged" * 20] * 3000]) + "\n")
    latest = file.latest()
    assert latest is not None
    assert latest.position == 1


def test_a_line_that_a_crash_cut_off_is_no_anchor_and_does_no_harm(tmp_path: Path) -> None:
    """It is replaced by the next one."""
    open_store(tmp_path).close()
    path = anchors_in(tmp_path).path
    whole = path.read_text()
    path.write_text(whole + '{"position": 7, "dig')

    assert check(tmp_path).is_intact
    with open_store(tmp_path) as store:
        store.append(make_record(1))
    lines = path.read_text().splitlines()
    assert [json.loads(line)["position"] for line in lines] == [1, 1, 2]
    assert datetime.fromisoformat(json.loads(lines[-1])["at"]).tzinfo == UTC
