"""A folder with the registry: who restores it has every version again, its figures, and who promoted it.

    backup.json          what is here, each file with its sha256 (lesion_core.backup)
    mlflow.db            MLflow's database, copied while it was in use
    promotions.db        who made which version champion, when and why
    mlflow-artifacts/…   bundles, predictions and figures

MLflow writes into its rows where its artefacts lie, with the whole path, so that rows are adapted where the folder is
restored to another place. Every version's bundle is held against the digest that was registered with it. One that is
not what it was, or lies elsewhere, keeps no other from being backed up: it is named.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote

import attrs

from lesion_core.backup import (
    BackupError,
    Manifest,
    copy_database,
    copy_folder,
    read_backup,
    restore_files,
    write_backup,
)
from lesion_core.bundle import DIGEST_TAG, load_bundle, registered_bundle
from lesion_core.errors import BundleError
from lesion_core.workspace import Workspace
from lesion_train.tracking.registry import registry_lock

KIND = "registry"
DATABASE, PROMOTIONS, ARTEFACTS = "mlflow.db", "promotions.db", "mlflow-artifacts"
# Where MLflow's tables hold addresses of artefacts.
_ADDRESSES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
_VERSIONS = f"""
SELECT version.name, version.version, coalesce(version.storage_location, version.source), tag.value
FROM model_versions AS version JOIN model_version_tags AS tag USING (name, version)
WHERE tag.key = '{DIGEST_TAG}' AND version.current_stage != 'Deleted_Internal' ORDER BY version.name, version.version
"""  # noqa: S608 - of a constant


@attrs.frozen(kw_only=True)
class Places:
    """Where the registry lies: MLflow's database and the promotion log, and the folder of artefacts."""

    database: Path
    promotions: Path
    artefacts: Path

    @classmethod
    def of(cls, workspace: Workspace, artefacts: Path | None = None) -> Places:
        """Those of a workspace; ``artefacts`` where ``lesion-train mlflow --artifact-root`` named a folder."""
        return cls(
            database=workspace.mlflow_file,
            promotions=workspace.promotions,
            artefacts=(artefacts or workspace.mlflow_artifacts).resolve(),
        )

    def target(self, name: str) -> Path:
        """Where a file of the backup belongs."""
        first, _, rest = name.partition("/")
        known = {DATABASE: self.database, PROMOTIONS: self.promotions, ARTEFACTS: self.artefacts / rest}
        if first not in known or bool(rest) != (first == ARTEFACTS):
            raise BackupError(f"The backup has a file that no part of it knows: {name}.")
        return known[first]


def back_up_registry(out: Path, workspace: Workspace, places: Places) -> tuple[Manifest, tuple[str, ...]]:
    """Copy what is there, also while MLflow and trainers run, and examine the copy.

    Args:
        out: a new folder; it appears whole or not at all.
        workspace: whose aliases nobody moves meanwhile.
        places: where the registry lies.
    Returns:
        The manifest, and what is wrong with versions: a sentence for each.
    Raises:
        BackupError: ``would_overwrite``; ``nothing_here``: there is no database of MLflow; ``not_intact``: it cannot be
            read.
    """
    if not places.database.is_file():
        raise BackupError(
            f"There is no database of MLflow at {places.database}. One in PostgreSQL is copied by its own pg_dump, "
            f"an object store by its own program; the promotion log is the file {places.promotions}.",
            code="nothing_here",
        )
    found = tuple[str, ...]()

    def fill(folder: Path) -> dict[str, str]:
        nonlocal found
        with registry_lock(workspace):
            copy_database(places.database, folder / DATABASE)
            if places.promotions.is_file():
                copy_database(places.promotions, folder / PROMOTIONS)
        # Last: what a row names was written before the row was.
        copy_folder(places.artefacts, folder / ARTEFACTS)
        versions, found = _examine(folder / DATABASE, _address(places.artefacts), folder / ARTEFACTS)
        return {"versions": str(versions), "artefacts": _address(places.artefacts)}

    return write_backup(out, KIND, fill), found


def restore_registry(backup: Path, places: Places) -> tuple[Manifest, tuple[str, ...]]:
    """Put every file of a backup into its place, where nothing is yet.

    Returns:
        The manifest, and what is wrong with versions: as it was when they were backed up.
    Raises:
        BackupError: ``bad_backup``, ``would_overwrite``.
    """
    manifest = read_backup(backup, KIND)
    before, now = manifest.facts["artefacts"], _address(places.artefacts)

    def adapt(name: str, path: Path) -> None:
        if name == DATABASE:
            _move_addresses(path, before, now)

    targets = {name: places.target(name) for name in manifest.files}
    databases = tuple(name for name in (DATABASE, PROMOTIONS) if name in targets)
    restore_files(backup, manifest, targets, databases=databases, adapt=adapt)
    return manifest, _examine(places.database, now, places.artefacts)[1]


def _address(artefacts: Path) -> str:
    return artefacts.as_uri()


def _move_addresses(database: Path, before: str, now: str) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        for table, column in _ADDRESSES:
            connection.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) "  # noqa: S608 - of constants
                f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                (now, len(before) + 1, before, len(before) + 1, f"{before}/"),
            )


def _examine(database: Path, address: str, artefacts: Path) -> tuple[int, tuple[str, ...]]:
    """How many versions there are, and what is wrong with each whose bundle is not what was registered."""
    try:
        with closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            rows = connection.execute(_VERSIONS).fetchall()
    except sqlite3.Error as error:
        raise BackupError(
            f"{database.name} is no whole database of MLflow: {error}. Put it back from an earlier backup.",
            code="not_intact",
        ) from error
    found = []
    for name, version, source, digest in rows:
        inside = source.removeprefix(f"{address}/")
        if inside == source:
            found.append(f"{name} version {version} lies at {source}, outside of what is backed up.")
            continue
        try:
            bundle = load_bundle(registered_bundle(artefacts / unquote(inside)))
        except BundleError as error:
            found.append(f"{name} version {version} is damaged: {error.message}")
            continue
        if bundle.digest != digest:
            found.append(f"{name} version {version} has the digest {bundle.digest}; registered was {digest}.")
    return len(rows), tuple(found)
