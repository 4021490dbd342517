"""What was backed up can be restored elsewhere, and goes on; what is damaged or in the way is refused."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from lesion_core.backup import MANIFEST, BackupError
from lesion_core.workspace import Workspace
from lesion_serve.archive import ArchiveError, build_archive
from lesion_serve.backup import ANCHORS, KEYS, RECORDS, Places, make_backup
from lesion_serve.backup import restore_backup as restore
from lesion_serve.cli import app
from lesion_serve.deploy import deploy
from lesion_serve.deployment_store import DeploymentStore, all_deployments
from lesion_serve.gateway.keys import ApiKeys, Role
from lesion_serve.store import (
    ImageKey,
    ImageStore,
    PredictionStore,
    StoreError,
    create_key,
    default_anchors,
    default_url,
)
from support.bundles import make_tiny_bundle
from support.stored import CLINICIAN, image_of, make_comment, make_record, tamper

PORT = 8000


def places_in(folder: Path, *, images: bool = False) -> Places:
    """Those of a workspace, as the commands take them."""
    workspace = Workspace(folder)
    return Places(
        database=folder.resolve() / "predictions.db",
        anchors=default_anchors(default_url(workspace), workspace),
        keys=folder / "keys.json",
        deployments=all_deployments(workspace),
        images=folder / "images" if images else None,
    )


def opened(folder: Path) -> PredictionStore:
    """The store of a workspace, with its kept images; their key lies elsewhere."""
    workspace = Workspace(folder)
    key = folder.parent / "image.key"
    if not key.exists():
        create_key(key)
    images = ImageStore(folder=folder / "images", key=ImageKey.load(key, images=folder / "images"))
    url = default_url(workspace)
    return PredictionStore.open(url, anchors=default_anchors(url, workspace), images=images)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with records, one of them with its image, a key, and a deployed version."""
    folder = tmp_path_factory.mktemp("made")
    workspace = Workspace(folder / "home")
    ApiKeys(workspace.root / "keys.json").create("Ward 3", Role.CLINICIAN)
    with opened(workspace.root) as store:
        store.append(make_record(0), image_of(0))
        store.append(make_record(1))
        store.append_feedback(make_comment(1))
    bundle = make_tiny_bundle(folder / "bundle")
    archive = build_archive(bundle.folder, folder / "7.mar", version="7")
    deploy(DeploymentStore.of(workspace, PORT), str(archive.path), workspace=workspace)
    return workspace.root


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Path:
    """One to spoil, with the key of its images beside it."""
    shutil.copy(made.parent / "image.key", tmp_path)
    return Path(shutil.copytree(made, tmp_path / "home"))


def test_what_is_restored_elsewhere_goes_on(home: Path, tmp_path: Path) -> None:
    """The log, its anchors, the images, the keys and the deployment; the next record follows the last."""
    backup, other = tmp_path / "backup", tmp_path / "other"
    manifest = make_backup(backup, places_in(home, images=True))
    shutil.move(home, tmp_path / "lost")

    assert restore(backup, places_in(other, images=True)) == manifest
    with opened(other) as store:
        assert [one.prediction.request_id for one in store.predictions()] == ["request-0", "request-1"]
        assert store.image("request-0") == image_of(0)
        assert store.append(make_record(2)).position == int(manifest.facts["events"]) + 1
    deployments = DeploymentStore.of(Workspace(other), PORT)
    deployment = deployments.read()
    assert deployment is not None
    assert deployments.archive_of(deployment.champion).version == "7"
    assert [line.action for line in deployments.history()] == ["deploy"]
    assert [key.name for key in ApiKeys(other / "keys.json").all()] == ["Ward 3"]
    with sqlite3.connect(other / "predictions.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_backup_is_made_while_records_are_written(home: Path, tmp_path: Path) -> None:
    """Of one moment; a record that is written before the anchors are copied is in it."""
    with opened(home) as store:
        receipt = store.append(make_record(2))
        manifest = make_backup(tmp_path / "backup", places_in(home))

    assert manifest.facts == {"head": receipt.digest, "events": str(receipt.position)}
    assert restore(tmp_path / "backup", places_in(tmp_path / "other")) == manifest


def test_only_its_owner_reads_a_backup(home: Path, tmp_path: Path) -> None:
    """It holds subjects and answers."""
    make_backup(tmp_path / "backup", places_in(home))

    assert (tmp_path / "backup").stat().st_mode & 0o077 == 0


def test_nothing_is_overwritten(home: Path, tmp_path: Path) -> None:
    """Neither a backup, nor a single file of what is there, nor what SQLite would add to it; nothing else appears."""
    backup = tmp_path / "backup"
    make_backup(backup, places_in(home))
    with pytest.raises(BackupError, match="exists") as caught:
        make_backup(backup, places_in(home))
    assert caught.value.code == "would_overwrite"

    for name in ("keys.json", "predictions.db", "predictions.db-wal", f"serving/deployments/{PORT}/state.json"):
        other = tmp_path / name.replace("/", "-")
        (other / name).parent.mkdir(parents=True)
        (other / name).write_text("here already")
        with pytest.raises(BackupError, match="would be overwritten") as caught:
            restore(backup, places_in(other))
        assert caught.value.code == "would_overwrite"
        assert [path.read_text() for path in other.rglob("*") if path.is_file()] == ["here already"]
        assert "Keep" not in str(caught.value)


def test_newer_anchors_are_to_be_kept(home: Path, tmp_path: Path) -> None:
    """They were noted after the backup was made."""
    make_backup(tmp_path / "backup", places_in(home))

    with pytest.raises(BackupError, match=r"Keep .*heads\.jsonl: .* how many records the backup lacks"):
        restore(tmp_path / "backup", places_in(home))


@pytest.mark.parametrize("name", [RECORDS, ANCHORS, KEYS, f"deployments/{PORT}/state.json", MANIFEST])
@pytest.mark.parametrize("damage", ["altered", "gone"])
def test_a_damaged_backup_is_not_restored(name: str, damage: str, home: Path, tmp_path: Path) -> None:
    """Whatever of it is not what it was; nothing is written."""
    backup = tmp_path / "backup"
    make_backup(backup, places_in(home))
    if damage == "gone":
        (backup / name).unlink()
    else:
        content = bytearray((backup / name).read_bytes())
        content[len(content) // 2] ^= 0x55
        (backup / name).write_bytes(content)

    with pytest.raises(BackupError):
        restore(backup, places_in(tmp_path / "other"))
    assert not (tmp_path / "other").exists()


def test_a_backup_with_a_file_too_many_or_outside_is_refused(home: Path, tmp_path: Path) -> None:
    """It might replace what it should not."""
    backup = tmp_path / "backup"
    make_backup(backup, places_in(home))
    (backup / "more").write_text("more")
    with pytest.raises(BackupError, match="is not among its files"):
        restore(backup, places_in(tmp_path / "other"))

    (backup / "more").unlink()
    manifest = json.loads((backup / MANIFEST).read_text())
    manifest["files"]["deployments/../../../more"] = "0" * 64
    (backup / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BackupError, match="outside of itself"):
        restore(backup, places_in(tmp_path / "other"))


def test_records_that_are_not_as_they_were_written_are_not_backed_up_as_if(home: Path, tmp_path: Path) -> None:
    """The chain is examined in the copy; nothing of it stays."""
    assert tamper(home, "UPDATE event SET request_id = 'another' WHERE position = 2")

    with pytest.raises(BackupError, match="altered") as caught:
        make_backup(tmp_path / "backup", places_in(home))
    assert caught.value.code == "not_intact"
    assert not [path for path in tmp_path.iterdir() if "backup" in path.name]


def test_an_archive_that_is_not_what_was_deployed_is_named(home: Path, tmp_path: Path) -> None:
    """A backup of it would be of no use."""
    (archive,) = home.rglob("*.mar")
    archive.write_bytes(archive.read_bytes() + b"more")

    with pytest.raises(ArchiveError):
        make_backup(tmp_path / "backup", places_in(home))


def test_the_commands_back_up_and_restore(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the workspace, with everything that is not named."""

    def run(*arguments: object) -> str:
        with pytest.raises(SystemExit, match="0"):
            app(list(map(str, arguments)))
        return capsys.readouterr().out

    monkeypatch.setenv("LESION_HOME", str(home))
    facts = json.loads(run("backup", tmp_path / "backup", "--json"))["facts"]
    monkeypatch.setenv("LESION_HOME", str(tmp_path / "other"))
    told = run("restore", tmp_path / "backup")

    assert f"{facts['events']} events, intact up to {facts['head']}" in told
    assert "Intact" in run("audit", "verify")


def test_a_restore_says_which_erasures_it_has_undone(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Since when; and which, where the database that was in use is still there: not of what the backup never had."""

    def restored(name: str, *arguments: object) -> str:
        monkeypatch.setenv("LESION_HOME", str(tmp_path / name))
        with pytest.raises(SystemExit, match="0"):
            app(["restore", str(tmp_path / "backup"), *map(str, arguments)])
        return capsys.readouterr().out

    make_backup(tmp_path / "backup", places_in(home))
    former = ["--former", f"sqlite:///{home / 'predictions.db'}"]
    assert "Nothing was erased since" in restored("unchanged", *former)
    with opened(home) as store:
        store.append(make_record(2))
        for request in ("request-1", "request-2"):
            store.erase_request(request, principal=CLINICIAN, reason="case 17")

    told = restored("a")
    assert "What was erased since 2026-03-01T13:00:00" in told  # of the last event, a comment
    assert "lesion-serve audit erase --request request-1 --reason 'case 17'" in (listed := restored("b", *former))
    assert "request-2" not in listed
    found = json.loads(restored("c", "--json", *former))
    assert [(one["reason"], one["requests"]) for one in found["erasures"]] == [("case 17", ["request-1"])]
    assert found["repeat_erasures_since"].startswith("2026-03-01T13:00:00")
    other = tmp_path / "another"
    with opened(other) as store:
        store.append(make_record(1))
    with pytest.raises(StoreError, match="not the log that the backup"):
        restored("d", "--former", f"sqlite:///{other / 'predictions.db'}")


def test_postgresql_has_a_program_of_its_own(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is named; what lies in files is backed up without the records."""
    monkeypatch.setenv("LESION_HOME", str(home))
    there = ["--store", "postgresql+pg8000://u:secret@localhost/records"]

    with pytest.raises(BackupError, match="pg_dump --format=custom") as caught:
        app(["backup", str(tmp_path / "backup"), *there])
    assert (caught.value.code, "secret" in caught.value.message) == ("no_sqlite", False)
    with pytest.raises(SystemExit, match="0"):
        app(["backup", str(tmp_path / "backup"), "--no-records", *there])

    assert "no records" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "backup").iterdir()} == {MANIFEST, KEYS, "deployments"}
    with pytest.raises(BackupError, match="--no-records"):
        restore(tmp_path / "backup", places_in(tmp_path / "other"))
