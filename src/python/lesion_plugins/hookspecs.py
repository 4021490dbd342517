"""Every hook of Lesion, on one screen. A plugin implements them with ``hookimpl``.

A plugin is a module (or object) named in the entry-point group ``lesion`` of its distribution, with the attribute
``lesion_plugin_api = 1``: the version of the plugin API that it was written for. Hooks are called with keyword
arguments. ``PLUGIN_API_VERSION`` rises when a hook changes in a way that breaks plugins; that is announced in the
changelog one release ahead, and plugins of another version are rejected with that reason.
"""

# N images · C=3 RGB · H, W pixels · D features

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from lesion_plugins.backbone import BackboneSpec

PROJECT = "lesion"
PLUGIN_API_VERSION = 1
API_ATTRIBUTE = "lesion_plugin_api"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def lesion_register_backbones() -> Iterable[BackboneSpec]:  # type: ignore[empty-body]  # pluggy calls only implementations
    """Offer backbones. Called once, when a registry is loaded.

    Each spec's ``build(input_size_px=...)`` returns a module that maps float32 ``(N, 3, H, W)``, normalised
    as ``spec.preprocess`` says, to finite float32 ``(N, spec.feature_dim)``. The hook touches neither network
    nor disk and imports no torch; ``build`` may. An exception, a value that is not a ``BackboneSpec`` or a
    name that is taken rejects this plugin only, with all its backbones: see ``BackboneRegistry.rejected``.

    .. versionadded:: 0.1.0 (plugin API 1)
    """


@hookspec
def lesion_find_backbone(name: str) -> BackboneSpec | None:
    """Offer a backbone of a family too large to list, by a name with the plugin's own prefix: ``timm:resnet18``.

    Called when a backbone is asked for by a name that has a colon and is in no list. Returns ``None`` for the prefix
    of somebody else; else a spec of exactly this name. May import torch. A ``LesionError`` is shown as it is: an
    ``UnknownBackboneError`` that names the closest, an ``UnusableModelError`` that says why. Any other exception is
    logged (``plugin_failed``), and the next plugin is asked.

    .. versionadded:: 0.1.0 (plugin API 1)
    """
