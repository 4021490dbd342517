"""``lesion-train backup`` and ``restore``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App

from lesion_core.workspace import Workspace
from lesion_train.options import AsJson

if TYPE_CHECKING:
    from lesion_core.backup import Manifest

backups = App()


@backups.command
def backup(out: Path, *, artifact_root: Path | None = None, as_json: AsJson = False) -> None:
    """Copy the registry - MLflow's database and artefacts, and the promotion log - into a new folder.

    Example: lesion-train backup /backups/registry-2026-11-26

    MLflow and trainers may run on. The copy is examined: every version's bundle against the digest that was registered
    with it; versions that are not what they were are named, and the exit code is 1. Runs (logs, checkpoints) and what
    serves (lesion-serve backup) are not in it.

    Parameters
    ----------
    out
        A new folder; it appears whole or not at all.
    artifact_root
        MLflow's folder of artefacts, where 'lesion-train mlflow' was given one; in .lesion by default.
    as_json
        Print as JSON.
    """
    from lesion_train.backup import Places, back_up_registry

    workspace = Workspace.default()
    manifest, found = back_up_registry(out, workspace, Places.of(workspace, artifact_root))
    _print(manifest, found, "Backup", out, as_json=as_json)


@backups.command
def restore(source: Path, *, artifact_root: Path | None = None, as_json: AsJson = False) -> None:
    """Put a backup of the registry into place, where nothing is yet. Nothing is overwritten.

    Example: LESION_HOME=/data/lesion lesion-train restore /backups/registry-2026-11-26

    The addresses of artefacts in MLflow's rows are adapted to the new place.

    Parameters
    ----------
    source
        The folder that 'backup' made.
    artifact_root
        Folder for MLflow's artefacts; in .lesion by default.
    as_json
        Print as JSON.
    """
    from lesion_train.backup import Places, restore_registry

    manifest, found = restore_registry(source, Places.of(Workspace.default(), artifact_root))
    _print(manifest, found, "Restored", source, as_json=as_json)


def _print(manifest: Manifest, found: tuple[str, ...], what: str, folder: Path, *, as_json: bool) -> None:
    if as_json:
        import attrs

        print(json.dumps({**attrs.asdict(manifest), "findings": found}, indent=2))
    else:
        versions = manifest.facts["versions"]
        print(f"{what}: {folder}, of {manifest.made_at}; {len(manifest.files)} files; {versions} registered versions.")
        for one in found:
            print(f"  {one}")
    if found:
        sys.exit(1)
