"""``lesion-serve backup`` and ``restore``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App

from lesion_core.workspace import Workspace
from lesion_serve.options import AsJson

if TYPE_CHECKING:
    from lesion_core.backup import Manifest
    from lesion_serve.backup import Places


def register(app: App) -> None:
    """Add the commands to the program."""
    app.command(backup)
    app.command(restore)


def backup(
    out: Path,
    *,
    records: bool = True,
    store: str | None = None,
    anchors: Path | None = None,
    keys_file: Path | None = None,
    images: Path | None = None,
    as_json: AsJson = False,
) -> None:
    """Copy records, anchors, API keys and deployments into a new folder, and examine the copy; a server may run on.

    Example: lesion-serve backup /backups/2026-11-26

    It holds what is erased later, so give backups an end. Not in it: the key of kept images, certificates, and the
    registry, which 'lesion-train backup' copies; see docs/operations.md.

    Parameters
    ----------
    out
        A new folder; it appears whole or not at all.
    records
        --no-records leaves the prediction store out, for one in PostgreSQL.
    store
        Address of the prediction store; predictions.db in .lesion by default.
    anchors
        File of the heads of its chain; beside the database by default.
    keys_file
        API keys; keys.json in .lesion by default.
    images
        Folder of kept images, to copy them too.
    as_json
        Print as JSON.
    """
    from lesion_serve.backup import make_backup

    _print(make_backup(out, _places(records, store, anchors, keys_file, images)), "Backup", out, as_json=as_json)


def restore(
    source: Path,
    *,
    records: bool = True,
    store: str | None = None,
    anchors: Path | None = None,
    keys_file: Path | None = None,
    images: Path | None = None,
    as_json: AsJson = False,
) -> None:
    """Put a backup into place, where nothing is yet, and examine it before and after. Nothing is overwritten.

    Example: LESION_HOME=/data/lesion lesion-serve restore /backups/2026-11-26

    Parameters
    ----------
    source
        The folder that 'backup' made.
    records
        --no-records leaves the prediction store out.
    store
        Address of the prediction store to make; predictions.db in .lesion by default.
    anchors
        File of the heads of its chain; beside the database by default.
    keys_file
        API keys; keys.json in .lesion by default.
    images
        Folder for kept images; without it they are left out.
    as_json
        Print as JSON.
    """
    from lesion_serve.backup import restore_backup

    manifest = restore_backup(source, _places(records, store, anchors, keys_file, images))
    _print(manifest, "Restored", source, as_json=as_json)


def _places(records: bool, store: str | None, anchors: Path | None, keys: Path | None, images: Path | None) -> Places:
    from lesion_serve.backup import Places, sqlite_file
    from lesion_serve.deployment_store import all_deployments
    from lesion_serve.gateway.settings import keys_file
    from lesion_serve.store import default_anchors, default_url

    workspace = Workspace.default()
    url = store or default_url(workspace)
    return Places(
        database=sqlite_file(url) if records else None,
        anchors=anchors or default_anchors(url, workspace),
        keys=keys or keys_file(workspace),
        deployments=all_deployments(workspace),
        images=images,
    )


def _print(manifest: Manifest, what: str, folder: Path, *, as_json: bool) -> None:
    if as_json:
        import attrs

        print(json.dumps(attrs.asdict(manifest), indent=2))
        return
    facts = manifest.facts
    state = f"{facts['events']} events, intact up to {facts['head']}" if facts else "no records"
    print(f"{what}: {folder}, of {manifest.made_at}; {len(manifest.files)} files; {state}.")
