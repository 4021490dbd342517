"""The backbones that are installed: an object that the application makes, from plugins that may be broken."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import attrs

from lesion_core.bundle import BackboneIdentity
from lesion_core.errors import LesionError
from lesion_plugins.backbone import BackboneSpec
from lesion_plugins.errors import UnknownBackboneError
from lesion_plugins.plugin_loading import (
    PluginRejection,
    PluginSource,
    finder_of,
    finds,
    given_plugin,
    installed_plugins,
    new_plugin_manager,
    offered_backbones,
)


@attrs.frozen(kw_only=True)
class RejectedPlugin:
    """A plugin that offers nothing, because of ``reason``; the others are not affected."""

    plugin: str
    distribution: str
    version: str
    reason: str

    def __str__(self) -> str:
        return f"{self.plugin} ({self.distribution} {self.version}): {self.reason}"


@attrs.frozen(kw_only=True)
class RegisteredBackbone:
    """A backbone with the plugin that offered it."""

    spec: BackboneSpec
    source: PluginSource


class _Finder(Protocol):
    def __call__(self, *, name: str) -> list[object]:
        """Ask one plugin through ``lesion_find_backbone``; empty if it does not know the name."""


class BackboneRegistry:
    """Backbones by name. Make one with ``load``; a test makes its own from plugin objects."""

    def __init__(
        self,
        backbones: Mapping[str, RegisteredBackbone],
        finders: Iterable[tuple[PluginSource, _Finder]] = (),
        rejected: Iterable[RejectedPlugin] = (),
        not_found: Iterable[str] = (),
    ) -> None:
        self._backbones = dict(backbones)
        self._finders = tuple(finders)
        self.rejected = tuple(rejected)
        self.not_found = tuple(not_found)

    @classmethod
    def load(cls, *, blocked: Iterable[str] = (), plugins: Iterable[object] | None = None) -> BackboneRegistry:
        """Collect the backbones of every plugin; a broken one is skipped, logged and listed in ``rejected``.

        Args:
            blocked: names of plugins or distributions, spelt as pip would accept them; their code is never imported. A
                name that nothing here has is logged (``blocked_plugin_not_found``) and listed in ``not_found``.
            plugins: modules or objects to use in place of the installed entry points of the group ``lesion``.
        """
        candidates = installed_plugins() if plugins is None else map(given_plugin, plugins)
        unwanted = {_canonical(name): name for name in blocked}
        met: set[str] = set()
        manager = new_plugin_manager()
        backbones: dict[str, RegisteredBackbone] = {}
        accepted: list[tuple[PluginSource, object]] = []
        rejected: list[RejectedPlugin] = []
        for candidate in candidates:
            source = candidate.source
            names = unwanted.keys() & {_canonical(source.plugin), _canonical(source.distribution)}
            met |= names
            try:
                if names:
                    raise PluginRejection("blocked by the application")
                plugin = candidate.load()
                specs = offered_backbones(manager, plugin)
                _check_names(specs, backbones)
            except (Exception, SystemExit) as error:  # a stranger's code: whatever it raises is its reason
                reason = str(error) if isinstance(error, PluginRejection) else f"{type(error).__name__}: {error}"
                rejected.append(RejectedPlugin(**attrs.asdict(source), reason=reason))
                _warn("plugin_rejected", source, reason)
            else:
                backbones |= {spec.name: RegisteredBackbone(spec=spec, source=source) for spec in specs}
                accepted.append((source, plugin))
        finders = [(source, finder_of(manager, plugin)) for source, plugin in accepted if finds(manager, plugin)]
        not_found = [name for canonical, name in unwanted.items() if canonical not in met]
        for name in not_found:
            _logger().warning("blocked_plugin_not_found", name=name)
        return cls(backbones, finders, rejected, not_found)

    def names(self) -> tuple[str, ...]:
        """Names of all listed backbones, sorted; those that are found by a prefix are not in it."""
        return tuple(sorted(self._backbones))

    def get(self, name: str) -> BackboneSpec:
        """Look a backbone up, by its name in the list or by a prefix (``timm:resnet18``).

        Raises:
            UnknownBackboneError: names the closest backbone and the plugins that were rejected.
        """
        return self.find(name).spec

    def source(self, name: str) -> PluginSource:
        """Look up which plugin offers a backbone; raises as ``get``."""
        return self.find(name).source

    def identity(self, name: str, weights_origin: str) -> BackboneIdentity:
        """Describe a backbone for a bundle; ``weights_origin`` is what ``build_classifier`` returned."""
        found = self.find(name)
        return BackboneIdentity(
            name=name,
            plugin=found.source.distribution,
            plugin_version=found.source.version,
            code_license=found.spec.code_license,
            weights_license=found.spec.license_of(weights_origin),
            weights_origin=weights_origin,
        )

    def find(self, name: str) -> RegisteredBackbone:
        """Look a backbone up, with the plugin that offers it; raises as ``get``."""
        if name not in self._backbones and ":" in name:
            self._ask_for(name)
        if name not in self._backbones:
            closest = difflib.get_close_matches(name, self._backbones, n=1, cutoff=0.6)
            raise UnknownBackboneError(name, next(iter(closest), None), [str(plugin) for plugin in self.rejected])
        return self._backbones[name]

    def _ask_for(self, name: str) -> None:
        """Ask the plugins that find backbones by name, and keep what the first of them answers."""
        for source, ask in self._finders:
            try:
                spec = next(iter(ask(name=name)), None)
                if spec is not None and not (isinstance(spec, BackboneSpec) and spec.name == name):
                    raise PluginRejection(f"lesion_find_backbone offered {spec!r} for {name!r}")
            except LesionError:
                raise
            except (Exception, SystemExit) as error:  # a stranger's code: the others may know the name
                reason = str(error) if isinstance(error, PluginRejection) else f"{type(error).__name__}: {error}"
                _warn("plugin_failed", source, reason)
            else:
                if isinstance(spec, BackboneSpec):
                    self._backbones[name] = RegisteredBackbone(spec=spec, source=source)
                    return


def _canonical(name: str) -> str:
    """As pip compares names: PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _warn(event: str, source: PluginSource, reason: str) -> None:
    _logger().warning(event, **attrs.asdict(source), reason=reason)


def _logger() -> Any:
    import structlog  # here, since it takes longer to import than listing backbones, and most plugins are sound

    return structlog.get_logger(__name__)


def _check_names(specs: list[BackboneSpec], taken: Mapping[str, RegisteredBackbone]) -> None:
    seen: set[str] = set()
    for spec in specs:
        if spec.name in seen:
            raise PluginRejection(f"it offers two backbones named {spec.name!r}")
        if spec.name in taken:
            owner = taken[spec.name].source
            raise PluginRejection(f"the name {spec.name!r} is taken by {owner.plugin} of {owner.distribution}")
        seen.add(spec.name)
