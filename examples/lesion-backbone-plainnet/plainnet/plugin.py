"""What Lesion's entry point names: the API version, and the hook."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from lesion_core.preprocess_spec import PreprocessSpec
from lesion_plugins.backbone import BackboneSpec
from lesion_plugins.feature_map import FeatureMap, channels_first
from lesion_plugins.hookspecs import hookimpl

if TYPE_CHECKING:
    from torch import nn

lesion_plugin_api = 1


def build_plainnet(*, input_size_px: int) -> nn.Module:
    """Make the network; it is the same for every input size."""
    from plainnet.network import PlainNet

    return PlainNet()


@hookimpl
def lesion_register_backbones() -> Iterable[BackboneSpec]:
    """Offer PlainNet."""
    yield BackboneSpec(
        name="plainnet",
        family="plainnet",
        build=build_plainnet,
        feature_dim=128,
        preprocess=PreprocessSpec(input_size_px=128),
        code_license="Apache-2.0",
        code_origin="lesion-backbone-plainnet, an example",
        parameters=822_784,
        multiply_adds=31_981_568,
        feature_map=FeatureMap(layer="stages", reshape=channels_first, is_pooled_by_mean=True),
        layer_groups=(r"stem\.", r"stages\.0\.", r"stages\.1\.", r"stages\.2\."),
        smallest_input_px=64,
        exports_onnx=True,
    )
