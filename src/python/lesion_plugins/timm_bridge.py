"""Any model of timm as a backbone, by the name ``timm:MODEL``: its spec is found out by building it without weights."""

# N images · D features · h, w cells of the map · P prefix tokens · T patch tokens

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from functools import partial
from math import isqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lesion_core.preprocess_spec import PreprocessSpec
from lesion_plugins import torchvision_remedy
from lesion_plugins.backbone import BackboneSpec
from lesion_plugins.errors import UnknownBackboneError, UnusableModelError
from lesion_plugins.feature_map import FeatureMap, channels_first, channels_last, patch_tokens
from lesion_plugins.timm_backbone import TIMM_LICENSE, build_timm, hub_weights, read_published

torchvision_remedy.apply()

import timm  # noqa: E402  (needs the remedy first)
from timm.layers import convert_sync_batchnorm as convert_sync_batchnorm  # noqa: E402
from timm.layers import to_2tuple  # noqa: E402
from timm.models import group_parameters  # noqa: E402

PREFIX = "timm:"
NOT_STATED = "not stated"
SPDX = {"apache-2.0": "Apache-2.0", "mit": "MIT", "bsd-3-clause": "BSD-3-Clause", "cc-by-nc-4.0": "CC-BY-NC-4.0"}
STRIDE_PX = 32  # of most networks, and a safe step for those that take any size


def find_timm_backbone(name: str) -> BackboneSpec:
    """Describe a model of timm.

    It is built once on torch's meta device, which has shapes and no numbers. What cannot be found out is left out of
    the spec: a model without a feature map has no heat map, and one that needs its own input size takes no other.

    Args:
        name: ``timm:MODEL`` or ``timm:MODEL.TAG``, as ``timm.list_models()`` names them.
    Raises:
        UnknownBackboneError: timm has no such model or tag; names the closest.
        UnusableModelError: timm has it, and it does not map one square image to features.
    """
    model = name.removeprefix(PREFIX)
    architecture, _, tag = model.partition(".")
    if not timm.is_model(architecture) or (tag and model not in timm.list_pretrained(f"{architecture}.*")):
        raise UnknownBackboneError(name, _closest(architecture, tag))
    config = timm.get_pretrained_cfg(model) or timm.get_pretrained_cfg(architecture)
    if config is None or config.input_size[0] != 3 or config.input_size[1] != config.input_size[2]:
        raise UnusableModelError(name, "timm does not describe it as a network for square colour images")
    model = f"{architecture}.{config.tag}" if config.tag else architecture  # the tag that timm would take
    side = int(config.input_size[-1])
    patch_px = _patch_px(model, side) if config.fixed_input_size else None
    build = partial(build_timm, model, is_sized=patch_px is not None)
    try:
        network, features, outputs, multiply_adds = _probe(build, side)
    except Exception as error:  # a thousand models fail in many ways where they take no single image
        raise UnusableModelError(name, f"it does not run on one image ({type(error).__name__}: {error})") from error
    licence = SPDX.get(config.license or "", config.license or NOT_STATED)
    smallest, largest, multiple = _sizes(side, is_fixed=config.fixed_input_size, patch_px=patch_px)
    return BackboneSpec(
        name=name,
        family=architecture.partition("_")[0],
        build=build,
        feature_dim=features.shape[1],
        preprocess=PreprocessSpec(input_size_px=side, mean=config.mean, std=config.std),
        code_license=TIMM_LICENSE,
        code_origin=f"timm {timm.__version__}, {architecture}",
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        multiply_adds=multiply_adds,
        feature_map=_feature_map(outputs, features.shape[1], getattr(network, "num_prefix_tokens", 0)),
        layer_groups=_layer_groups(network),
        smallest_input_px=smallest,
        largest_input_px=largest,
        input_multiple_px=multiple,
        # timm downloads the others, old checkpoints, from elsewhere; they have to be converted.
        hub=hub_weights(model, licence, build, repository=config.hf_hub_id) if config.hf_hub_id else None,
        read_published=partial(read_published, build),
    )


def _closest(architecture: str, tag: str) -> str | None:
    """The closest tag of an architecture that there is, else the closest architecture."""
    if timm.is_model(architecture):
        tagged = timm.list_pretrained(f"{architecture}.*")
        found = difflib.get_close_matches(f"{architecture}.{tag}", tagged, n=1, cutoff=0) or [architecture]
    else:
        found = difflib.get_close_matches(architecture, timm.list_models(), n=1, cutoff=0.6)
    return f"{PREFIX}{found[0]}" if found else None


def _patch_px(model: str, side: int) -> int | None:
    """Side of the patches of a transformer that can be made for other sizes; ``None`` for all other networks."""
    try:
        with torch.device("meta"):
            network: Any = build_timm(model, input_size_px=side, is_sized=True)
        patch: Sequence[int] = to_2tuple(network.patch_embed.patch_size)
    except Exception:  # it takes no img_size, or embeds its patches in some other way
        return None
    is_plain = not hasattr(network, "layers")  # windows of hierarchical transformers fit their own size only
    return int(patch[0]) if is_plain and patch[0] == patch[1] else None


def _sizes(side: int, *, is_fixed: bool, patch_px: int | None) -> tuple[int, int | None, int]:
    """Smallest and largest input size, and what sizes have to be multiples of."""
    if patch_px is not None:
        return 2 * patch_px, None, patch_px
    if is_fixed or side % STRIDE_PX:
        return side, side, 1
    return 2 * STRIDE_PX, None, STRIDE_PX


def _probe(build: partial[nn.Module], side: int) -> tuple[nn.Module, Tensor, list[tuple[str, Tensor]], int]:
    """Run a model without numbers: network, features ``(1, D)``, outputs of its layers in order, multiply-adds."""
    outputs: list[tuple[str, Tensor]] = []

    def keep(name: str, _: nn.Module, __: object, output: object) -> None:
        if isinstance(output, Tensor):
            outputs.append((name, output))

    with torch.device("meta"):
        network = build(input_size_px=side).eval()
        hooks = [module.register_forward_hook(partial(keep, name)) for name, module in network.named_modules() if name]
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            features = network(torch.zeros(1, 3, side, side))
    for hook in hooks:
        hook.remove()
    if not isinstance(features, Tensor) or features.ndim != 2:
        raise TypeError("it puts out no pooled features")
    return network, features, outputs, max(1, counter.get_total_flops() // 2)


def _feature_map(outputs: list[tuple[str, Tensor]], feature_dim: int, prefix_tokens: int) -> FeatureMap | None:
    """The last layer that still has places and as many channels as there are features."""
    for layer, output in reversed(outputs):
        shape = tuple(output.shape[1:])
        if len(shape) == 3 and shape[0] == feature_dim and shape[1] == shape[2] > 1:
            return FeatureMap(layer=layer, reshape=channels_first)
        if len(shape) == 3 and shape[2] == feature_dim and shape[0] == shape[1] > 1:
            return FeatureMap(layer=layer, reshape=channels_last)
        patches = shape[0] - prefix_tokens if len(shape) == 2 and shape[1] == feature_dim else 0
        if patches > 1 and isqrt(patches) ** 2 == patches:
            return FeatureMap(layer=layer, reshape=patch_tokens(prefix_tokens))
    return None


def _layer_groups(network: Any) -> Iterator[str]:
    """timm's own coarse grouping, as regular expressions that match exactly its parameters."""
    if not hasattr(network, "group_matcher"):
        yield ""
        return
    groups = group_parameters(network, network.group_matcher(coarse=True))
    for group in sorted(groups):
        yield f"({'|'.join(re.escape(name) for name in groups[group])})$"
