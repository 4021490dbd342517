"""The promises of a backbone, one function each. ``lesion_plugins.conformance`` is what a plugin's test imports."""

# N images · H, W pixels · D features · h, w cells of the feature map

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property, lru_cache
from typing import NoReturn
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lesion_core.errors import LesionError
from lesion_plugins.backbone import BackboneSpec
from lesion_plugins.classifier import Classifier
from lesion_plugins.errors import ConformanceError, InputSizeError, OnnxError, OnnxPackageMissingError
from lesion_plugins.onnx_network import OnnxNetwork, export_onnx
from lesion_plugins.weights import load_weights, weights_to_bytes

TOLERANCE = 1e-4
ONNX_TOLERANCE = 1e-3
MAP_PX = 224  # large enough for places to differ, where the stride is 32 and weights are random


class Subject:
    """A backbone with random weights, built when it is first asked for: the checks of one spec share it."""

    def __init__(self, spec: BackboneSpec, size_px: int) -> None:
        self.spec = spec
        self.size_px = size_px

    @cached_property
    def module(self) -> nn.Module:
        """The network, for images of ``size_px``."""
        return self.build(self.size_px)

    @cached_property
    def images(self) -> Tensor:
        """Two different ones, float32 ``(2, 3, H, W)``."""
        return torch.randn(2, 3, self.size_px, self.size_px)

    @cached_property
    def features(self) -> Tensor:
        """What the network says of the images, float32 ``(2, D)``."""
        return self.run(self.module, self.images)

    def build(self, size_px: int) -> nn.Module:
        """Build the network anew."""
        module: object = self.spec.build(input_size_px=size_px)
        if not isinstance(module, nn.Module):
            self.fail(f"build() returned {type(module).__name__}, not a torch.nn.Module")
        return module

    def run(self, module: nn.Module, images: Tensor) -> Tensor:
        """Features in evaluation mode, without gradients, after a look at their type."""
        with torch.no_grad():
            features: object = module.eval()(images)
        if not isinstance(features, Tensor):
            self.fail(f"it returned {type(features).__name__}, not a tensor")
        return features

    def fail(self, reason: str) -> NoReturn:
        """Say which promise is broken."""
        raise ConformanceError(self.spec.name, reason)


@lru_cache(maxsize=1)
def subject(spec: BackboneSpec, size_px: int) -> Subject:
    """The subject of a spec, kept until another spec is checked."""
    return Subject(spec, size_px)


def check_features(it: Subject) -> None:
    """Finite float32 ``(N, D)``."""
    features, expected = it.features, (len(it.images), it.spec.feature_dim)
    if features.shape != expected:
        it.fail(f"features have shape {tuple(features.shape)}, not {expected}")
    if features.dtype != torch.float32:
        it.fail(f"features are {features.dtype}, not torch.float32")
    if not features.isfinite().all():
        it.fail("features are not finite")


def check_determinism(it: Subject) -> None:
    """The same image gives the same features, in evaluation mode."""
    gap = _gap(it.features, it.run(it.module, it.images))
    if gap > TOLERANCE:
        it.fail(f"the same images give features that differ by {gap:.2g}")


def check_batch(it: Subject) -> None:
    """The images of a batch do not influence each other."""
    gap = _gap(it.features, torch.cat([it.run(it.module, image[None]) for image in it.images]))
    if gap > TOLERANCE:
        it.fail(f"a batch of 2 differs from two batches of 1 by {gap:.2g}")


def check_weights(it: Subject) -> None:
    """Its weights survive safetensors, and make the same network of another build."""
    restored = it.build(it.size_px)
    try:
        load_weights(restored, weights_to_bytes(it.module))
    except LesionError as error:
        raise ConformanceError(it.spec.name, f"its weights do not survive safetensors: {error}") from error
    gap = _gap(it.features, it.run(restored, it.images))
    if gap > TOLERANCE:
        it.fail(f"after saving and loading its weights, features differ by {gap:.2g}")


def check_gradients(it: Subject) -> None:
    """A finite gradient reaches every parameter in training mode, and one that is not zero in evaluation mode."""
    module = it.build(it.size_px)  # one of its own: training moves the statistics of normalisations
    frozen = [name for name, parameter in module.named_parameters() if not parameter.requires_grad]
    if frozen:
        it.fail(f"{len(frozen)} of its parameters are frozen: {_some(frozen)}; a constant is a buffer")
    _shake_zeros(module)
    gradients = _gradients(module.train(), it.images)
    missed = [name for name, gradient in gradients.items() if gradient is None]
    if len(missed) == len(gradients):
        it.fail("no gradient reaches its parameters")
    if missed:
        it.fail(f"no gradient reaches {len(missed)} of its parameters: {_some(missed)}")
    if not all(bool(gradient.isfinite().all()) for gradient in gradients.values() if gradient is not None):
        it.fail("gradients are not finite")
    # In training, a normalisation over two images rightly cancels what was added before it, and depth may be dropped.
    gradients = _gradients(module.eval(), it.images)
    zero = [name for name, gradient in gradients.items() if gradient is None or not gradient.any()]
    if zero:
        it.fail(f"the gradient of {len(zero)} of its parameters is zero: {_some(zero)}")


def check_input_sizes(it: Subject) -> None:
    """Sizes around the limits of the spec work; in place of one that it refuses, the one that it names."""
    spec, step_px = it.spec, it.spec.input_multiple_px
    around = [spec.smallest_input_px - 1, spec.smallest_input_px + step_px - 1, spec.smallest_input_px + step_px]
    if spec.largest_input_px is not None:
        around.append(spec.largest_input_px + 1)
    for size_px in sorted({spec.smallest_input_px, *(_accepted(spec, size_px) for size_px in around)}):
        try:
            it.run(it.build(size_px), torch.zeros(2, 3, size_px, size_px))
        except Exception as error:  # a stranger's code: whatever it raises, the spec said that this size works
            raise ConformanceError(
                spec.name, f"it cannot take {size_px} px, which its spec accepts: {error}"
            ) from error


def check_offline(it: Subject) -> None:
    """Building asks nobody over a network, not even in vain."""
    asked = []

    def refuse(*_: object, **__: object) -> NoReturn:
        asked.append(True)
        raise OSError("no network while a backbone is built")

    with ExitStack() as patches:
        for owner, name in ((socket, "getaddrinfo"), *((socket.socket, name) for name in ("connect", "connect_ex"))):
            patches.enter_context(mock.patch.object(owner, name, refuse))
        try:
            it.build(it.size_px)
        except Exception:
            if not asked:
                raise
    if asked:
        it.fail("build() opened a network connection; weights belong into bundled= or hub=")


def check_spec(it: Subject) -> None:
    """Parameters, multiply-adds and layer groups are those of the network; the error says what was measured."""
    spec = it.spec
    parameters, multiply_adds = _measure(it, spec.preprocess.input_size_px)
    if spec.parameters != parameters:
        it.fail(f"its spec says parameters={spec.parameters:_}, it has {parameters:_}")
    if spec.multiply_adds != multiply_adds:
        it.fail(f"its spec says multiply_adds={spec.multiply_adds:_}, counted were {multiply_adds:_}")
    groups: set[int] = set()
    for name, _ in it.module.named_parameters():
        try:
            groups.add(spec.layer_of(name))
        except ValueError as error:
            raise ConformanceError(spec.name, str(error)) from error
    empty = [spec.layer_groups[index] for index in range(len(spec.layer_groups)) if index not in groups]
    if empty:
        it.fail(f"no parameter belongs to {len(empty)} of its layer groups: {_some(empty)}")


def check_feature_map(it: Subject) -> None:
    """Its map lies like the image: a bright square changes the cells where it is; and the mean is as promised."""
    spec = it.spec
    if spec.feature_map is None:
        return
    size_px = _size_for_map(spec)
    classifier = Classifier(it.build(size_px), feature_dim=spec.feature_dim, classes=2, feature_map=spec.feature_map)
    corners = [(row, column) for row in (0, 1) for column in (0, 1)]
    images = torch.randn(1, 3, size_px, size_px).repeat(1 + len(corners), 1, 1, 1)
    for image, corner in zip(images[1:], corners, strict=True):
        top, left = (round(size_px * (0.125 + 0.5 * side)) for side in corner)
        image[:, top : top + size_px // 4, left : left + size_px // 4] = 3
    with torch.no_grad():
        output = classifier.eval()(images)
    cells = output.feature_map
    if cells is None or cells.ndim != 4 or cells.shape[1] != spec.feature_dim:
        shape = None if cells is None else tuple(cells.shape)
        it.fail(f"its feature map is {shape}, not (N, {spec.feature_dim}, h, w)")
    if min(cells.shape[2:]) < 2:
        height, width = cells.shape[2:]
        it.fail(
            f"its feature map has {height} x {width} cells for {size_px} px, and so no places; leave feature_map out"
        )
    for changed, corner in zip((cells[1:] - cells[:1]).abs().sum(dim=1), corners, strict=True):
        found = max(corners, key=lambda quadrant: _mean_of(changed, quadrant))
        if found != corner:
            it.fail(f"a bright square in quadrant {corner} of the image (row, column) changes {found} of its map")
    gap = _gap(cells.mean(dim=(2, 3)), output.embedding)
    if spec.feature_map.is_pooled_by_mean and gap > TOLERANCE * max(1.0, float(output.embedding.abs().max())):
        it.fail(f"its map is not pooled by the mean: that differs from the features by {gap:.2g}")


def check_onnx(it: Subject) -> None:
    """Exported, its classifier answers the same in ONNX Runtime, for any batch. Checked where the spec says so."""
    if not it.spec.exports_onnx:
        return
    spec, size_px = it.spec, it.size_px
    classifier = Classifier(it.module, feature_dim=spec.feature_dim, classes=3, feature_map=spec.feature_map).eval()
    images = torch.randn(3, 3, size_px, size_px)
    try:
        network = OnnxNetwork(export_onnx(classifier, input_size_px=size_px), threads=torch.get_num_threads())
        answered = network(images.numpy())
    except OnnxPackageMissingError:
        raise  # says nothing of the backbone
    except OnnxError as error:
        raise ConformanceError(spec.name, f"it says that it can be exported to ONNX; {error.message}") from error
    with torch.no_grad():
        expected = [None if item is None else item.numpy() for item in classifier(images)]
    for name, ours, theirs in zip(("logits", "embedding", "feature map"), expected, answered, strict=True):
        if ours is None or theirs is None:
            if ours is not theirs:
                it.fail(f"its {name} is missing {'in torch' if ours is None else 'in ONNX Runtime'}")
            continue
        gap = float(np.abs(ours - theirs).max()) if ours.shape == theirs.shape else float("inf")
        if not gap <= ONNX_TOLERANCE * max(1.0, float(np.abs(ours).max())):
            it.fail(f"in ONNX Runtime its {name} differ by {gap:.2g}")


def _measure(it: Subject, size_px: int) -> tuple[int, int]:
    """Parameters and multiply-adds: without numbers where the network allows that, which is quick at any size."""
    try:
        with torch.device("meta"):
            return _count(it.build(size_px), torch.zeros(1, 3, size_px, size_px))
    except Exception:  # a network that looks at its numbers cannot run without them
        with sdpa_kernel(SDPBackend.MATH):  # fused attention is not counted on the CPU
            return _count(it.build(size_px), torch.zeros(1, 3, size_px, size_px))


def _count(module: nn.Module, image: Tensor) -> tuple[int, int]:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module.eval()(image)
    return sum(parameter.numel() for parameter in module.parameters()), counter.get_total_flops() // 2


def _mean_of(cells: Tensor, quadrant: tuple[int, int]) -> float:
    """Mean over one quadrant of cells ``(h, w)``; a middle row or column belongs to none."""
    for dim, side in enumerate(quadrant):
        half = cells.shape[dim] // 2
        cells = cells.narrow(dim, side * (cells.shape[dim] - half), half)
    return float(cells.mean())


def _accepted(spec: BackboneSpec, size_px: int) -> int:
    """A size if the spec accepts it, else the one that it names instead."""
    try:
        spec.check_input_size(size_px)
    except InputSizeError as error:
        return error.nearest_px
    return size_px


def _size_for_map(spec: BackboneSpec) -> int:
    """The smallest accepted size of at least ``MAP_PX``; the largest, where that is smaller."""
    return _accepted(spec, -(-MAP_PX // spec.input_multiple_px) * spec.input_multiple_px)


def _gradients(module: nn.Module, images: Tensor) -> dict[str, Tensor | None]:
    """Of a sum of its features with random weights: a plain sum is constant behind a layer norm."""
    parameters, features = dict(module.named_parameters()), module(images)
    if not parameters or not features.requires_grad:
        return dict.fromkeys(parameters)
    target = (features * torch.randn_like(features)).sum()
    found = torch.autograd.grad(target, list(parameters.values()), allow_unused=True)
    return dict(zip(parameters, found, strict=True))


def _shake_zeros(module: nn.Module) -> None:
    """Parameters that begin as zero keep the gradient from others until the first step; here they do not."""
    with torch.no_grad():
        for parameter in module.parameters():
            if not parameter.any():
                parameter.normal_(std=0.02)


def _gap(one: Tensor, other: Tensor) -> float:
    return float((one - other).detach().abs().max()) if one.shape == other.shape else float("inf")


def _some(names: list[str], shown: int = 3) -> str:
    return ", ".join(names[:shown]) + (", …" if len(names) > shown else "")


@contextmanager
def untouched_random_state() -> Iterator[None]:
    """Seeded inside, as before outside."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
