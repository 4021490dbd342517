"""Learning rates of the parts of a network."""

from __future__ import annotations

from pathlib import Path

import pytest

from lesion_plugins.classifier import build_classifier
from lesion_plugins.registry import BackboneRegistry
from lesion_train.config import TrainConfig
from lesion_train.optimiser import parameter_groups


@pytest.mark.parametrize("name", ["efficientnet_lite0", "convnext_atto", "vit_tiny"])
def test_every_parameter_is_in_one_group_and_earlier_ones_learn_more_slowly(name: str) -> None:
    """Of each family; the head has a rate of its own."""
    spec = BackboneRegistry.load().get(name)
    model, _ = build_classifier(spec, classes=8, input_size_px=64, pretrained="none")
    config = TrainConfig(data=Path("unused"), learning_rate=1e-3, head_learning_rate=5e-3, layer_decay=0.5)

    *layers, head = parameter_groups(model, spec, config)

    grouped = [parameter for group in (*layers, head) for parameter in group["params"]]
    assert len(grouped) == len(set(map(id, grouped))) == len(list(model.parameters()))
    assert len(layers) == len(spec.layer_groups)
    assert [group["lr"] for group in reversed(layers)] == pytest.approx([1e-3 * 0.5**n for n in range(len(layers))])
    assert (head["lr"], set(map(id, head["params"]))) == (5e-3, set(map(id, model.head_parameters())))


def test_without_decay_the_backbone_learns_as_one() -> None:
    """The default."""
    spec = BackboneRegistry.load().get("efficientnet_lite0")
    model, _ = build_classifier(spec, classes=8, input_size_px=64, pretrained="none")
    config = TrainConfig(data=Path("unused"))

    *layers, _ = parameter_groups(model, spec, config)

    assert {group["lr"] for group in layers} == {config.learning_rate}
