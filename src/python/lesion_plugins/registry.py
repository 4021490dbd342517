"""The backbones that are installed: an object that the application makes, from plugins that may be broken."""

from __future__ import annotations

import difflib
import importlib.metadata
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping

import attrs
import pluggy
import structlog

from lesion_core.bundle import BackboneIdentity
from lesion_plugins import hookspecs
from lesion_plugins.backbone import BackboneSpec
from lesion_plugins.errors import UnknownBackboneError

ENTRY_POINT_GROUP = "lesion"
BUILT_IN = "lesion_plugins.backbones"

log = structlog.get_logger(__name__)


@attrs.frozen(kw_only=True)
class PluginSource:
    """A plugin and the distribution that it came in."""

    plugin: str
    distribution: str
    version: str


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


def new_plugin_manager() -> pluggy.PluginManager:
    """Make a plugin manager that knows Lesion's hooks and no plugin."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    return manager


class BackboneRegistry:
    """Backbones by name. Make one with ``load``; a test makes its own from plugin objects."""

    def __init__(self, backbones: Mapping[str, RegisteredBackbone], rejected: Iterable[RejectedPlugin] = ()) -> None:
        self._backbones = dict(backbones)
        self.rejected = tuple(rejected)

    @classmethod
    def load(cls, *, blocked: Iterable[str] = (), plugins: Iterable[object] | None = None) -> BackboneRegistry:
        """Collect the backbones of every plugin; a broken one is skipped, logged and listed in ``rejected``.

        Args:
            blocked: names of plugins or distributions; their code is never imported.
            plugins: modules or objects to use in place of the installed entry points of the group ``lesion``.
        """
        candidates = _installed() if plugins is None else map(_given, plugins)
        unwanted = frozenset(blocked)
        manager = new_plugin_manager()
        backbones: dict[str, RegisteredBackbone] = {}
        rejected: list[RejectedPlugin] = []
        for source, load in candidates:
            try:
                if not unwanted.isdisjoint({source.plugin, source.distribution}):
                    raise _Rejection("blocked by the application")
                specs = _offered(manager, load())
                _check_names(specs, backbones)
            except (Exception, SystemExit) as error:  # a stranger's code: whatever it raises is its reason
                reason = str(error) if isinstance(error, _Rejection) else f"{type(error).__name__}: {error}"
                rejected.append(RejectedPlugin(**attrs.asdict(source), reason=reason))
                log.warning("plugin_rejected", **attrs.asdict(source), reason=reason)
            else:
                backbones |= {spec.name: RegisteredBackbone(spec=spec, source=source) for spec in specs}
        return cls(backbones, rejected)

    def names(self) -> tuple[str, ...]:
        """Names of all backbones, sorted."""
        return tuple(sorted(self._backbones))

    def get(self, name: str) -> BackboneSpec:
        """Look a backbone up.

        Raises:
            UnknownBackboneError: names the closest backbone and the plugins that were rejected.
        """
        return self._find(name).spec

    def source(self, name: str) -> PluginSource:
        """Look up which plugin offers a backbone; raises as ``get``."""
        return self._find(name).source

    def identity(self, name: str, weights_origin: str) -> BackboneIdentity:
        """Describe a backbone for a bundle; ``weights_origin`` is what ``build_classifier`` returned."""
        found = self._find(name)
        return BackboneIdentity(
            name=name,
            plugin=found.source.distribution,
            plugin_version=found.source.version,
            code_license=found.spec.code_license,
            weights_license=found.spec.license_of(weights_origin),
            weights_origin=weights_origin,
        )

    def _find(self, name: str) -> RegisteredBackbone:
        if name not in self._backbones:
            closest = difflib.get_close_matches(name, self._backbones, n=1, cutoff=0.6)
            raise UnknownBackboneError(name, next(iter(closest), None), [str(plugin) for plugin in self.rejected])
        return self._backbones[name]


class _Rejection(Exception):
    """A reason of ours, worded for people; what a plugin itself raises is reported with its type."""


_Candidate = tuple[PluginSource, Callable[[], object]]


def _installed() -> Iterator[_Candidate]:
    """Entry points in a stable order: ours first, so that no stranger takes a built-in name."""
    found = []
    for entry in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
        name, version = (str(entry.dist.name), str(entry.dist.version)) if entry.dist else ("unknown", "unknown")
        source = PluginSource(plugin=entry.name, distribution=name, version=version)
        found.append((entry.value != BUILT_IN, name, entry.name, source, entry.load))
    for _, _, _, source, load in sorted(found, key=lambda item: item[:3]):
        yield source, load


def _given(plugin: object) -> _Candidate:
    """Describe a plugin object: its top-level package stands for the distribution."""
    name = getattr(plugin, "__name__", type(plugin).__name__)
    module = plugin.__name__ if inspect.ismodule(plugin) else type(plugin).__module__
    package = module.partition(".")[0]
    version = getattr(sys.modules.get(package), "__version__", "unknown")
    return PluginSource(plugin=str(name), distribution=package, version=str(version)), lambda: plugin


def _offered(manager: pluggy.PluginManager, plugin: object) -> list[BackboneSpec]:
    """Register one plugin, call its hook and check the result; a plugin that fails is taken out again."""
    if manager.is_registered(plugin):
        raise _Rejection("the same plugin is registered already, by another entry point")
    others = manager.get_plugins()
    try:
        manager.register(plugin)
        _check_hooks(manager, plugin)
        return _checked(manager.subset_hook_caller("lesion_register_backbones", others)())
    except BaseException:
        if manager.is_registered(plugin):
            manager.unregister(plugin)
        raise


def _check_hooks(manager: pluggy.PluginManager, plugin: object) -> None:
    known = f"plugin API {hookspecs.PLUGIN_API_VERSION} has lesion_register_backbones"
    try:
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise _Rejection(f"{error}; {known}") from error
    if not manager.get_hookcallers(plugin):
        raise _Rejection(f"it implements no hook of Lesion; {known}. Is @hookimpl missing?")


def _checked(results: list[object]) -> list[BackboneSpec]:
    """What one plugin returned, as specs; pluggy leaves out ``None``: a forgotten ``return``."""
    if not results:
        raise _Rejection("lesion_register_backbones returned nothing")
    specs: list[BackboneSpec] = []
    for result in results:
        if not isinstance(result, Iterable):
            kind = type(result).__name__
            raise _Rejection(f"lesion_register_backbones returned {kind}, not an iterable of BackboneSpec")
        for item in result:
            if not isinstance(item, BackboneSpec):
                raise _Rejection(f"lesion_register_backbones offered {item!r}, which is not a BackboneSpec")
            specs.append(item)
    return specs


def _check_names(specs: list[BackboneSpec], taken: Mapping[str, RegisteredBackbone]) -> None:
    seen: set[str] = set()
    for spec in specs:
        if spec.name in seen:
            raise _Rejection(f"it offers two backbones named {spec.name!r}")
        if spec.name in taken:
            owner = taken[spec.name].source
            raise _Rejection(f"the name {spec.name!r} is taken by {owner.plugin} of {owner.distribution}")
        seen.add(spec.name)
