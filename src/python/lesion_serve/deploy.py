"""Deploy a model: fetch, verify, pack and keep it, so that a server starts from what lies here; and go back."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import attrs

from lesion_core.bundle import MANIFEST, load_bundle
from lesion_core.errors import LesionError
from lesion_core.workspace import SERVING_NAME, Workspace
from lesion_serve.archive import (
    SUFFIX,
    ArchiveError,
    ArchiveInfo,
    build_archive,
    read_archive,
    require_backbone,
    require_plugin,
    unpack_bundle,
)
from lesion_serve.deployment import Deployed, Deployment, DeploymentError, rolled_back, with_challenger, with_champion
from lesion_serve.deployment_store import DeploymentStore, Transition
from lesion_serve.source import find_bundle


@attrs.frozen(kw_only=True)
class Challenging:
    """A version that shall be the challenger; see ``Deployment``."""

    share_percent: float = 0.0
    shadow: bool = False


def deploy(
    store: DeploymentStore,
    source: str,
    *,
    workspace: Workspace,
    tracking_uri: str | None = None,
    serving_name: str | None = None,
    challenging: Challenging | None = None,
    afresh: bool = False,
) -> Transition:
    """Make a source the champion, or the challenger.

    Args:
        store: of the server that shall serve it.
        source: a ``.mar``, a bundle's folder, ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION``.
        workspace: where downloads are kept.
        tracking_uri: MLflow server or database; the workspace's own where it is ``None``.
        serving_name: to pack it under; the champion's where it is ``None``. An archive keeps its own.
        challenging: how it challenges; ``None`` for the champion.
        afresh: see ``with_champion``.
    Raises:
        RegistryError, BundleError, ArchiveError: it cannot be had, or is not intact.
        PluginMissingError, PluginVersionError: its backbone cannot be built here.
        DeploymentError: it cannot stand beside what is deployed.
    """
    deployed = store.read()
    name = serving_name or (deployed.champion.serving_name if deployed else SERVING_NAME)
    store.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".packing-", dir=store.folder) as folder:
        packed = _packed(source, Path(folder), name, tracking_uri, workspace)
        require_plugin(packed)

        def take_over(before: Deployment | None) -> Deployment:
            if challenging is None:
                after = with_champion(before, Deployed.of(packed, source=source), afresh=afresh)
            elif before is None:
                raise DeploymentError("There is no champion to challenge; deploy one first.", code="nothing_deployed")
            else:
                one = Deployed.of(packed, source=source)
                share = challenging.share_percent
                after = with_challenger(before, one, share_percent=share, shadow=challenging.shadow)
            return _with_kept(after, packed, store)

        return store.change("deploy" if challenging is None else "challenge", take_over)


def promote(store: DeploymentStore, version: str, *, by: str | None = None, why: str = "") -> Transition:
    """Make a version that is deployed already the champion.

    Args:
        store: of the server.
        version: of the challenger, or of the champion before.
        by: who does it; the user of this process where it is ``None``.
        why: in words, for the history.
    Raises:
        DeploymentError: ``unknown_version``: it is not deployed; or nothing is.
    """

    def take_over(before: Deployment | None) -> Deployment:
        deployed = {one.version: one for one in _require(before).all}
        if version not in deployed:
            raise DeploymentError(
                f"No version {version!r} is deployed. Deployed: {', '.join(deployed)}. 'lesion-serve deploy' brings "
                "others.",
                code="unknown_version",
            )
        return with_champion(before, deployed[version])

    return store.change("promote", take_over, by=by, why=why)


def roll_back(store: DeploymentStore, *, by: str | None = None, why: str = "") -> Transition:
    """Make the previous champion the champion again; it is loaded already. For ``by`` and ``why`` see ``promote``.

    Raises:
        DeploymentError: nothing is deployed, or there was none before.
    """
    return store.change("rollback", lambda before: rolled_back(_require(before)), by=by, why=why)


def withdraw(store: DeploymentStore) -> Transition:
    """Take the challenger away.

    Raises:
        DeploymentError: nothing is deployed.
    """
    return store.change("withdraw", lambda before: _require(before).without_challenger())


def _packed(source: str, folder: Path, name: str, tracking_uri: str | None, workspace: Workspace) -> ArchiveInfo:
    out = folder / f"packed{SUFFIX}"
    if source.endswith(SUFFIX):
        try:
            shutil.copyfile(source, out)
        except OSError as error:
            raise ArchiveError(f"{source} is not an archive ({error}).") from error
        return _verified(out, source)
    return pack(source, out, serving_name=name, tracking_uri=tracking_uri, workspace=workspace)


def pack(source: str, out: Path, *, serving_name: str, tracking_uri: str | None, workspace: Workspace) -> ArchiveInfo:
    """Pack what is registered, or a bundle's folder.

    Args:
        source: a bundle's folder, ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION``.
        out: the archive.
        serving_name: the last part of ``/predictions/<name>``.
        tracking_uri: MLflow server or database; the workspace's own where it is ``None``.
        workspace: where downloads are kept.
    Raises:
        RegistryError, BundleError, ArchiveError: it cannot be had, or is not intact.
    """
    bundle, version = find_bundle(source, workspace=workspace, tracking_uri=tracking_uri)
    return build_archive(bundle.folder, out, version=version, serving_name=serving_name)


def _verified(archive: Path, source: str) -> ArchiveInfo:
    """Read an archive and verify the bundle in it."""
    try:
        info = read_archive(archive)
        _verify_bundle(info)
    except ArchiveError as error:
        raise ArchiveError(str(error).replace(str(archive), source)) from error
    return info


def verify_archive(archive: ArchiveInfo) -> None:
    """Make sure that the bundle in an archive is whole, and that its backbone can be built here.

    Raises:
        BundleError, ArchiveError: it is not what it says.
        PluginMissingError, PluginVersionError: its backbone's plugin is not here.
    """
    _verify_bundle(archive)
    require_plugin(archive)


@attrs.frozen(kw_only=True)
class Verified:
    """What was found of an archive or a bundle; ``finding`` says why it cannot be served, if it cannot."""

    source: str
    version: str | None
    bundle_digest: str | None
    finding: str | None


def verify_source(source: Path) -> Verified:
    """Examine an archive or a bundle's folder.

    Raises:
        ArchiveError, BundleError: it is neither.
    """
    is_folder = source.is_dir()
    if is_folder and not (source / MANIFEST).is_file():
        load_bundle(source)  # says what is missing
    archive = None if is_folder else read_archive(source)
    version, digest = (archive.version, archive.bundle_digest) if archive is not None else (None, None)
    finding = None
    try:
        if archive is not None:
            verify_archive(archive)
        else:
            bundle = load_bundle(source)
            digest = bundle.digest
            require_backbone(bundle.manifest.backbone)
    except LesionError as error:
        finding = error.message
    return Verified(source=str(source), version=version, bundle_digest=digest, finding=finding)


def _verify_bundle(archive: ArchiveInfo) -> None:
    with tempfile.TemporaryDirectory(prefix="lesion-verify-") as folder:
        unpack_bundle(archive, Path(folder))


def _with_kept(deployment: Deployment, packed: ArchiveInfo, store: DeploymentStore) -> Deployment:
    """Name the archive by its place among the kept ones. One of the same content that lies there already is replaced:
    it may have been altered or lost, and deploying it again is what mends that."""
    kept = store.keep(packed).path.name

    def named(one: Deployed) -> Deployed:
        return one if one.sha256 != packed.sha256 else attrs.evolve(one, archive=kept)

    return attrs.evolve(
        deployment,
        champion=named(deployment.champion),
        previous=deployment.previous and named(deployment.previous),
        challenger=deployment.challenger and named(deployment.challenger),
    )


def _require(deployment: Deployment | None) -> Deployment:
    if deployment is None:
        raise DeploymentError("Nothing is deployed here. Start with 'lesion-serve deploy'.", code="nothing_deployed")
    return deployment
