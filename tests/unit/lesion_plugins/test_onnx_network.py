"""A classifier in ONNX."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from lesion_core.bundle import OnnxParity
from lesion_plugins.classifier import Classifier, build_classifier
from lesion_plugins.errors import OnnxError
from lesion_plugins.onnx_network import OnnxNetwork, compare_logits, export_onnx
from lesion_plugins.registry import BackboneRegistry
from support.small_network import SIDE, SMALL_CNN


def classifier(metadata_features: int = 0) -> Classifier:
    torch.manual_seed(0)
    model, _ = build_classifier(
        SMALL_CNN, classes=3, input_size_px=SIDE, pretrained="none", metadata_features=metadata_features
    )
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


@pytest.mark.parametrize("batch", [1, 5])
def test_the_answers_are_those_of_torch_for_any_batch(batch: int) -> None:
    """Logits and embedding."""
    model = classifier()
    images = torch.randn(batch, 3, SIDE, SIDE)

    output = OnnxNetwork(export_onnx(model, input_size_px=SIDE))(images.numpy())

    expected = model(images)
    np.testing.assert_allclose(output.logits, expected.logits.detach(), atol=1e-4)
    np.testing.assert_allclose(output.embedding, expected.embedding.detach(), atol=1e-4)


def test_a_metadata_branch_goes_along() -> None:
    """Its input is the second one."""
    model = classifier(metadata_features=7)
    images, told = torch.randn(4, 3, SIDE, SIDE), torch.randn(4, 7)
    network = OnnxNetwork(export_onnx(model, input_size_px=SIDE))

    np.testing.assert_allclose(
        network(images.numpy(), told.numpy()).logits, model(images, told).logits.detach(), atol=1e-4
    )


def test_the_feature_map_goes_along_where_there_is_one() -> None:
    """The heat map needs it."""
    model, _ = build_classifier(
        BackboneRegistry.load().get("efficientnet_lite0"), classes=3, input_size_px=64, pretrained="none"
    )
    images = torch.randn(2, 3, 64, 64)

    output = OnnxNetwork(export_onnx(model.eval(), input_size_px=64))(images.numpy())

    expected = model(images).feature_map
    assert output.feature_map is not None
    assert expected is not None
    np.testing.assert_allclose(output.feature_map, expected.detach(), atol=1e-4)


def test_equal_networks_give_equal_bytes_without_a_trace_of_the_machine() -> None:
    """So that a bundle's digest depends on the model alone."""
    first, second = (export_onnx(classifier(), input_size_px=SIDE) for _ in range(2))

    assert first == second
    for trace in (b".py", b"site-packages", b"stack_trace", torch.__file__.encode()):
        assert trace not in first


def test_what_torch_cannot_export_is_a_named_error() -> None:
    """A branch on values, for example."""
    model = classifier()

    class Branching(torch.nn.Module):
        def forward(self, images: Any) -> Any:
            return images.mean((2, 3)) if images.sum() > 0 else images.amax((2, 3))

    model.backbone = Branching()
    model.head = torch.nn.Linear(3, 3)

    with pytest.raises(OnnxError, match="torch cannot export this network"):
        export_onnx(model, input_size_px=SIDE)


def test_what_is_no_network_is_a_named_error() -> None:
    """Bytes from anywhere."""
    with pytest.raises(OnnxError, match="cannot read"):
        OnnxNetwork(b"no network")


@pytest.mark.parametrize(
    ("change", "holds"),
    [(0.0, True), (9e-4, True), (2e-3, False), (np.nan, False)],
    ids=["equal", "near", "far", "nan"],
)
def test_parity_holds_within_a_thousandth_of_a_logit(change: float, holds: bool) -> None:
    """And never where a number is none."""
    ours = np.array([[0.0, 1.0], [3.0, 1.0]], dtype=np.float32)

    assert compare_logits(ours, ours + np.float32(change)).holds is holds


def test_another_class_ends_parity_however_near_the_logits_are() -> None:
    """Argmax is what people read."""
    parity = compare_logits(np.array([[0.0, 1e-4]], np.float32), np.array([[1e-4, 0.0]], np.float32))

    assert parity.max_logit_gap < OnnxParity.LARGEST_GAP
    assert parity.disagreements == 1
    assert not parity.holds
