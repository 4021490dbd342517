"""Whether the plugins that are installed serve a bundle, which names the one that it was made with."""

from __future__ import annotations

import importlib.metadata

import structlog
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from lesion_core.bundle import BackboneIdentity
from lesion_plugins.backbone import BackboneSpec
from lesion_plugins.errors import PluginMissingError, PluginVersionError, UnknownBackboneError
from lesion_plugins.registry import BackboneRegistry

log = structlog.get_logger(__name__)


def serves(*, trained: str, installed: str, compatible_since: str | None = None) -> bool:
    """Whether one version of a distribution serves bundles that were made with another.

    Equal versions do, and those of one release series (1.x, or 0.1.x), unless the plugin itself says since when.

    Args:
        trained: version that the bundle names.
        installed: version that is here.
        compatible_since: oldest version whose bundles it serves, as its spec says.
    Source: PEP 440; https://semver.org, items 4 and 8.
    """
    if trained == installed:
        return True
    try:
        then, now = Version(trained), Version(installed)
        since = None if compatible_since is None else Version(compatible_since)
    except InvalidVersion:
        return False
    is_one_series = _series(then) == _series(now)
    return is_one_series if since is None else since <= then and (is_one_series or then <= now)


def _series(version: Version) -> tuple[int, ...]:
    return (version.epoch, version.major) if version.major else (version.epoch, 0, version.minor)


def require_served(trained: BackboneIdentity, registry: BackboneRegistry) -> BackboneSpec:
    """Find the backbone of a bundle in the plugin that it was trained with.

    Another version that serves it is used and logged (``backbone_source_differed``).

    Raises:
        PluginMissingError: its distribution is not installed, was rejected, or is not the one that offers the name.
        PluginVersionError: its distribution is installed in a version that does not serve the bundle.
    """
    try:
        found = registry.find(trained.name)
    except UnknownBackboneError as error:
        raise _missing(trained, registry) from error
    here = found.source
    if canonicalize_name(here.distribution) != canonicalize_name(trained.plugin):
        raise PluginMissingError(trained, f"here the name belongs to {here.distribution} {here.version}")
    since = found.spec.compatible_since
    if not serves(trained=trained.plugin_version, installed=here.version, compatible_since=since):
        raise PluginVersionError(trained, here.version)
    if here.version != trained.plugin_version:
        log.warning(
            "backbone_source_differed",
            backbone=trained.name,
            trained_with=f"{trained.plugin} {trained.plugin_version}",
            installed=f"{here.distribution} {here.version}",
        )
    return found.spec


def _missing(trained: BackboneIdentity, registry: BackboneRegistry) -> PluginMissingError | PluginVersionError:
    wanted = canonicalize_name(trained.plugin)
    for rejected in registry.rejected:
        if canonicalize_name(rejected.distribution) == wanted:
            return PluginMissingError(trained, f"it is installed here but was rejected: {rejected.reason}")
    try:
        installed = importlib.metadata.version(trained.plugin)
    except importlib.metadata.PackageNotFoundError:
        return PluginMissingError(trained, "it is not installed here")
    if installed == trained.plugin_version:
        reason = "that version is installed here and does not offer it"
        return PluginMissingError(trained, reason, "Install it anew: pip install --force-reinstall")
    return PluginVersionError(trained, installed)
