"""ConvNeXt: Liu et al. 2022, and version 2: Woo et al. 2023, whose weights are not for commercial use."""

from __future__ import annotations

from functools import partial

from lesion_plugins.timm_backbone import IMAGENET_224, timm_backbone

_convnext = partial(timm_backbone, family="convnext", preprocess=IMAGENET_224)

BACKBONES = (
    _convnext(name="convnext_atto", model="convnext_atto.d2_in1k", feature_dim=320, weights_license="Apache-2.0"),
    _convnext(
        name="convnext_tiny",
        model="convnext_tiny.fb_in22k_ft_in1k",
        feature_dim=768,
        weights_license="Apache-2.0",
    ),
    _convnext(
        name="convnextv2_atto",
        model="convnextv2_atto.fcmae_ft_in1k",
        feature_dim=320,
        weights_license="CC-BY-NC-4.0",
    ),
)
