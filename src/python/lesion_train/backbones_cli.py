"""``lesion-train backbones``: what networks there are to train, and what each of them is."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import attrs
from cyclopts import App

from lesion_core.logs import configure_logging
from lesion_plugins.backbone import BackboneSpec, WeightsSource
from lesion_plugins.registry import BackboneRegistry, RegisteredBackbone
from lesion_train.options import AsJson

backbones = App(name="backbones", help="List the backbones, or show the card of one.")


@backbones.default
def table(*, as_json: AsJson = False) -> None:
    """List the registered backbones, and the plugins that were rejected.

    Any model of timm can be trained too, by the name timm:MODEL; it stands in no list.

    Parameters
    ----------
    as_json
        Print JSON.
    """
    configure_logging()
    registry = BackboneRegistry.load()
    found = [registry.find(name) for name in registry.names()]
    if as_json:
        rejected = [attrs.asdict(plugin) for plugin in registry.rejected]
        print(json.dumps({"backbones": [row_of(item) for item in found], "rejected": rejected}, indent=2))
        return
    print(f"{'name':22} {'family':13} {'parameters':>10} {'GMACs':>7}   px  offline  licence of weights  plugin")
    for item in found:
        print(_line(item.spec, f"{item.source.distribution} {item.source.version}"))
    print(
        "\nGMACs are of one image at the default input size (px). Any model of timm: timm:MODEL. "
        "One in full: lesion-train backbones show NAME"
    )
    for plugin in registry.rejected:
        print(f"rejected: {plugin}", file=sys.stderr)


def _line(spec: BackboneSpec, plugin: str) -> str:
    offline = "yes" if spec.is_offline else "-"
    return (
        f"{spec.name:22} {spec.family:13} {spec.parameters / 1e6:8.1f} M {spec.multiply_adds / 1e9:7.2f}  "
        f"{spec.preprocess.input_size_px:3}  {offline:7}  {spec.weights_license:18}  {plugin}"
    )


@backbones.command
def show(name: str) -> None:
    """Show the card of one backbone.

    Example: lesion-train backbones show efficientnet_lite0

    Parameters
    ----------
    name
        As in the table, or timm:MODEL.
    """
    configure_logging()
    for title, value in card_of(BackboneRegistry.load().find(name)):
        print(f"{title:22} {value}")


def row_of(found: RegisteredBackbone) -> dict[str, object]:
    """One line of the table, with the keys that ``--json`` promises."""
    spec = found.spec
    return {
        "name": spec.name,
        "family": spec.family,
        "parameters": spec.parameters,
        "multiply_adds": spec.multiply_adds,
        "feature_dim": spec.feature_dim,
        "input_size_px": spec.preprocess.input_size_px,
        "offline": spec.is_offline,
        "code_license": spec.code_license,
        "weights_license": spec.weights_license,
        "plugin": found.source.plugin,
        "distribution": found.source.distribution,
        "version": found.source.version,
    }


def card_of(found: RegisteredBackbone) -> Iterator[tuple[str, str]]:
    """Everything that one wants to know before training with a backbone, as titles and values."""
    spec, source, preprocess = found.spec, found.source, found.spec.preprocess
    yield "name", spec.name
    yield "family", spec.family
    yield "plugin", f"{source.plugin} of {source.distribution} {source.version}"
    yield "code", f"{spec.code_origin}; {spec.code_license}"
    for title, weights in (("--pretrained bundled", spec.bundled), ("--pretrained hub", spec.hub)):
        yield title, _weights(weights)
    yield "features", str(spec.feature_dim)
    yield "parameters", f"{spec.parameters:,}"
    yield "multiply-adds", f"{spec.multiply_adds:,} for one image of {preprocess.input_size_px} px"
    yield "input size", f"{preprocess.input_size_px} px by default; {_sizes(spec)}"
    yield "normalisation", f"mean {_triple(preprocess.mean)}, deviation {_triple(preprocess.std)}"
    yield "feature map", _map(spec)
    yield "layer groups", f"{len(spec.layer_groups)}, for layer-wise learning rates"
    yield "strange images", f"told by {spec.ood_detector}, unless a run chooses another detector"
    yield "ONNX export", "yes, with equal answers" if spec.exports_onnx else "not promised"
    yield "bfloat16", "on GPUs, and on CPUs that compute in it" if spec.bf16_on_cpu else "on GPUs"
    since = f"and of those since {spec.compatible_since}" if spec.compatible_since else "only"
    yield "serves bundles of", f"{source.distribution} of the series of {source.version} {since}"


def _weights(weights: WeightsSource | None) -> str:
    if weights is None:
        return "none"
    return weights.origin if weights.is_installed() else f"{weights.origin} (its package is not installed here)"


def _sizes(spec: BackboneSpec) -> str:
    if spec.smallest_input_px == spec.largest_input_px:
        return "no other"
    steps = f" in multiples of {spec.input_multiple_px} px" if spec.input_multiple_px > 1 else ""
    limit = "or more" if spec.largest_input_px is None else f"to {spec.largest_input_px} px"
    return f"{spec.smallest_input_px} px {limit}{steps}"


def _map(spec: BackboneSpec) -> str:
    if spec.feature_map is None:
        return "none, so no heat map"
    add_up = "add up to the logits" if spec.feature_map.is_pooled_by_mean else "are the head's opinion of each cell"
    return f"layer {spec.feature_map.layer}; activation maps {add_up}"


def _triple(values: tuple[float, float, float]) -> str:
    return ", ".join(f"{value:g}" for value in values)
