"""A backup is a folder: files, and ``backup.json`` with what it is and the sha256 of each of them.

It appears whole or not at all, for its owner's eyes only; it is examined before anything of it is restored, and nothing
that is in the way is overwritten.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import attrs
import cattrs

from lesion_core.errors import LesionError

SCHEMA_VERSION = 1
MANIFEST = "backup.json"
_WAIT_S = 30.0


class BackupError(LesionError):
    """A backup that cannot be made or restored. Nothing was overwritten.

    Codes: ``bad_backup``: it is damaged, of something else, or none; ``not_intact``: what it is of is not as it was
    written; ``would_overwrite``; ``no_sqlite``: the records are in a database that has a program of its own for this;
    ``nothing_here``: there is nothing to back up.
    """

    code = "bad_backup"


@attrs.frozen(kw_only=True)
class Manifest:
    """What a backup says of itself.

    Attributes:
        kind: what it is of.
        made_at: ISO 8601, UTC.
        facts: more of what it is of, such as how many records.
        files: sha256 of each, by its path in the backup.
    """

    kind: str
    made_at: str
    facts: dict[str, str]
    files: dict[str, str]
    schema_version: int = SCHEMA_VERSION


def write_backup(out: Path, kind: str, fill: Callable[[Path], dict[str, str]]) -> Manifest:
    """Make a backup.

    Args:
        out: a new folder.
        kind: what it is of.
        fill: copies the files into a folder; returns the facts.
    Raises:
        BackupError: ``would_overwrite``; or what ``fill`` raises.
    """
    if out.exists():
        raise BackupError(f"{out} exists; a backup is a new folder.", code="would_overwrite")
    staging = out.with_name(f".{out.name}.{os.getpid()}")
    staging.mkdir(mode=0o700, parents=True)
    try:
        facts = fill(staging)
        manifest = Manifest(
            kind=kind,
            made_at=datetime.now(UTC).isoformat(timespec="seconds"),
            facts=facts,
            files={name: _sha256(staging / name) for name in sorted(files_in(staging))},
        )
        _write(staging / MANIFEST, json.dumps(cattrs.unstructure(manifest), indent=1).encode())
        staging.rename(out)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return manifest


def read_backup(backup: Path, kind: str) -> Manifest:
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
    if manifest.kind != kind:
        raise BackupError(f"{backup} is a backup of the {manifest.kind}, not of the {kind}.")
    for name in manifest.files:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise BackupError(f"{backup} names a file outside of itself: {name}.")
    here = set(files_in(backup)) - {MANIFEST}
    if odd := sorted(here ^ set(manifest.files)):
        state = "is not among its files" if odd[0] in here else "is gone"
        raise BackupError(f"{backup / odd[0]} {state}; use another backup.")
    for name, digest in manifest.files.items():
        if _sha256(backup / name) != digest:
            raise BackupError(f"{backup / name} is not what was backed up; use another backup.")
    return manifest


def restore_files(
    backup: Path,
    manifest: Manifest,
    targets: Mapping[str, Path],
    *,
    databases: tuple[str, ...] = (),
    adapt: Callable[[str, Path], None] = lambda _name, _path: None,
) -> None:
    """Put files of a backup into their places.

    Args:
        backup: its folder.
        manifest: what ``read_backup`` returned.
        targets: the place of each file that is wanted, by its path in the backup.
        databases: those of them that are SQLite databases.
        adapt: may change a file, given its path in the backup, before it gets to its place.
    Raises:
        BackupError: ``would_overwrite``: something is at a place already; ``bad_backup``.
    """
    wanted = list(targets.values())
    for name in databases:  # SQLite would take the log of another database for its own
        wanted += [targets[name].with_name(targets[name].name + end) for end in ("-wal", "-shm") if name in targets]
    in_the_way = [target for target in wanted if target.exists()]
    if in_the_way:
        more = f" and {len(in_the_way) - 1} more" if len(in_the_way) > 1 else ""
        raise BackupError(
            f"{in_the_way[0]}{more} would be overwritten. Restore to another folder, or move away what is there first.",
            code="would_overwrite",
        )
    with _staged() as staged:
        for name, target in targets.items():
            staged[target] = copy_file(backup / name, target.with_name(f".{target.name}.restoring"))
            if _sha256(staged[target]) != manifest.files[name]:
                raise BackupError(f"{name} changed while it was restored.")
            adapt(name, staged[target])
        for target in list(staged):
            staged[target].rename(target)
            del staged[target]


def copy_database(source: Path, target: Path) -> None:
    """One state of a SQLite database, whoever writes meanwhile, in one file that reading does not change.

    Raises:
        BackupError: ``not_intact``: it is damaged, or no such database.
    """
    _write(target, b"")
    try:
        with (
            closing(sqlite3.connect(source, timeout=_WAIT_S)) as here,
            closing(sqlite3.connect(target)) as there,
        ):
            here.backup(there)
            there.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.Error as error:
        raise BackupError(
            f"{source} cannot be copied: {error}. If it is damaged, put it back from an earlier backup.",
            code="not_intact",
        ) from error


def copy_file(source: Path, target: Path) -> Path:
    """A file for its owner's eyes only, on the disk when this returns; nothing where there is none."""
    if source.is_file():
        _write(target, b"")
        with source.open("rb") as reading, target.open("wb") as writing:
            shutil.copyfileobj(reading, writing)
            writing.flush()
            os.fsync(writing.fileno())
    return target


def copy_folder(source: Path, target: Path) -> None:
    """Every file of a folder; nothing where there is none."""
    for name in sorted(files_in(source)):
        copy_file(source / name, target / name)


def files_in(folder: Path) -> Iterator[str]:
    """The paths of all files in a folder and in those in it, relative to it."""
    return (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
        stream.write(content)
        os.fsync(stream.fileno())


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
