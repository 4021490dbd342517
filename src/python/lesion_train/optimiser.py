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
    next, since pretrained layers near the input are general and need the least change. Biases, the gains of
    normalisations, and what the network itself exempts (positions and class tokens, say) are not decayed.

    Source: Howard & Ruder 2018, discriminative fine-tuning; Bao et al. 2022, BEiT, appendix.
    """
    layers: dict[int, list[nn.Parameter]] = {}
    exempt = _exempt_from_decay(model.backbone)
    for name, parameter in model.backbone.named_parameters():
        layers.setdefault(backbone.layer_of(name), []).append(parameter)
    last = max(layers)
    groups: list[dict[str, Any]] = []
    for position, layer in enumerate(sorted(layers)):
        # The group next to the features joins first, that of the input last, when the stage is over.
        joins_at = (len(layers) - position) / len(layers)
        peak = config.learning_rate * config.layer_decay ** (last - layer)
        groups += _by_decay(layers[layer], exempt, config.weight_decay, peak=peak, joins_at=joins_at)
    groups += _by_decay(
        list(model.head_parameters()), exempt, config.weight_decay, peak=config.head_learning_rate, joins_at=0.0
    )
    return torch.optim.AdamW(groups, lr=0.0, fused=True)


def _exempt_from_decay(backbone: nn.Module) -> set[nn.Parameter]:
    """What the network, or one within it, names by ``no_weight_decay()``, as those of timm do."""
    exempt = set[nn.Parameter]()
    for module in backbone.modules():
        names = getattr(module, "no_weight_decay", None)
        if callable(names):
            parameters = dict(module.named_parameters())
            exempt.update(parameters[name] for name in names() if name in parameters)
    return exempt


def _by_decay(
    parameters: list[nn.Parameter], exempt: set[nn.Parameter], weight_decay: float, *, peak: float, joins_at: float
) -> list[dict[str, Any]]:
    is_decayed = {parameter: parameter.ndim > 1 and parameter not in exempt for parameter in parameters}
    kinds = (
        ([parameter for parameter in parameters if is_decayed[parameter]], weight_decay),
        ([parameter for parameter in parameters if not is_decayed[parameter]], 0.0),
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
    once. The last group joins at the last step at the latest.

    Args:
        optimiser: of ``make_optimiser``.
        config: the settings.
        step: counted from 0, over the whole run.
        steps_an_epoch: at least 1.
    """
    steps = config.epochs * steps_an_epoch
    factor = learning_rate_factor(step, steps)
    staged = config.unfreeze_epochs * steps_an_epoch
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * factor * (step >= min(group["joins_at"] * staged, steps - 1))
    return float(max(group["lr"] for group in optimiser.param_groups))


def learning_rate_factor(step: int, steps: int) -> float:
    """Linear warm-up over the first tenth, then a cosine to zero: in [0, 1]."""
    warm_up = max(1, round(steps * WARM_UP_SHARE))
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm_up) / max(1, steps - warm_up))))
