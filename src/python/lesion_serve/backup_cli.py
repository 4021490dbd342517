"""``lesion-serve backup`` and ``restore``."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

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
    former: str | None = None,
    as_json: AsJson = False,
) -> None:
    """Put a backup into place, where nothing is yet, and examine it before and after. Nothing is overwritten.

    What was erased after the backup comes back with it. It says since when, and with --former which requests, so that
    these erasures can be repeated at once.

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
    former
        Address of the database that was in use after the backup, where it can still be read: its erasures are listed.
    as_json
        Print as JSON.
    """
    from lesion_serve.backup import restore_backup
    from lesion_serve.store import Database

    if former is not None:
        Database(former).require()
    places = _places(records, store, anchors, keys_file, images)
    manifest = restore_backup(source, places)
    more = {} if places.database is None else _to_repeat(manifest, places.database, former)
    _print(manifest, "Restored", source, as_json=as_json, more=more)
    if more and not as_json:
        _print_to_repeat(more, images)


def _to_repeat(manifest: Manifest, database: Path, former: str | None) -> dict[str, Any]:
    """Since when erasures have to be repeated, and where the former log is at hand, which."""
    import attrs

    from lesion_serve.store import Database, Receipt, erasures_after, newest_time

    more: dict[str, Any] = {"repeat_erasures_since": newest_time(database)}
    if former is not None:
        copied = Receipt(position=int(manifest.facts["events"]), digest=manifest.facts["head"])
        more["erasures"] = [attrs.asdict(one) for one in erasures_after(Database(former), copied)]
    return more


def _print_to_repeat(more: dict[str, Any], images: Path | None) -> None:
    since = more["repeat_erasures_since"]
    if "erasures" not in more:
        print(
            f"What was erased since {since} is back. Repeat each erasure since then: 'lesion-serve audit erase'. Where "
            f"the database that was in use can still be read, 'lesion-serve audit export --store IT --since {since}' "
            "has their reasons, in events of the kind 'erasure'."
        )
        return
    if not more["erasures"]:
        print(f"Nothing was erased since {since} that is back.")
        return
    print("What was erased after the backup is back. Repeat it:")
    folder = "" if images is None else f" --images {shlex.quote(str(images))}"
    for one in more["erasures"]:
        for request in one["requests"]:
            reason = shlex.quote(one["reason"])
            print(f"  lesion-serve audit erase --request {shlex.quote(request)} --reason {reason}{folder}")


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


def _print(
    manifest: Manifest, what: str, folder: Path, *, as_json: bool, more: Mapping[str, Any] = MappingProxyType({})
) -> None:
    if as_json:
        import attrs

        print(json.dumps({**attrs.asdict(manifest), **more}, indent=2))
        return
    facts = manifest.facts
    state = f"{facts['events']} events, intact up to {facts['head']}" if facts else "no records"
    print(f"{what}: {folder}, of {manifest.made_at}; {len(manifest.files)} files; {state}.")
