"""Built-in backbones: a plugin like any other, found by an entry point in the group ``lesion``."""

from __future__ import annotations

from collections.abc import Iterable

from lesion_plugins.backbone import BackboneSpec
from lesion_plugins.backbones import convnext, efficientnet, vit
from lesion_plugins.hookspecs import hookimpl

lesion_plugin_api = 1


@hookimpl
def lesion_register_backbones() -> Iterable[BackboneSpec]:
    """Offer the built-in backbones."""
    return (*vit.BACKBONES, *convnext.BACKBONES, *efficientnet.BACKBONES)


@hookimpl
def lesion_find_backbone(name: str) -> BackboneSpec | None:
    """Offer any model of timm, as ``timm:MODEL``."""
    if not name.startswith("timm:"):
        return None
    from lesion_plugins.timm_bridge import find_timm_backbone

    return find_timm_backbone(name)
