"""Plugins that may be broken: found, checked and called one by one, so that none takes the others with it."""

from __future__ import annotations

import importlib.metadata
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator

import attrs
import pluggy

from lesion_plugins import hookspecs
from lesion_plugins.backbone import BackboneSpec
from lesion_plugins.hookspecs import API_ATTRIBUTE, PLUGIN_API_VERSION

ENTRY_POINT_GROUP = "lesion"
BUILT_IN = "lesion_plugins.backbones"


@attrs.frozen(kw_only=True)
class PluginSource:
    """A plugin and the distribution that it came in."""

    plugin: str
    distribution: str
    version: str


@attrs.frozen(kw_only=True)
class PluginCandidate:
    """A plugin that was found; ``load`` imports it, which may do anything."""

    source: PluginSource
    load: Callable[[], object]


class PluginRejection(Exception):
    """A reason of ours, worded for people; what a plugin itself raises is reported with its type."""


def installed_plugins() -> Iterator[PluginCandidate]:
    """Entry points in a stable order: ours first, so that no stranger takes a built-in name."""
    found = []
    for entry in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
        name, version = (str(entry.dist.name), str(entry.dist.version)) if entry.dist else ("unknown", "unknown")
        source = PluginSource(plugin=entry.name, distribution=name, version=version)
        found.append((entry.value != BUILT_IN, name, entry.name, PluginCandidate(source=source, load=entry.load)))
    for *_, candidate in sorted(found, key=lambda item: item[:3]):
        yield candidate


def given_plugin(plugin: object) -> PluginCandidate:
    """Describe a plugin object: its top-level package stands for the distribution."""
    name = getattr(plugin, "__name__", type(plugin).__name__)
    module = plugin.__name__ if inspect.ismodule(plugin) else type(plugin).__module__
    package = module.partition(".")[0]
    version = getattr(sys.modules.get(package), "__version__", "unknown")
    source = PluginSource(plugin=str(name), distribution=package, version=str(version))
    return PluginCandidate(source=source, load=lambda: plugin)


def new_plugin_manager() -> pluggy.PluginManager:
    """Make a plugin manager that knows Lesion's hooks and no plugin."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    return manager


def offered_backbones(manager: pluggy.PluginManager, plugin: object) -> list[BackboneSpec]:
    """Register one plugin with the manager and call its hook; a plugin that fails is taken out again.

    Raises:
        PluginRejection: the plugin breaks a rule of the plugin API. What its own code raises comes through as it is.
    """
    if manager.is_registered(plugin):
        raise PluginRejection("the same plugin is registered already, by another entry point")
    _check_api_version(plugin)
    others = manager.get_plugins()
    try:
        _register(manager, plugin)
        specs = _checked(manager.subset_hook_caller("lesion_register_backbones", others)())
        if not specs and not finds(manager, plugin):
            raise PluginRejection("lesion_register_backbones returned nothing")
        return specs
    except BaseException:
        if manager.is_registered(plugin):
            manager.unregister(plugin)
        raise


def finds(manager: pluggy.PluginManager, plugin: object) -> bool:
    """Whether a registered plugin implements ``lesion_find_backbone``."""
    return any(caller.name == "lesion_find_backbone" for caller in manager.get_hookcallers(plugin) or ())


def finder_of(manager: pluggy.PluginManager, plugin: object) -> pluggy.HookCaller:
    """``lesion_find_backbone`` of this plugin alone, of all that are registered."""
    return manager.subset_hook_caller("lesion_find_backbone", manager.get_plugins() - {plugin})


def _check_api_version(plugin: object) -> None:
    ours = f"this release has plugin API {PLUGIN_API_VERSION}"
    stated = getattr(plugin, API_ATTRIBUTE, None)
    if stated is None:
        raise PluginRejection(
            f"it does not say which plugin API it was written for; {ours}: '{API_ATTRIBUTE} = {PLUGIN_API_VERSION}'"
        )
    if stated != PLUGIN_API_VERSION:
        older, newer = "a newer release of it", "a newer lesion-plugins"
        remedy = newer if isinstance(stated, int) and stated > PLUGIN_API_VERSION else older
        raise PluginRejection(f"it was written for plugin API {stated!r}, {ours}; install {remedy}")


def _register(manager: pluggy.PluginManager, plugin: object) -> None:
    known = f"plugin API {PLUGIN_API_VERSION} has {', '.join(sorted(_signatures(manager)))}"
    try:
        manager.register(plugin)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        reason = " ".join(str(error).split())
        raise PluginRejection(f"{reason}; {known}") from error
    if not manager.get_hookcallers(plugin):
        raise PluginRejection(f"it implements no hook of Lesion; {known}. Is @hookimpl missing?")


def _signatures(manager: pluggy.PluginManager) -> Iterator[str]:
    for name, caller in vars(manager.hook).items():
        if caller.spec is not None:
            yield f"{name}({', '.join(caller.spec.argnames)})"


def _checked(results: list[object]) -> list[BackboneSpec]:
    """What one plugin returned, as specs; pluggy leaves out ``None``: a forgotten ``return``."""
    specs: list[BackboneSpec] = []
    for result in results:
        if not isinstance(result, Iterable):
            kind = type(result).__name__
            raise PluginRejection(f"lesion_register_backbones returned {kind}, not an iterable of BackboneSpec")
        for item in result:
            if not isinstance(item, BackboneSpec):
                raise PluginRejection(f"lesion_register_backbones offered {item!r}, which is not a BackboneSpec")
            specs.append(item)
    return specs
