"""The training loop, read from top to bottom."""

# N images · K trained classes · D features

from __future__ import annotations

import copy
import math
import sys
import time
from collections.abc import Callable, Mapping
from typing import cast

import attrs
import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from scipy.special import softmax
from torch import Tensor
from tqdm import tqdm

from lesion_core.errors import LesionError
from lesion_core.metrics import balanced_multiclass_accuracy, macro_auroc
from lesion_core.preprocess_spec import PreprocessSpec, Views
from lesion_plugins.backbone import BackboneSpec
from lesion_plugins.classifier import Classifier
from lesion_train.checkpoint import Checkpoints, Progress, optimiser_tensors, restore_optimiser
from lesion_train.config import Keep, TrainConfig
from lesion_train.data import EpochPlan, epoch_batches
from lesion_train.devices import make_fabric, with_shared_statistics
from lesion_train.inference import run_network
from lesion_train.losses import ABSENT_LOGIT, class_counts, make_loss
from lesion_train.mixing import Mixing
from lesion_train.optimiser import make_optimiser, set_learning_rates
from lesion_train.squares import Squares

CLIP_NORM = 2.0


class DivergedError(LesionError):
    """The loss, or its gradient, is no number any more; the weights still are."""

    code = "diverged"


@attrs.frozen(kw_only=True, eq=False)
class Part:
    """One part of the data: stored squares uint8 ``(N, P, P, 3)`` and labels int64 ``(N,)``.

    ``metadata`` float32 ``(N, M)``, as ``lesion_core.decision.metadata`` encodes it, for networks that take it.
    """

    squares: Squares
    labels: NDArray[np.int64]
    metadata: NDArray[np.float32] | None = None


def train_classifier(
    model: Classifier,
    train: Part,
    validation: Part,
    spec: PreprocessSpec,
    backbone: BackboneSpec,
    config: TrainConfig,
    *,
    fabric: Fabric | None = None,
    checkpoints: Checkpoints | None = None,
    on_step: Callable[[int, dict[str, float]], None] = lambda step, metrics: None,
    on_epoch: Callable[[int, dict[str, float]], None] = lambda epoch, metrics: None,
) -> Classifier:
    """Fine-tune ``model`` and return the exponential moving average of its weights, in eval mode.

    The average is that after the epoch with the best balanced accuracy on the validation part, or that of the last
    epoch, as ``config.keep`` says. All randomness comes from the seed and the number of the step: nothing depends on
    when, or how often, the run was interrupted. A class without training images is never the answer: see ``leave_out``.

    Args:
        fabric: the processes that share the work; this one alone if not given.
        checkpoints: where to go on from, and what to write on the way.
        on_step: called with the step, counted from 1, and its ``loss`` and ``learning_rate``.
        on_epoch: called with the epoch, counted from 1, and its metrics; after an interruption perhaps again.
    Raises:
        DivergedError: the loss or its gradient is no number any more.
        LesionError: ``too_few_images`` for one step.
        CheckpointError: see ``Checkpoints``.
    """
    fabric = fabric or make_fabric(config, backbone)
    classes, steps_an_epoch = model.head.out_features, len(train.labels) // config.batch_size
    if steps_an_epoch == 0:
        raise LesionError(
            f"{len(train.labels)} training images do not fill one batch of {config.batch_size}. Lower --batch-size.",
            code="too_few_images",
        )
    steps = config.epochs * steps_an_epoch
    own_slices = range(fabric.global_rank * config.accumulate, (fabric.global_rank + 1) * config.accumulate)
    plan = EpochPlan(
        spec=spec,
        augmentation=config.augmentation,
        batch_size=config.batch_size,
        seed=config.seed,
        classes=classes,
        balance=config.sampling_balance,
        mixing=Mixing(mixup=config.mixup, cutmix=config.cutmix),
        slices=fabric.world_size * config.accumulate,
        workers=config.workers,
    )
    counts = class_counts(train.labels, classes)
    loss_of = make_loss(
        config.imbalance,
        counts,
        balance=config.balance,
        label_smoothing=config.label_smoothing,
    ).to(fabric.device)
    leave_out(model, counts == 0)
    ema_decay = min(config.ema_decay, 1 - 3 / max(steps, 4))  # a short run averages over a third of itself at most

    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch omits it
    averaged = copy.deepcopy(model).to(fabric.device)
    if fabric.world_size > 1 and fabric.device.type == "cuda":
        model = with_shared_statistics(model)
    best = copy.deepcopy(averaged.state_dict())
    network, optimiser = fabric.setup(model, make_optimiser(model, backbone, config))
    state = {"model": model.state_dict(), "averaged": averaged.state_dict(), "best": best}  # the live tensors
    progress = Progress() if checkpoints is None else _restored(checkpoints, state, optimiser)

    def save() -> None:
        if checkpoints is not None and fabric.is_global_zero:
            parts = {**state, "optimiser": optimiser_tensors(optimiser)}
            checkpoints.save({f"{part}.{k}": v for part, live in parts.items() for k, v in live.items()}, progress)

    bar = tqdm(
        total=steps * config.batch_size,
        initial=progress.step * config.batch_size,
        unit="image",
        dynamic_ncols=True,
        disable=not (sys.stderr.isatty() and fabric.is_global_zero),
    )
    for epoch in range(progress.step // steps_an_epoch + 1, config.epochs + 1):
        if config.patience is not None and epoch - 1 - progress.best_epoch >= config.patience:
            break
        network.train()
        started, waited, first_step = time.monotonic(), 0.0, progress.step % steps_an_epoch
        batches = epoch_batches(
            train.squares,
            train.labels,
            plan,
            epoch=epoch,
            first_step=first_step,
            own_slices=own_slices,
            metadata=train.metadata,
        )
        for step_of_epoch in range(first_step, steps_an_epoch):
            torch.manual_seed(_seed_of(config.seed, progress.step, fabric.global_rank))  # of dropout
            learning_rate = set_learning_rates(optimiser, config, step=progress.step, steps_an_epoch=steps_an_epoch)
            loss = torch.zeros((), device=fabric.device)
            for own_slice in own_slices:
                asked = time.monotonic()
                batch = next(batches)
                waited += time.monotonic() - asked
                images = batch.images.to(fabric.device, memory_format=torch.channels_last, non_blocking=True)
                metadata = None if batch.metadata is None else batch.metadata.to(fabric.device)
                with fabric.no_backward_sync(network, enabled=own_slice != own_slices[-1]):
                    share = loss_of(
                        network(images, metadata).logits,
                        batch.targets.to(fabric.device),
                        progress=progress.step / steps,
                        step_labels=batch.step_labels.to(fabric.device),
                    )
                    fabric.backward(share * fabric.world_size)  # whose gradients are averaged over the processes
                loss += share.detach()
            norm = fabric.clip_gradients(network, optimiser, max_norm=CLIP_NORM, error_if_nonfinite=False)
            step_loss = float(cast(Tensor, fabric.all_reduce(loss, reduce_op="sum")))
            _require_finite(step_loss, float(cast(Tensor, norm)), step=progress.step + 1)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            move_average(averaged, model, decay=ema_decay)
            progress = attrs.evolve(progress, step=progress.step + 1, epoch_loss=progress.epoch_loss + step_loss)
            on_step(progress.step, {"loss": step_loss, "learning_rate": learning_rate})
            bar.set_postfix(loss=f"{step_loss:.3f}", lr=f"{learning_rate:.1e}", refresh=False)
            bar.update(config.batch_size)
            if checkpoints is not None and step_of_epoch + 1 < steps_an_epoch and checkpoints.is_due:
                save()
        seconds = time.monotonic() - started
        scores = validation_scores(averaged, validation, spec) if fabric.is_global_zero else {}
        scores = fabric.broadcast(scores)
        metrics = {
            "train_loss": progress.epoch_loss / steps_an_epoch,
            "learning_rate": learning_rate,
            "images_per_s": (steps_an_epoch - first_step) * config.batch_size / seconds,
            "loader_wait": waited / seconds,
            **scores,
        }
        progress = attrs.evolve(progress, epoch_loss=0.0)
        if scores["val_bma"] > progress.best_bma:
            progress = attrs.evolve(progress, best_epoch=epoch, best_bma=scores["val_bma"])
            copy_tensors(best, averaged.state_dict())
        on_epoch(epoch, metrics)
        save()
    bar.close()
    if config.keep is Keep.BEST:
        copy_tensors(averaged.state_dict(), best)
    return averaged.eval()


def validation_scores(model: Classifier, validation: Part, spec: PreprocessSpec) -> dict[str, float]:
    """``val_bma`` and ``val_macro_auroc``, each in [0, 1], of the untouched view alone."""
    outputs = run_network(model, validation.squares, attrs.evolve(spec, views=Views.NONE), validation.metadata)
    probabilities = softmax(outputs.logits.astype(np.float64), axis=1)
    return {
        "val_bma": balanced_multiclass_accuracy(probabilities, validation.labels),
        "val_macro_auroc": macro_auroc(probabilities, validation.labels),
    }


@torch.no_grad()
def leave_out(model: Classifier, is_absent: NDArray[np.bool_]) -> None:
    """Set the logit of classes without training images to ``ABSENT_LOGIT``, whatever the image.

    The loss leaves them out, so no gradient moves it: it stays in every step, in the average and in the checkpoints.
    Starting weights that were trained on such a class make no difference, for the head never comes with them.

    Args:
        model: with a fresh head; a branch for metadata starts silent.
        is_absent: bool ``(K,)``.
    """
    absent = torch.from_numpy(np.flatnonzero(is_absent))
    model.head.weight[absent] = 0.0
    model.head.bias[absent] = ABSENT_LOGIT


@torch.no_grad()
def move_average(averaged: Classifier, model: Classifier, *, decay: float) -> None:
    """Move ``averaged`` towards ``model`` by ``1 - decay``, parameters and batch statistics alike."""
    for kept, new in zip(averaged.state_dict().values(), model.state_dict().values(), strict=True):
        if kept.is_floating_point():
            kept.lerp_(new, 1 - decay)
        else:
            kept.copy_(new)


@torch.no_grad()
def copy_tensors(target: Mapping[str, Tensor], source: Mapping[str, Tensor]) -> None:
    """Overwrite each tensor of ``target`` by that of the same name."""
    for name, tensor in target.items():
        tensor.copy_(source[name])


def _restored(
    checkpoints: Checkpoints, state: Mapping[str, Mapping[str, Tensor]], optimiser: torch.optim.Optimizer
) -> Progress:
    """Put the latest checkpoint, where there is one, into the live tensors; none of its own stay in memory."""
    found = checkpoints.latest()
    if found is None:
        return Progress()
    tensors, progress = found
    for part, live in state.items():
        copy_tensors(live, _part(tensors, part))
    restore_optimiser(optimiser, _part(tensors, "optimiser"))
    return progress


def _require_finite(loss: float, gradient_norm: float, *, step: int) -> None:
    """Before the step is taken: a checkpoint of weights that are no numbers would be one that no run can go on from."""
    for what, value in (("loss", loss), ("gradient", gradient_norm)):
        if not math.isfinite(value):
            raise DivergedError(
                f"The {what} became {value} in step {step}: begin a new run with a lower --learning-rate."
            )


def _part(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    prefix = f"{part}."
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _seed_of(seed: int, step: int, process: int) -> int:
    return int(np.random.SeedSequence(seed, spawn_key=(step, process)).generate_state(1, np.uint64)[0])
