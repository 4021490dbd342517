"""Every hook of Lesion, on one screen. A plugin implements them with ``hookimpl``.

A plugin is a module (or object) named in the entry-point group ``lesion`` of its distribution. Hooks are
called with keyword arguments. ``PLUGIN_API_VERSION`` rises when a hook changes in a way that breaks plugins;
that is announced in the changelog one release ahead.
"""

# N images · C=3 RGB · H, W pixels · D features

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from lesion_plugins.backbone import BackboneSpec

PROJECT = "lesion"
PLUGIN_API_VERSION = 1

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
