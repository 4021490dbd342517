"""Offer any timm model as a backbone in a few lines. Imports timm only when a network is built."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from lesion_core.decision.parameters import OodDetector
from lesion_core.preprocess import PreprocessSpec
from lesion_plugins.backbone import BackboneSpec, WeightsSource

if TYPE_CHECKING:
    from torch import Tensor, nn

_IMAGENET: dict[str, Any] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}

HALF_224 = PreprocessSpec(input_size_px=224)
IMAGENET_224 = PreprocessSpec(input_size_px=224, **_IMAGENET)


def timm_backbone(
    *,
    name: str,
    family: str,
    model: str,
    feature_dim: int,
    preprocess: PreprocessSpec,
    weights_license: str,
    patch_px: int | None = None,
    bundled: WeightsSource | None = None,
    ood_detector: OodDetector = OodDetector.MAHALANOBIS,
) -> BackboneSpec:
    """Describe a timm model for ``lesion_register_backbones``.

    Args:
        name: unique name of the backbone.
        family: for grouping in lists, e.g. ``"vit"``.
        model: timm's name with the tag of its weights, e.g. ``"convnext_atto.d2_in1k"``.
        feature_dim: pooled features of the model without its head.
        preprocess: as the weights were trained with.
        weights_license: SPDX identifier of the tagged weights' licence.
        patch_px: only for transformers: their position embeddings are made for one input size, which has to
            be a multiple of this.
        bundled: weights that need no network.
        ood_detector: what tells strange images best on its embeddings.
    """
    build = partial(_build, model, is_sized=patch_px is not None)
    return BackboneSpec(
        name=name,
        family=family,
        build=build,
        feature_dim=feature_dim,
        preprocess=preprocess,
        code_license="Apache-2.0",
        smallest_input_px=2 * (patch_px or 16),
        input_multiple_px=patch_px or 1,
        bundled=bundled,
        ood_detector=ood_detector,
        hub=WeightsSource(
            origin=f"hub: timm/{model}, {weights_license}",
            license=weights_license,
            load=partial(_download, build),
        ),
    )


def _build(model: str, *, is_sized: bool, input_size_px: int, is_pretrained: bool = False) -> nn.Module:
    from lesion_plugins import torchvision_remedy

    torchvision_remedy.apply()
    import timm

    size: dict[str, Any] = {"img_size": input_size_px} if is_sized else {}
    return timm.create_model(model, pretrained=is_pretrained, num_classes=0, **size)


def _download(build: partial[nn.Module], input_size_px: int) -> Mapping[str, Tensor]:
    """State of timm's pretrained model; timm resamples position embeddings to the input size."""
    state: Mapping[str, Tensor] = build(input_size_px=input_size_px, is_pretrained=True).state_dict()
    return state
