"""ConvNeXt: Liu et al. 2022, and version 2: Woo et al. 2023, whose weights are not for commercial use."""

from __future__ import annotations

from functools import partial

from lesion_plugins.feature_map import FeatureMap, channels_first
from lesion_plugins.timm_backbone import imagenet_normalised, timm_backbone

_convnext = partial(
    timm_backbone,
    family="convnext",
    preprocess=imagenet_normalised(224),
    feature_map=FeatureMap(layer="stages", reshape=channels_first, norm="head.norm", is_pooled_by_mean=True),
    layer_groups=(r"stem\.", *(rf"stages\.{stage}\." for stage in range(4)), r"head\."),
    exports_onnx=True,
    bf16_on_cpu=True,
    compatible_since="0.1.0",
)
_version_1 = partial(_convnext, code_origin="Liu et al. 2022, arXiv:2201.03545", weights_license="Apache-2.0")
_version_2 = partial(_convnext, code_origin="Woo et al. 2023, arXiv:2301.00808", weights_license="CC-BY-NC-4.0")

BACKBONES = (
    _version_1(
        name="convnext_atto",
        model="convnext_atto.d2_in1k",
        feature_dim=320,
        parameters=3_374_520,
        multiply_adds=547_012_480,
    ),
    _version_1(
        name="convnext_femto",
        model="convnext_femto.d1_in1k",
        feature_dim=384,
        parameters=4_832_784,
        multiply_adds=779_245_824,
    ),
    _version_1(
        name="convnext_pico",
        model="convnext_pico.d1_in1k",
        feature_dim=512,
        parameters=8_532_672,
        multiply_adds=1_366_543_360,
    ),
    _version_1(
        name="convnext_nano",
        model="convnext_nano.in12k_ft_in1k",
        feature_dim=640,
        parameters=14_952_560,
        multiply_adds=2_444_888_320,
    ),
    _version_1(
        name="convnext_tiny",
        model="convnext_tiny.fb_in22k_ft_in1k",
        feature_dim=768,
        parameters=27_820_128,
        multiply_adds=4_454_763_264,
    ),
    _version_1(
        name="convnext_small",
        model="convnext_small.fb_in22k_ft_in1k",
        feature_dim=768,
        parameters=49_454_688,
        multiply_adds=8_682_944_256,
    ),
    _version_1(
        name="convnext_base",
        model="convnext_base.fb_in22k_ft_in1k",
        feature_dim=1024,
        parameters=87_566_464,
        multiply_adds=15_353_705_472,
    ),
    _version_2(
        name="convnextv2_atto",
        model="convnextv2_atto.fcmae_ft_in1k",
        feature_dim=320,
        parameters=3_387_400,
        multiply_adds=547_012_480,
    ),
    _version_2(
        name="convnextv2_femto",
        model="convnextv2_femto.fcmae_ft_in1k",
        feature_dim=384,
        parameters=4_848_240,
        multiply_adds=779_245_824,
    ),
    _version_2(
        name="convnextv2_pico",
        model="convnextv2_pico.fcmae_ft_in1k",
        feature_dim=512,
        parameters=8_553_280,
        multiply_adds=1_366_543_360,
    ),
    _version_2(
        name="convnextv2_nano",
        model="convnextv2_nano.fcmae_ft_in22k_in1k",
        feature_dim=640,
        parameters=14_982_800,
        multiply_adds=2_444_888_320,
    ),
    _version_2(
        name="convnextv2_tiny",
        model="convnextv2_tiny.fcmae_ft_in22k_in1k",
        feature_dim=768,
        parameters=27_866_496,
        multiply_adds=4_454_763_264,
    ),
    _version_2(
        name="convnextv2_base",
        model="convnextv2_base.fcmae_ft_in22k_in1k",
        feature_dim=1024,
        parameters=87_692_800,
        multiply_adds=15_353_705_472,
    ),
)
