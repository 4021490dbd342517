"""The training loop, read from top to bottom."""

# N images · K trained classes · D features

from __future__ import annotations

import copy
import math
import sys
import time
from collections.abc import Callable

import attrs
import numpy as np
import structlog
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from tqdm import tqdm

from lesion_core.decision.ood import NetworkOutput
from lesion_core.errors import LesionError
from lesion_core.metrics import balanced_multiclass_accuracy, macro_auroc
from lesion_core.preprocess_spec import PreprocessSpec
from lesion_plugins.backbone import BackboneSpec
from lesion_plugins.classifier import Classifier
from lesion_train.config import TrainConfig
from lesion_train.data import epoch_batches, plain_batches
from lesion_train.losses import class_counts, make_loss
from lesion_train.mixing import Mixing
from lesion_train.optimiser import parameter_groups

log = structlog.get_logger()

WARM_UP_SHARE = 0.1
CLIP_NORM = 2.0


@attrs.frozen(kw_only=True, eq=False)
class Part:
    """One part of the data: stored squares uint8 ``(N, P, P, 3)`` and labels int64 ``(N,)``."""

    squares: NDArray[np.uint8]
    labels: NDArray[np.int64]


def train_classifier(
    model: Classifier,
    train: Part,
    validation: Part,
    spec: PreprocessSpec,
    backbone: BackboneSpec,
    config: TrainConfig,
    *,
    on_epoch: Callable[[int, dict[str, float]], None],
) -> Classifier:
    """Fine-tune ``model`` and return the exponential moving average of its weights, in eval mode.

    Nothing is selected on the validation part: it is only watched.

    Args:
        on_epoch: called with the epoch, counted from 1, and its metrics.
    """
    device = resolve_device(config.device)
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    classes = model.head.out_features
    model = model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch omits it
    steps_an_epoch = len(train.labels) // config.batch_size
    steps = config.epochs * steps_an_epoch
    ema_decay = min(config.ema_decay, 1 - 3 / max(steps, 4))  # a short run averages over a third of itself at most
    averaged = copy.deepcopy(model)
    loss_of = make_loss(
        config.imbalance,
        class_counts(train.labels, classes),
        balance=config.balance,
        label_smoothing=config.label_smoothing,
    ).to(device)
    optimizer = torch.optim.AdamW(
        parameter_groups(model, backbone, config), weight_decay=config.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate_factor(step, steps))
    bar = tqdm(total=steps, unit="step", disable=not sys.stderr.isatty(), dynamic_ncols=True)
    for epoch in range(1, config.epochs + 1):
        started, losses = time.monotonic(), []
        model.train()
        batches = epoch_batches(
            train.squares,
            train.labels,
            spec,
            config.augmentation,
            batch_size=config.batch_size,
            seed=config.seed,
            epoch=epoch,
            classes=classes,
            balance=config.sampling_balance,
            mixing=Mixing(mixup=config.mixup, cutmix=config.cutmix),
        )
        for images, targets in batches:
            images = images.to(device, memory_format=torch.channels_last)
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
                loss = loss_of(model(images).logits, targets.to(device), progress=(epoch - 1) / config.epochs)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
            optimizer.step()
            schedule.step()
            move_average(averaged, model, decay=ema_decay)
            losses.append(loss.detach())
            bar.update()
        seconds = time.monotonic() - started
        outputs = run_network(averaged, validation.squares, spec)
        probabilities = softmax(outputs.logits.astype(np.float64), axis=1)
        metrics = {
            "train_loss": float(torch.stack(losses).mean()),
            "learning_rate": float(schedule.get_last_lr()[-2]),  # of the backbone's last layers
            "images_per_s": len(losses) * config.batch_size / seconds,
            "val_bma": balanced_multiclass_accuracy(probabilities, validation.labels),
            "val_macro_auroc": macro_auroc(probabilities, validation.labels),
        }
        if not math.isfinite(metrics["train_loss"]):
            raise FloatingPointError(
                f"The loss became {metrics['train_loss']} in epoch {epoch}: lower --learning-rate."
            )
        bar.set_postfix(loss=f"{metrics['train_loss']:.3f}", val_bma=f"{metrics['val_bma']:.3f}")
        on_epoch(epoch, metrics)
    bar.close()
    return averaged.eval()


def run_network(model: Classifier, squares: NDArray[np.uint8], spec: PreprocessSpec) -> NetworkOutput:
    """What the network says of stored squares uint8 ``(N, P, P, 3)``, in order, without any augmentation."""
    device = next(model.parameters()).device
    model.eval()
    logits, embeddings = [], []
    with torch.inference_mode():
        for images in plain_batches(squares, spec, batch_size=64):
            output = model(images.to(device, memory_format=torch.channels_last))
            logits.append(output.logits.float().cpu().numpy())
            embeddings.append(output.embedding.float().cpu().numpy())
    return NetworkOutput(logits=np.concatenate(logits), embeddings=np.concatenate(embeddings))


@torch.no_grad()
def move_average(averaged: Classifier, model: Classifier, *, decay: float) -> None:
    """Move ``averaged`` towards ``model`` by ``1 - decay``, parameters and batch statistics alike."""
    for kept, new in zip(averaged.state_dict().values(), model.state_dict().values(), strict=True):
        if kept.is_floating_point():
            kept.lerp_(new, 1 - decay)
        else:
            kept.copy_(new)


def resolve_device(name: str) -> torch.device:
    """``auto`` → a GPU where there is one, else the CPU.

    Raises:
        LesionError: ``no_gpu``; a GPU was asked for, and there is none.
    """
    has_gpu = torch.cuda.is_available()
    if name == "cuda" and not has_gpu:
        raise LesionError("PyTorch finds no GPU here. Possible: --device auto or --device cpu.", code="no_gpu")
    return torch.device(("cuda" if has_gpu else "cpu") if name == "auto" else name)


def learning_rate_factor(step: int, steps: int) -> float:
    """Linear warm-up over the first tenth, then a cosine to zero: in [0, 1]."""
    warm_up = max(1, round(steps * WARM_UP_SHARE))
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm_up) / max(1, steps - warm_up))))
