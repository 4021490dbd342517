"""A registry that is restored elsewhere is the same registry; versions that are not what they were are named."""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from lesion_core.backup import BackupError
from lesion_core.bundle import Bundle, registered_bundle
from lesion_core.workspace import Workspace
from lesion_train.backup import ARTEFACTS, DATABASE, PROMOTIONS, Places, back_up_registry, restore_registry
from lesion_train.cli import main
from lesion_train.promotion_log import PromotionLog
from lesion_train.tracking.fetch import fetch_version
from lesion_train.tracking.registry import Registry
from support.houses import House

NAME = "skin-lesion"


@pytest.fixture
def made(tiny: Bundle, tmp_path: Path) -> House:
    """Two versions; the second was promoted. A blank in its path, which addresses write otherwise."""
    house = House(Workspace(tmp_path / "a home"), tiny)
    house.add(NAME, 0.6, seed=1)
    house.promote(house.add(NAME, 0.9, seed=2), NAME, why="better")
    return house


def back_up(house: House, out: Path) -> tuple[str, ...]:
    return back_up_registry(out, house.workspace, Places.of(house.workspace))[1]


def texts_of(database: Path) -> list[str]:
    """Every text in every row."""
    with sqlite3.connect(database) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = [row for table in tables for row in connection.execute(f"SELECT * FROM {table}")]
    return [cell for row in rows for cell in row if isinstance(cell, str)]


def test_a_registry_is_restored_to_another_place(made: House, tmp_path: Path) -> None:
    """With the first one gone: champion, bundle, predictions and log are there; training and promoting go on."""
    before = fetch_version(Registry(made.uri, made.workspace, NAME), "champion", tmp_path / "before")
    assert back_up(made, tmp_path / "backup") == ()
    shutil.rmtree(made.workspace.root)
    there = Workspace(tmp_path / "another place")

    manifest, found = restore_registry(tmp_path / "backup", Places.of(there))

    assert (manifest.facts["versions"], found) == ("2", ())
    assert [text for text in texts_of(there.root / DATABASE) if "home" in text and "file:" in text] == []
    restored = House(there, made.tiny)
    after = fetch_version(Registry(restored.uri, there, NAME), "champion", tmp_path / "after")
    assert (after.version, after.digest, after.problem) == ("2", before.digest, "")
    assert before.bundle is not None
    assert after.bundle is not None
    assert after.bundle.digest == before.bundle.digest
    assert set(after.predictions) == set(before.predictions) == {"test"}
    assert [one.why for one in restored.log.changes(NAME)] == ["the first version registered", "better"]
    restored.promote(restored.add(NAME, 0.95, seed=3), NAME, why="better still")
    assert restored.champion(NAME) == "3"


@pytest.mark.parametrize("harm", ["altered", "gone", "elsewhere"])
def test_a_version_that_is_not_what_was_registered_is_named(harm: str, made: House, tmp_path: Path) -> None:
    """It spoils no other: the backup is made all the same, since it may be the last one."""
    source = made.client.get_model_version(NAME, "1").source or ""
    bundle = registered_bundle(Path(unquote(urlsplit(source).path)))
    if harm == "altered":
        (bundle / "card.md").write_text("altered")
    elif harm == "gone":
        shutil.rmtree(bundle)
    else:
        with sqlite3.connect(made.workspace.root / DATABASE) as connection:
            connection.execute("UPDATE model_versions SET storage_location = 's3://far/away' WHERE version = 1")

    (found,) = back_up(made, tmp_path / "backup")

    assert found.startswith(f"{NAME} version 1 ")
    assert ("s3://far/away" if harm == "elsewhere" else "card.md" if harm == "altered" else "bundle") in found
    _, (still,) = restore_registry(tmp_path / "backup", Places.of(Workspace(tmp_path / "other")))
    assert still.startswith(f"{NAME} version 1 ")


def test_nothing_is_overwritten_and_nothing_damaged_is_restored(made: House, tmp_path: Path) -> None:
    """Neither a backup nor a registry."""
    backup = tmp_path / "backup"
    back_up(made, backup)
    with pytest.raises(BackupError, match="exists"):
        back_up(made, backup)
    for name in (DATABASE, f"{DATABASE}-wal", PROMOTIONS):
        other = Workspace(tmp_path / name)
        other.root.mkdir()
        (other.root / name).write_text("here already")
        with pytest.raises(BackupError, match="would be overwritten"):
            restore_registry(backup, Places.of(other))
        assert [path.name for path in other.root.iterdir()] == [name]

    with (backup / DATABASE).open("r+b") as stream:
        stream.seek(2000)
        stream.write(b"?")
    with pytest.raises(BackupError, match="is not what was backed up"):
        restore_registry(backup, Places.of(Workspace(tmp_path / "new")))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("content", [b"", b"x" * 5000])
def test_a_database_that_is_none_is_named(content: bytes, tmp_path: Path) -> None:
    """An empty file is a database of SQLite, without a table of MLflow. Nothing is left behind."""
    workspace = Workspace(tmp_path / "home")
    workspace.root.mkdir()
    workspace.mlflow_file.write_bytes(content)

    with pytest.raises(BackupError, match="earlier backup") as caught:
        back_up_registry(tmp_path / "backup", workspace, Places.of(workspace))

    assert caught.value.code == "not_intact"
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_the_commands_back_up_and_restore(
    made: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the workspace; without a registry they say what there could be."""

    def run(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["lesion-train", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0)

    monkeypatch.setenv("LESION_HOME", str(made.workspace.root))
    monkeypatch.chdir(tmp_path)
    assert run("backup", "backup", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["facts"]["versions"], told["findings"]) == ("2", [])
    monkeypatch.setenv("LESION_HOME", str(tmp_path / "other"))
    assert run("backup", tmp_path / "another") == 2
    said = capsys.readouterr().err
    assert "pg_dump" in said
    assert str(tmp_path / "other" / PROMOTIONS) in said
    assert run("restore", tmp_path / "backup") == 0
    assert "2 registered versions." in capsys.readouterr().out
    assert len(PromotionLog(tmp_path / "other" / PROMOTIONS).changes(NAME)) == 2
    assert (tmp_path / "other" / ARTEFACTS).is_dir()
