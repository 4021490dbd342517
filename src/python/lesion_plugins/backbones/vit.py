"""Vision transformers: Dosovitskiy et al. 2021; weights by Steiner et al. 2022 ("augreg")."""

from __future__ import annotations

from functools import partial

from lesion_plugins.timm_backbone import HALF_224, timm_backbone

_vit = partial(timm_backbone, family="vit", weights_license="Apache-2.0", preprocess=HALF_224, patch_px=16)

BACKBONES = (
    _vit(name="vit_tiny", model="vit_tiny_patch16_224.augreg_in21k_ft_in1k", feature_dim=192),
    _vit(name="vit_small", model="vit_small_patch16_224.augreg_in21k_ft_in1k", feature_dim=384),
    _vit(name="vit_base", model="vit_base_patch16_224.augreg2_in21k_ft_in1k", feature_dim=768),
)
