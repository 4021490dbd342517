"""How quickly each part of a network learns, and when."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from lesion_plugins.backbone import BackboneSpec
from lesion_plugins.classifier import Classifier
from lesion_train.config import TrainConfig

WARM_UP_SHARE = 0.1


def make_optimiser(model: Classifier, backbone: BackboneSpec, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW over the layer groups of the backbone from the input on, then the new head.

    The group next to the features learns at ``learning_rate``; each one before it at ``layer_decay`` times that of the
    next, since pretrained layers near the input are general and need the least change. Biases and the gains of
    normalisations are not decayed.

    Source: Howard & Ruder 2018, discriminative fine-tuning; Bao et al. 2022, BEiT, appendix.
    """
    layers: dict[int, list[nn.Parameter]] = {}
    for name, parameter in model.backbone.named_parameters():
        layers.setdefault(backbone.layer_of(name), []).append(parameter)
    last = max(layers)
    groups: list[dict[str, Any]] = []
    for position, layer in enumerate(sorted(layers)):
        # The group next to the features joins first, that of the input last, when the stage is over.
        joins_at = (len(layers) - position) / len(layers)
        peak = config.learning_rate * config.layer_decay ** (last - layer)
        groups += _by_decay(layers[layer], config.weight_decay, peak=peak, joins_at=joins_at)
    groups += _by_decay(
        list(model.head_parameters()), config.weight_decay, peak=config.head_learning_rate, joins_at=0.0
    )
    return torch.optim.AdamW(groups, lr=0.0, fused=True)


def _by_decay(
    parameters: list[nn.Parameter], weight_decay: float, *, peak: float, joins_at: float
) -> list[dict[str, Any]]:
    kinds = (
        ([parameter for parameter in parameters if parameter.ndim > 1], weight_decay),
        ([parameter for parameter in parameters if parameter.ndim <= 1], 0.0),
    )
    return [
        {"params": members, "weight_decay": decay, "peak": peak, "joins_at": joins_at}
        for members, decay in kinds
        if members
    ]


def set_learning_rates(
    optimiser: torch.optim.Optimizer, config: TrainConfig, *, step: int, steps_an_epoch: int
) -> float:
    """Set the learning rate of every group for a step; returns the highest one.

    It depends on the step alone. A group that has not joined yet keeps its weights, though its gradients are known, and
    count where they are clipped; its batch statistics follow the images. Where ``unfreeze_epochs`` is 0, all join at
    once.

    Args:
        optimiser: of ``make_optimiser``.
        config: the settings.
        step: counted from 0, over the whole run.
        steps_an_epoch: at least 1.
    """
    factor = learning_rate_factor(step, config.epochs * steps_an_epoch)
    staged = config.unfreeze_epochs * steps_an_epoch
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * factor * (step >= group["joins_at"] * staged)
    return float(max(group["lr"] for group in optimiser.param_groups))


def learning_rate_factor(step: int, steps: int) -> float:
    """Linear warm-up over the first tenth, then a cosine to zero: in [0, 1]."""
    warm_up = max(1, round(steps * WARM_UP_SHARE))
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm_up) / max(1, steps - warm_up))))
