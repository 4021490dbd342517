"""Offer any timm model as a backbone in a few lines. Imports timm only when a network is built."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from lesion_core.decision.parameters import OodDetector
from lesion_core.preprocess_spec import PreprocessSpec
from lesion_plugins.backbone import BackboneSpec, WeightsSource
from lesion_plugins.feature_map import FeatureMap, class_and_patch_tokens

if TYPE_CHECKING:
    from torch import Tensor, nn

TIMM_LICENSE = "Apache-2.0"

_IMAGENET: dict[str, Any] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def half_normalised(input_size_px: int) -> PreprocessSpec:
    """Mean and deviation 0.5, which Google's weights were trained with."""
    return PreprocessSpec(input_size_px=input_size_px)


def imagenet_normalised(input_size_px: int) -> PreprocessSpec:
    """Mean and deviation of ImageNet, which most other weights were trained with."""
    return PreprocessSpec(input_size_px=input_size_px, **_IMAGENET)


def timm_backbone(
    *,
    name: str,
    family: str,
    model: str,
    feature_dim: int,
    preprocess: PreprocessSpec,
    code_origin: str,
    weights_license: str,
    parameters: int,
    multiply_adds: int,
    feature_map: FeatureMap | None = None,
    layer_groups: Iterable[str] = ("",),
    smallest_input_px: int = 32,
    bundled: WeightsSource | None = None,
    ood_detector: OodDetector = OodDetector.MAHALANOBIS,
    exports_onnx: bool = False,
    bf16_on_cpu: bool = False,
    compatible_since: str | None = None,
) -> BackboneSpec:
    """Describe a timm model that takes any input size, and pools its last feature map.

    Args:
        model: timm's name with the tag of its weights, e.g. ``"convnext_atto.d2_in1k"``.
        weights_license: SPDX identifier of the tagged weights' licence.

    The others are fields of ``BackboneSpec``.
    """
    build = partial(build_timm, model)
    return BackboneSpec(
        name=name,
        family=family,
        build=build,
        feature_dim=feature_dim,
        preprocess=preprocess,
        code_license=TIMM_LICENSE,
        code_origin=f"timm, {code_origin}",
        parameters=parameters,
        multiply_adds=multiply_adds,
        feature_map=feature_map,
        layer_groups=layer_groups,
        smallest_input_px=smallest_input_px,
        bundled=bundled,
        hub=hub_weights(model, weights_license, build),
        read_published=partial(read_published, build),
        ood_detector=ood_detector,
        exports_onnx=exports_onnx,
        bf16_on_cpu=bf16_on_cpu,
        compatible_since=compatible_since,
    )


def timm_transformer(
    *,
    name: str,
    model: str,
    preprocess: PreprocessSpec,
    code_origin: str,
    weights_license: str,
    width: int,
    depth: int,
    patch_px: int,
    parameters: int,
    multiply_adds: int,
    prefix_tokens: int = 1,
    has_hub: bool = True,
    bundled: WeightsSource | None = None,
    ood_detector: OodDetector = OodDetector.MAHALANOBIS,
    compatible_since: str | None = None,
) -> BackboneSpec:
    """Describe a vision transformer of timm, for square images of multiples of its patch.

    Its features are the class token joined with the mean of the patch tokens, as DINOv2's authors evaluate theirs: the
    class token alone leaves the patch tokens without a say, and so a heat map without a meaning.

    Args:
        model: as in ``timm_backbone``.
        width: of a token; the backbone has twice as many features.
        depth: its blocks, each a layer group of its own.
        patch_px: side of a patch.
        prefix_tokens: the class token and the registers.
        has_hub: whether the tagged weights are meant; ``False`` where only the architecture is.

    The others are fields of ``BackboneSpec``.
    """
    build = partial(build_timm, model, joined_prefix_tokens=prefix_tokens)
    return BackboneSpec(
        name=name,
        family="vit",
        build=build,
        feature_dim=2 * width,
        preprocess=preprocess,
        code_license=TIMM_LICENSE,
        code_origin=f"timm, {code_origin}",
        parameters=parameters,
        multiply_adds=multiply_adds,
        feature_map=FeatureMap(layer="network", reshape=class_and_patch_tokens(prefix_tokens), is_pooled_by_mean=True),
        layer_groups=(
            r"network\.(patch_embed|cls_token|reg_token|pos_embed|rope)",
            *(rf"network\.blocks\.{block}\." for block in range(depth)),
            r"network\.norm\.",
        ),
        smallest_input_px=2 * patch_px,
        input_multiple_px=patch_px,
        bundled=bundled,
        hub=hub_weights(model, weights_license, build) if has_hub else None,
        read_published=partial(read_published, build),
        ood_detector=ood_detector,
        exports_onnx=True,
        bf16_on_cpu=True,
        compatible_since=compatible_since,
    )


def hub_weights(
    model: str, weights_license: str, build: partial[nn.Module], *, repository: str | None = None
) -> WeightsSource:
    """Weights that timm downloads; it resamples position embeddings to the input size.

    Args:
        model: timm's name with the tag of its weights.
        weights_license: SPDX identifier.
        build: of the network.
        repository: of the hub, where timm's model has it from somebody else; timm's own by default.
    """
    repository = repository or f"timm/{model}"
    return WeightsSource(
        origin=f"hub: {repository}, {weights_license}",
        license=weights_license,
        load=partial(_download, repository, build),
    )


def build_timm(
    model: str,
    *,
    input_size_px: int,
    joined_prefix_tokens: int | None = None,
    is_sized: bool | None = None,
    is_pretrained: bool = False,
) -> nn.Module:
    """Build a model of timm without its head.

    Args:
        model: timm's name, with the tag of its weights where it has one.
        input_size_px: side of the square images.
        joined_prefix_tokens: for a transformer whose class token and mean patch token are to be joined, its prefix
            tokens; otherwise it pools as timm does.
        is_sized: whether the model is made for one input size; by default, where tokens are joined.
        is_pretrained: download the weights.
    """
    from lesion_plugins import torchvision_remedy

    torchvision_remedy.apply()
    import timm

    joins = joined_prefix_tokens is not None
    options: dict[str, Any] = {"img_size": input_size_px} if (joins if is_sized is None else is_sized) else {}
    if joined_prefix_tokens is None:
        return timm.create_model(model, pretrained=is_pretrained, num_classes=0, **options)
    from lesion_plugins.joined_tokens import JoinedTokens

    network = timm.create_model(model, pretrained=is_pretrained, num_classes=0, global_pool="", **options)
    return JoinedTokens(network, prefix_tokens=joined_prefix_tokens)


def _download(repository: str, build: partial[nn.Module], input_size_px: int) -> Mapping[str, Tensor]:
    from lesion_plugins.hub import require_hub

    require_hub(repository)
    state: Mapping[str, Tensor] = build(input_size_px=input_size_px, is_pretrained=True).state_dict()
    return state


def read_published(
    build: partial[nn.Module], published: Mapping[str, Tensor], input_size_px: int
) -> Mapping[str, Tensor]:
    """Read weights of another input size, as timm publishes them, with its classifier that is left out, or as ours.

    Args:
        build: of the backbone.
        published: tensors by timm's names, or by those of the backbone.
        input_size_px: position embeddings are resampled to it, as timm does.
    """
    network = build(input_size_px=input_size_px)
    prefix = "network." if hasattr(network, "prefix_tokens") else ""
    wanted = network.state_dict()
    classifier = tuple(f"{name}." for name in _classifier_names(network))
    renamed = {name if name in wanted else f"{prefix}{name}": tensor for name, tensor in published.items()}
    state = {
        name: tensor
        for name, tensor in renamed.items()
        if name in wanted or not name.removeprefix(prefix).startswith(classifier)
    }
    name = f"{prefix}pos_embed"
    if name in state and name in wanted and state[name].shape != wanted[name].shape:
        state[name] = _resampled(state[name], wanted[name].shape[1])
    return state


def _classifier_names(network: nn.Module) -> tuple[str, ...]:
    """What timm calls the layers that map features to classes."""
    config = getattr(network, "pretrained_cfg", None) or getattr(network.network, "pretrained_cfg", {})
    names = config.get("classifier") or ()
    return (names,) if isinstance(names, str) else tuple(names)


def _resampled(positions: Tensor, tokens: int) -> Tensor:
    from math import isqrt

    from timm.layers import resample_abs_pos_embed

    side = isqrt(tokens)
    prefix_tokens = tokens - side**2
    resampled: Tensor = resample_abs_pos_embed(positions, new_size=[side, side], num_prefix_tokens=prefix_tokens)
    return resampled
