"""A model by its name, wherever it is kept: a bundle's folder, an archive, or a registered version."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path

from lesion_core.bundle import Bundle, load_bundle
from lesion_core.errors import BundleError
from lesion_core.workspace import Workspace
from lesion_serve.archive import SUFFIX, ArchiveInfo, read_archive, require_plugin, unpack_bundle


def find_bundle(source: str, *, workspace: Workspace, tracking_uri: str | None = None) -> tuple[Bundle, str]:
    """Find and verify the bundle that a source names.

    Args:
        source: a ``.mar``, a bundle's folder, ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION``.
        workspace: downloads, and what was in an archive, are kept in it by their digest.
        tracking_uri: MLflow server or database; the workspace's own where it is ``None``.
    Returns:
        The bundle and its version, as answers shall name it. A folder has no registered one, and is named by its
        digest.
    Raises:
        RegistryError, BundleError, ArchiveError: it cannot be had, or is not intact.
        PluginMissingError, PluginVersionError: the backbone of an archive cannot be built here.
    """
    kept = workspace.serving / "bundles"
    if source.endswith(SUFFIX):
        archive = read_archive(Path(source))
        require_plugin(archive)
        return _unpacked(archive, kept), archive.version
    if source.startswith("models:"):
        from lesion_serve.registry import fetch_bundle  # MLflow takes seconds to import

        return fetch_bundle(source, tracking_uri=tracking_uri or workspace.mlflow_database, into=kept)
    bundle = load_bundle(Path(source))
    return bundle, f"unregistered-{bundle.digest[:8]}"


def _unpacked(archive: ArchiveInfo, into: Path) -> Bundle:
    folder = into / archive.bundle_digest[:16]
    with contextlib.suppress(BundleError):
        if (bundle := load_bundle(folder)).digest == archive.bundle_digest:
            return bundle
    into.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=into))
    try:
        unpacked = unpack_bundle(archive, scratch)
        shutil.rmtree(folder, ignore_errors=True)
        unpacked.folder.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return load_bundle(folder)
