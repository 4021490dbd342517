"""When the loop stops, which weights it ends with, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lesion_core.errors import LesionError
from lesion_plugins.classifier import Classifier, build_classifier
from lesion_train import loop
from lesion_train.checkpoint import Checkpoints
from lesion_train.config import Augmentation, Keep, TrainConfig
from lesion_train.loop import CLIP_NORM, Part, train_classifier
from support.small_network import SIDE, SMALL_CNN

State = dict[str, Tensor]


def part(images: int) -> Part:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (images, SIDE, SIDE, 3), dtype=np.uint8)
    return Part(squares=pixels, labels=np.arange(images) % 3)


def model_of_three_classes() -> Classifier:
    torch.manual_seed(0)
    model, _ = build_classifier(SMALL_CNN, classes=3, input_size_px=SIDE, pretrained="none")
    return model


def config(**changes: object) -> TrainConfig:
    defaults = {"data": Path("unused"), "epochs": 5, "batch_size": 6, "threads": 1, "input_size_px": SIDE, "workers": 0}
    defaults |= {"device": "cpu", "augmentation": Augmentation.LIGHT}
    return TrainConfig(**{**defaults, **changes})  # type: ignore[arg-type]


def train(settings: TrainConfig, model: Classifier | None = None, images: int = 18, **options: Any) -> Classifier:
    model = model or model_of_three_classes()
    return train_classifier(model, part(images), part(6), SMALL_CNN.preprocess, SMALL_CNN, settings, **options)


def state_of(model: torch.nn.Module) -> State:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def equal(first: State, second: State) -> bool:
    return all(torch.equal(tensor, second[name]) for name, tensor in first.items())


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[float]], list[State]]:
    """Let epochs score as they are told to; the averaged weights of each are kept."""

    def script(scores: list[float]) -> list[State]:
        seen: list[State] = []

        def score(model: Classifier, *_: object) -> dict[str, float]:
            seen.append(state_of(model))
            return {"val_bma": scores[len(seen) - 1], "val_macro_auroc": 0.5}

        monkeypatch.setattr(loop, "validation_scores", score)
        return seen

    return script


def test_patience_counts_epochs_without_a_better_score(scripted: Callable[[list[float]], list[State]]) -> None:
    """A tie is no better one; without patience all epochs are run."""
    seen = scripted([0.5, 0.6, 0.6, 0.4, 0.9])
    train(config(patience=2))
    assert len(seen) == 4

    seen = scripted([0.5, 0.6, 0.6, 0.4, 0.9])
    train(config())
    assert len(seen) == 5


@pytest.mark.parametrize(("keep", "epoch"), [(Keep.BEST, 2), (Keep.LAST, 5)])
def test_a_run_ends_with_the_weights_of_its_best_or_of_its_last_epoch(
    scripted: Callable[[list[float]], list[State]], keep: Keep, epoch: int
) -> None:
    """As ``keep`` says; of two that are equally good the first."""
    seen = scripted([0.5, 0.6, 0.6, 0.4, 0.2])

    ended = state_of(train(config(keep=keep)))

    assert [number for number, state in enumerate(seen, start=1) if equal(ended, state)] == [epoch]


@pytest.mark.parametrize(("wanted", "used"), [(0.5, 0.5), (0.9999, 1 - 3 / 9)])
def test_the_weights_are_the_moving_average_of_those_of_all_steps(wanted: float, used: float) -> None:
    """Batch statistics too; a run of nine steps averages over three of them at most."""
    model = model_of_three_classes()
    expected = state_of(model)

    def follow(*_: object) -> None:
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                expected[name] = used * expected[name] + (1 - used) * tensor
            else:
                expected[name] = tensor.clone()

    averaged = train(config(epochs=3, ema_decay=wanted, keep=Keep.LAST), model, on_step=follow)

    for name, tensor in averaged.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-4, atol=1e-6)
    assert not equal(state_of(model), state_of(averaged))


def test_no_step_is_taken_with_a_gradient_beyond_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that is surely wrong has gradients far above it."""
    norms: list[float] = []
    make_optimiser = loop.make_optimiser

    def watched(*arguments: Any) -> torch.optim.Optimizer:
        optimiser = make_optimiser(*arguments)

        def measure(*_: object) -> None:
            gradients = [p.grad for group in optimiser.param_groups for p in group["params"] if p.grad is not None]
            norms.append(float(torch.linalg.vector_norm(torch.stack([one.norm() for one in gradients]))))

        optimiser.register_step_pre_hook(measure)
        return optimiser

    monkeypatch.setattr(loop, "make_optimiser", watched)
    model = model_of_three_classes()
    with torch.no_grad():
        model.head.weight.mul_(1000)

    train(config(epochs=1), model)

    assert max(norms) == pytest.approx(CLIP_NORM, rel=1e-3)


def test_a_loss_that_is_no_number_ends_the_run_by_name() -> None:
    """With the step, and with what to change."""
    model = model_of_three_classes()
    with torch.no_grad():
        model.head.bias.fill_(float("nan"))

    with pytest.raises(LesionError, match=r"The loss became nan in step 1: begin a new run with a lower") as caught:
        train(config(), model)

    assert caught.value.code == "diverged"


def test_a_gradient_that_is_no_number_ends_the_run_before_its_step(tmp_path: Path) -> None:
    """The loss may be one all the same; a checkpoint of the weights after that step could not be gone on from."""
    model = model_of_three_classes()
    model.head.bias.register_hook(lambda gradient: torch.full_like(gradient, torch.inf))
    checkpoints = Checkpoints(tmp_path, {}, every_s=0)

    with pytest.raises(
        LesionError, match=r"The gradient became (nan|inf) in step 1: begin a new run with a lower"
    ) as caught:
        train(config(), model, checkpoints=checkpoints)

    assert caught.value.code == "diverged"
    assert checkpoints.latest() is None
    assert all(torch.isfinite(weights).all() for weights in model.parameters())


def test_fewer_images_than_a_batch_are_refused() -> None:
    """Both numbers are named."""
    with pytest.raises(LesionError, match=r"18 training images do not fill one batch of 32") as caught:
        train(config(batch_size=32))

    assert caught.value.code == "too_few_images"
