"""A folder with all that a server needs to go on elsewhere: records, anchors, API keys, deployments, kept images.

    backup.json                  what is here, each file with its sha256, and the head of the chain (lesion_core.backup)
    predictions.db               the prediction store, copied while it was in use
    anchors/heads.jsonl          the heads that were noted
    keys.json                    API keys: hashes, no secrets
    deployments/PORT/…           what is deployed, its history and its archives
    images/…                     kept images as they lie, encrypted; their key is not here

It is examined when it is made and before and after it is restored: every file against its digest, the chain against
its anchors, every archive against its deployment. What is erased later is still in it, so backups need an end.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import attrs

from lesion_core.address import sqlite_address
from lesion_core.backup import (
    BackupError,
    Manifest,
    copy_database,
    copy_file,
    copy_folder,
    read_backup,
    restore_files,
    write_backup,
)
from lesion_serve.deployment_store import DeploymentStore
from lesion_serve.store import AnchorFile, Database, ImageStore, Verification, verify

KIND = "server"
RECORDS, ANCHORS, KEYS = "predictions.db", "anchors/heads.jsonl", "keys.json"


@attrs.frozen(kw_only=True)
class Places:
    """Where the parts lie on this machine. ``None`` leaves a part out.

    Attributes:
        database: of the prediction store, a SQLite file.
        anchors: file of the heads of its chain; goes with ``database``.
        keys: file of API keys.
        deployments: folder with a folder for each port.
        images: folder of kept images.
    """

    database: Path | None
    anchors: Path
    keys: Path
    deployments: Path
    images: Path | None = None

    def of(self, name: str) -> Path | None:
        """Where a file of the backup belongs; ``None`` where its part is left out."""
        first, _, rest = name.partition("/")
        if name == RECORDS:
            return self.database
        if name == ANCHORS:
            return None if self.database is None else self.anchors
        if name == KEYS:
            return self.keys
        if first == "deployments":
            return self.deployments / rest
        if first == "images":
            return None if self.images is None else self.images / rest
        raise BackupError(f"The backup has a file that no part of it knows: {name}.")


def sqlite_file(url: str) -> Path:
    """The file of a prediction store.

    Raises:
        BackupError: ``no_sqlite``; names what does it for PostgreSQL.
    """
    path = Database(url).path
    if path is None:
        raise BackupError(
            "The records are in PostgreSQL, whose own program copies them: first copy the anchors, then 'pg_dump "
            "--format=custom --file=predictions.dump DATABASE' ('pg_restore --dbname=DATABASE predictions.dump' brings "
            "them back, 'lesion-serve audit verify' examines them). For keys and deployments: --no-records.",
            code="no_sqlite",
        )
    return path


def make_backup(out: Path, places: Places) -> Manifest:
    """Copy what is there, also while a server runs, and examine the copy.

    Args:
        out: a new folder; it appears whole or not at all.
        places: where the parts lie.
    Returns:
        The manifest. Its facts are the ``head`` of the chain and how many ``events`` it has; none without records.
    Raises:
        BackupError: ``would_overwrite``, ``not_intact``.
        StoreError: there is no store, or it cannot be read.
        ArchiveError: a deployed archive is not what was deployed.
    """

    def fill(folder: Path) -> dict[str, str]:
        if places.database is not None:
            # The anchors first: those of later records would have no record here.
            copy_file(places.anchors, folder / ANCHORS)
            Database(sqlite_address(places.database)).require()
            copy_database(places.database, folder / RECORDS)
        copy_file(places.keys, folder / KEYS)
        for one in sorted(places.deployments.glob("*/")):
            DeploymentStore(one).copy_to(folder / "deployments" / one.name)
        if places.images is not None:
            copy_folder(places.images, folder / "images")
        found = _examine(_inside(folder, places))
        return {"head": found.head or "", "events": str(found.events)} if found else {}

    return write_backup(out, KIND, fill)


def restore_backup(backup: Path, places: Places) -> Manifest:
    """Put every file of a backup into its place, where nothing is yet, and examine it before and after.

    Raises:
        BackupError: ``bad_backup``, ``not_intact``, ``would_overwrite``.
        ArchiveError: a deployed archive is not what was deployed.
    """
    manifest = read_backup(backup, KIND)
    targets = {name: target for name in manifest.files if (target := places.of(name)) is not None}
    if places.database is not None and RECORDS not in targets:
        raise BackupError(f"{backup} was made without records; restore the rest with --no-records.")
    _examine(_inside(backup, places))
    try:
        restore_files(backup, manifest, targets, databases=(RECORDS,))
    except BackupError as error:
        if error.code != "would_overwrite" or not places.anchors.exists():
            raise
        hint = f"Keep {places.anchors}: 'audit verify --anchors' with it tells how many records the backup lacks."
        raise BackupError(f"{error.message} {hint}", code=error.code) from error
    if places.database is not None:
        with closing(sqlite3.connect(places.database)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")  # as the store makes it; it stays in the file
    _examine(places)
    return manifest


def _inside(folder: Path, places: Places) -> Places:
    """The same parts within a backup."""
    return Places(
        database=None if places.database is None else folder / RECORDS,
        anchors=folder / ANCHORS,
        keys=folder / KEYS,
        deployments=folder / "deployments",
        images=None if places.images is None else folder / "images",
    )


def _examine(places: Places) -> Verification | None:
    """Every archive against its deployment, and the records against chain, anchors and kept images."""
    for folder in sorted(places.deployments.glob("*/")):
        store = DeploymentStore(folder)
        if (deployment := store.read()) is not None:
            for one in deployment.all:
                store.archive_of(one)
    if places.database is None:
        return None
    images = None if places.images is None else ImageStore(folder=places.images, key=None)
    database = Database(sqlite_address(places.database))
    with closing(database):
        found = verify(database, AnchorFile(places.anchors), images)
    if not found.is_intact:
        first = found.findings[0]
        raise BackupError(
            f"The records in {places.database} are not as they were written ({first.code}): {first.message} Keep its "
            "files as they are, and look with 'lesion-serve audit verify'.",
            code="not_intact",
        )
    return found
