"""How quickly each part of a network learns."""

from __future__ import annotations

from typing import Any

from torch import nn

from lesion_plugins.backbone import BackboneSpec
from lesion_plugins.classifier import Classifier
from lesion_train.config import TrainConfig


def parameter_groups(model: Classifier, backbone: BackboneSpec, config: TrainConfig) -> list[dict[str, Any]]:
    """The layer groups of the backbone from the input on, then the new head.

    The group next to the features learns at ``learning_rate``; each one before it at ``layer_decay`` times that of the
    next, since pretrained layers near the input are general and need the least change.

    Returns:
        What an optimiser of torch takes: ``params``, and ``lr``, their peak learning rate.
    Source: Howard & Ruder 2018, discriminative fine-tuning; Bao et al. 2022, BEiT, appendix.
    """
    layers: dict[int, list[nn.Parameter]] = {}
    for name, parameter in model.backbone.named_parameters():
        layers.setdefault(backbone.layer_of(name), []).append(parameter)
    last = max(layers)
    groups = [
        {"params": layers[layer], "lr": config.learning_rate * config.layer_decay ** (last - layer)}
        for layer in sorted(layers)
    ]
    return [*groups, {"params": list(model.head_parameters()), "lr": config.head_learning_rate}]
