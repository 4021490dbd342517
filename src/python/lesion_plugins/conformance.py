"""The contract of a backbone, as checks that anybody can run. A plugin's whole test is three lines:

@pytest.mark.parametrize("spec", lesion_register_backbones(), ids=lambda spec: spec.name)
def test_backbone_keeps_the_contract(spec):
    check_backbone(spec)
"""

# N images · H, W pixels · D features

from __future__ import annotations

import torch
from torch import Tensor, nn

from lesion_core.errors import LesionError
from lesion_plugins.backbone import BackboneSpec
from lesion_plugins.errors import ConformanceError
from lesion_plugins.weights import load_weights, weights_to_bytes

TOLERANCE = 1e-4


def check_backbone(spec: BackboneSpec, *, input_size_px: int | None = None) -> None:
    """Build a backbone with random weights and check what it does, in evaluation mode on the CPU.

    Checks shape, type and finiteness of the features, that the images of a batch do not influence each
    other, that the network can be trained, and that its weights survive safetensors. Torch's random state is
    left as it was.

    Args:
        spec: the backbone.
        input_size_px: size to check at; by default the smallest that the spec allows, which is the quickest.
    Raises:
        ConformanceError: with the ``reason``. What the network itself raises comes through as it is.
    """
    size_px = spec.smallest_input_px if input_size_px is None else input_size_px
    spec.check_input_size(size_px)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = _build(spec, size_px)
        images = torch.randn(2, 3, size_px, size_px)
        features = _features(spec, module, images)
        _check_batch(spec, module, images, features)
        _check_weights(spec, module, images, features, size_px)
        _check_training(spec, module, images)


def _build(spec: BackboneSpec, size_px: int) -> nn.Module:
    module: object = spec.build(input_size_px=size_px)
    if not isinstance(module, nn.Module):
        raise ConformanceError(spec.name, f"build() returned {type(module).__name__}, not a torch.nn.Module")
    return module


def _features(spec: BackboneSpec, module: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        features: object = module.eval()(images)
    if not isinstance(features, Tensor):
        raise ConformanceError(spec.name, f"it returned {type(features).__name__}, not a tensor")
    expected = (len(images), spec.feature_dim)
    if features.shape != expected:
        raise ConformanceError(spec.name, f"features have shape {tuple(features.shape)}, not {expected}")
    if features.dtype != torch.float32:
        raise ConformanceError(spec.name, f"features are {features.dtype}, not torch.float32")
    if not features.isfinite().all():
        raise ConformanceError(spec.name, "features are not finite")
    return features.detach()


def _check_batch(spec: BackboneSpec, module: nn.Module, images: Tensor, features: Tensor) -> None:
    singly = torch.cat([_features(spec, module, image[None]) for image in images])
    gap = float((features - singly).abs().max())
    if gap > TOLERANCE:
        raise ConformanceError(spec.name, f"a batch of 2 differs from two batches of 1 by {gap:.2g}")


def _check_weights(spec: BackboneSpec, module: nn.Module, images: Tensor, features: Tensor, size_px: int) -> None:
    restored = _build(spec, size_px)
    try:
        load_weights(restored, weights_to_bytes(module))
    except LesionError as error:
        raise ConformanceError(spec.name, f"its weights do not survive safetensors: {error}") from error
    gap = float((features - _features(spec, restored, images)).abs().max())
    if gap > TOLERANCE:
        raise ConformanceError(spec.name, f"after saving and loading its weights, features differ by {gap:.2g}")


def _check_training(spec: BackboneSpec, module: nn.Module, images: Tensor) -> None:
    features: Tensor = module.train()(images)
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    gradients: list[Tensor] = []
    if features.requires_grad and trainable:
        every = torch.autograd.grad(features.sum(), trainable, allow_unused=True)
        gradients = [gradient for gradient in every if gradient is not None]
    if not gradients:
        raise ConformanceError(spec.name, "no gradient reaches its parameters")
    if not all(bool(gradient.isfinite().all()) for gradient in gradients):
        raise ConformanceError(spec.name, "gradients are not finite")
