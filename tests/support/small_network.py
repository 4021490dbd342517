"""A backbone that trains in milliseconds a step, for tests of how training goes and not of what it learns."""

from __future__ import annotations

from functools import partial
from typing import Any

import attrs

from lesion_core.preprocess_spec import PreprocessSpec
from lesion_plugins.backbone import BackboneSpec

SIDE = 32
FEATURES = 32


def _build(*, input_size_px: int, per_image: bool) -> Any:
    from torch import nn

    def norm(channels: int) -> nn.Module:
        return nn.GroupNorm(4, channels) if per_image else nn.BatchNorm2d(channels)

    def stage(came: int, goes: int) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(came, goes, 3, stride=2, padding=1), norm(goes), nn.GELU())

    return nn.Sequential(stage(3, 16), stage(16, 24), stage(24, FEATURES), nn.AdaptiveAvgPool2d(1), nn.Flatten())


# Normalises over the batch, so that a step depends on which images are together.
SMALL_CNN = BackboneSpec(
    name="small_cnn",
    family="cnn",
    build=partial(_build, per_image=False),
    feature_dim=FEATURES,
    preprocess=PreprocessSpec(input_size_px=SIDE),
    code_license="MIT",
    code_origin="made up for tests",
    parameters=10_944,
    multiply_adds=1_000_000,
    layer_groups=(r"0\.", r"1\.", r"2\."),
    smallest_input_px=16,
)
# Normalises each image on its own, so that processes that share a batch need not talk about it.
SMALL_CNN_PER_IMAGE = attrs.evolve(SMALL_CNN, name="small_cnn_per_image", build=partial(_build, per_image=True))
