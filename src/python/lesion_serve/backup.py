"""A folder with all that a server needs to go on elsewhere: records, anchors, API keys, deployments, kept images.

    backup.json                  what is here, each file with its sha256, and the head of the chain
    predictions.db               the prediction store, copied while it was in use
    anchors/heads.jsonl          the heads that were noted
    keys.json                    API keys: hashes, no secrets
    deployments/PORT/…           what is deployed, its history and its archives
    images/…                     kept images as they lie, encrypted; their key is not here

It is examined when it is made and before and after it is restored: every file against its digest, the chain against
its anchors, every archive against its deployment. What is erased later is still in it, so backups need an end.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import attrs
import cattrs

from lesion_core.errors import LesionError
from lesion_serve.deployment_store import DeploymentStore
from lesion_serve.store import AnchorFile, Database, ImageStore, Verification, verify

SCHEMA_VERSION = 1
MANIFEST, RECORDS, ANCHORS, KEYS = "backup.json", "predictions.db", "anchors/heads.jsonl", "keys.json"
_WAIT_S = 30.0


class BackupError(LesionError):
    """A backup that cannot be made or restored. Nothing was overwritten.

    Codes: ``bad_backup``: it is damaged, or none; ``not_intact``: the store itself is not as it was written;
    ``would_overwrite``; ``no_sqlite``: the records are in a database that has a program of its own for this.
    """

    code = "bad_backup"


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


@attrs.frozen(kw_only=True)
class Manifest:
    """What a backup says of itself. ``head`` and ``events`` are of its chain; ``None`` and 0 without records."""

    made_at: str
    head: str | None
    events: int
    files: dict[str, str]
    schema_version: int = SCHEMA_VERSION


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
    Raises:
        BackupError: ``would_overwrite``, ``not_intact``.
        StoreError: there is no store, or it cannot be read.
        ArchiveError: a deployed archive is not what was deployed.
    """
    if out.exists():
        raise BackupError(f"{out} exists; a backup is a new folder.", code="would_overwrite")
    staging = out.with_name(f".{out.name}.{os.getpid()}")
    staging.mkdir(mode=0o700, parents=True)
    try:
        if places.database is not None:
            # The anchors first: those of later records would have no record here.
            _copy(places.anchors, staging / ANCHORS)
            _copy_database(places.database, staging / RECORDS)
        _copy(places.keys, staging / KEYS)
        for folder in sorted(places.deployments.glob("*/")):
            DeploymentStore(folder).copy_to(staging / "deployments" / folder.name)
        if places.images is not None:
            for name in sorted(_files(places.images)):
                _copy(places.images / name, staging / "images" / name)
        found = _examine(_inside(staging, places))
        manifest = Manifest(
            made_at=datetime.now(UTC).isoformat(timespec="seconds"),
            head=found.head if found else None,
            events=found.events if found else 0,
            files={name: _sha256(staging / name) for name in sorted(_files(staging))},
        )
        _write(staging / MANIFEST, json.dumps(cattrs.unstructure(manifest), indent=1).encode())
        staging.rename(out)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return manifest


def restore_backup(backup: Path, places: Places) -> Manifest:
    """Put every file of a backup into its place, where nothing is yet, and examine it before and after.

    Raises:
        BackupError: ``bad_backup``, ``not_intact``, ``would_overwrite``.
        ArchiveError: a deployed archive is not what was deployed.
    """
    manifest = read_backup(backup)
    targets = {name: target for name in manifest.files if (target := places.of(name)) is not None}
    if places.database is not None and RECORDS not in targets:
        raise BackupError(f"{backup} was made without records; restore the rest with --no-records.")
    wanted = list(targets.values())
    if places.database is not None:  # SQLite would take the log of another database for its own
        wanted += [places.database.with_name(places.database.name + end) for end in ("-wal", "-shm")]
    in_the_way = [target for target in wanted if target.exists()]
    if in_the_way:
        more = f" and {len(in_the_way) - 1} more" if len(in_the_way) > 1 else ""
        raise BackupError(
            f"{in_the_way[0]}{more} would be overwritten. Restore to another folder, or move away what is there first; "
            "anchors that are newer than the backup tell how many records it lacks.",
            code="would_overwrite",
        )
    _examine(_inside(backup, places))
    with _staged() as staged:
        for name, target in targets.items():
            staged[target] = _copy(backup / name, target.with_name(f".{target.name}.restoring"))
            if _sha256(staged[target]) != manifest.files[name]:
                raise BackupError(f"{name} changed while it was restored.")
        for target in list(staged):
            staged[target].rename(target)
            del staged[target]
    if places.database is not None:
        with closing(sqlite3.connect(places.database)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")  # as the store makes it; it stays in the file
    _examine(places)
    return manifest


def read_backup(backup: Path) -> Manifest:
    """The manifest, once every file was found to be what it says, and no other to be there.

    Raises:
        BackupError: ``bad_backup``; names the first file.
    """
    try:
        manifest = cattrs.structure(json.loads((backup / MANIFEST).read_bytes()), Manifest)
    except FileNotFoundError as error:
        raise BackupError(f"{backup} is no backup: it has no {MANIFEST}.") from error
    except Exception as error:  # cattrs raises groups
        raise BackupError(f"{backup / MANIFEST} cannot be read ({type(error).__name__}).") from error
    if manifest.schema_version != SCHEMA_VERSION:
        raise BackupError(f"{backup} has version {manifest.schema_version}; this release reads {SCHEMA_VERSION}.")
    for name in manifest.files:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise BackupError(f"{backup} names a file outside of itself: {name}.")
    here = set(_files(backup)) - {MANIFEST}
    if odd := sorted(here ^ set(manifest.files)):
        state = "is not among its files" if odd[0] in here else "is gone"
        raise BackupError(f"{backup / odd[0]} {state}; use another backup.")
    for name, digest in manifest.files.items():
        if _sha256(backup / name) != digest:
            raise BackupError(f"{backup / name} is not what was backed up; use another backup.")
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
    database = Database(f"sqlite:///{places.database}")
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


def _copy_database(source: Path, target: Path) -> None:
    """One state of the database, whoever writes meanwhile, in one file that reading does not change."""
    Database(f"sqlite:///{source}").require()
    _write(target, b"")
    with (
        closing(sqlite3.connect(source, timeout=_WAIT_S)) as here,
        closing(sqlite3.connect(target)) as there,
    ):
        here.backup(there)
        there.execute("PRAGMA journal_mode = DELETE")


def _copy(source: Path, target: Path) -> Path:
    """A file for its owner's eyes only, on the disk when this returns; nothing where there is none."""
    if source.is_file():
        _write(target, b"")
        with source.open("rb") as reading, target.open("wb") as writing:
            shutil.copyfileobj(reading, writing)
            writing.flush()
            os.fsync(writing.fileno())
    return target


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
        stream.write(content)
        os.fsync(stream.fileno())


def _files(folder: Path) -> Iterator[str]:
    return (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def _staged() -> Iterator[dict[Path, Path]]:
    """Files by the place that they are for; what has not got there is removed."""
    staged = dict[Path, Path]()
    try:
        yield staged
    finally:
        for path in staged.values():
            path.unlink(missing_ok=True)
