"""The training loop, on a few drawn images."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from io import StringIO

import numpy as np
import pytest
import torch

from lesion_core.datasets.synthetic import draw_lesion
from lesion_core.decision.metadata import metadata_features
from lesion_core.metrics import balanced_multiclass_accuracy
from lesion_core.taxonomy import ISIC_2019
from lesion_plugins.classifier import Classifier, build_classifier
from lesion_plugins.registry import BackboneRegistry
from lesion_plugins.weights import weights_to_bytes
from lesion_train.config import Augmentation, Imbalance, Precision, TrainConfig
from lesion_train.data import plain_batches
from lesion_train.devices import with_shared_statistics
from lesion_train.inference import run_network
from lesion_train.loop import Part, train_classifier
from lesion_train.losses import ABSENT_LOGIT, DEFERRED_SHARE, ImbalanceLoss
from support.small_network import SMALL_CNN

SIDE = 64


def part(seed: int, images_per_class: int) -> Part:
    codes = [code for code in ISIC_2019.trained_codes for _ in range(images_per_class)]
    squares = [draw_lesion(code, seed=seed + n, side_px=74) for n, code in enumerate(codes)]
    return Part(squares=np.stack(squares), labels=np.array([ISIC_2019.index(code) for code in codes]))


def fresh_model(config: TrainConfig) -> Classifier:
    torch.manual_seed(config.seed)
    spec = BackboneRegistry.load().get(config.backbone)
    model, _ = build_classifier(spec, classes=8, input_size_px=SIDE, pretrained=config.pretrained)
    return model


def config(**changes: object) -> TrainConfig:
    from pathlib import Path

    defaults = {"data": Path("unused"), "epochs": 3, "batch_size": 16, "threads": 1, "input_size_px": SIDE}
    return TrainConfig(**{**defaults, **changes})  # type: ignore[arg-type]


def trained(
    settings: TrainConfig,
    spec: object,
    on_step: Callable[[int, dict[str, float]], None] = lambda step, metrics: None,
) -> Classifier:
    """From fresh weights, on 32 images."""
    backbone = BackboneRegistry.load().get(settings.backbone)
    model = fresh_model(settings)
    return train_classifier(model, part(0, 4), part(1000, 2), spec, backbone, settings, on_step=on_step)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def spec() -> object:
    import attrs

    return attrs.evolve(BackboneRegistry.load().get("efficientnet_lite0").preprocess, input_size_px=SIDE)


def test_a_few_epochs_learn_drawn_lesions_from_imagenet_weights(spec: object) -> None:
    """Far better than chance (0.125) on images that were not trained on."""
    epochs: list[dict[str, float]] = []
    settings = config(epochs=5)

    model = train_classifier(
        fresh_model(settings),
        part(0, 12),
        part(1000, 4),
        spec,  # type: ignore[arg-type]
        BackboneRegistry.load().get(settings.backbone),
        settings,
        on_epoch=lambda epoch, metrics: epochs.append({"epoch": epoch, **metrics}),
    )

    assert [row["epoch"] for row in epochs] == [1, 2, 3, 4, 5]
    assert epochs[-1]["train_loss"] < epochs[0]["train_loss"]
    assert epochs[-1]["val_bma"] > 0.4
    assert not model.training


@pytest.mark.parametrize("is_terminal", [True, False])
def test_progress_is_a_bar_on_a_terminal_and_nothing_elsewhere(
    spec: object, monkeypatch: pytest.MonkeyPatch, is_terminal: bool
) -> None:
    """A log file gets the lines of the epochs alone, not a bar drawn a thousand times."""
    errors = StringIO()
    monkeypatch.setattr(errors, "isatty", lambda: is_terminal, raising=False)
    monkeypatch.setattr("sys.stderr", errors)
    settings = config(epochs=1)

    train_classifier(
        fresh_model(settings),
        part(0, 2),
        part(1000, 1),
        spec,  # type: ignore[arg-type]
        BackboneRegistry.load().get(settings.backbone),
        settings,
    )

    if not is_terminal:
        assert errors.getvalue() == ""
        return
    last = errors.getvalue().rpartition("\r")[2]
    assert "16/16" in last
    assert re.search(r"\[\d\d:\d\d<\d\d:\d\d, +[\d.]+(image/s|s/image), loss=\d+\.\d{3}, lr=\d\.\de-\d\d]", last)


def test_equal_seeds_give_equal_weights_and_others_do_not(spec: object) -> None:
    """To the last bit, on one thread."""

    def train(seed: int) -> bytes:
        settings = config(epochs=1, pretrained="none", seed=seed)
        return weights_to_bytes(trained(settings, spec))

    first = train(0)

    assert train(0) == first
    assert train(1) != first


def test_outputs_come_in_the_order_of_the_images(spec: object) -> None:
    """The network sees batches; the caller sees rows."""
    settings = config(pretrained="none")
    model, squares = fresh_model(settings), part(0, 9).squares

    whole = run_network(model, squares, spec)  # type: ignore[arg-type]
    single = run_network(model, squares[70:71], spec)  # type: ignore[arg-type]

    assert whole.logits.shape == (72, 8)
    np.testing.assert_allclose(whole.logits[70], single.logits[0], atol=1e-4)
    np.testing.assert_allclose(whole.embeddings[70], single.embeddings[0], atol=1e-3)


def test_evaluation_sees_no_augmentation(spec: object) -> None:
    """Twice the same."""
    squares = part(0, 1).squares

    first, second = (np.concatenate(list(plain_batches(squares, spec, batch_size=3))) for _ in range(2))  # type: ignore[arg-type]

    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    "changes",
    [{"imbalance": imbalance} for imbalance in Imbalance]
    + [{"augmentation": Augmentation.HEAVY, "mixup": 0.2, "cutmix": 1.0, "imbalance": Imbalance.LDAM_DRW}],
    ids=lambda changes: "-".join(str(value) for value in changes.values()),
)
def test_a_long_tail_is_learned_with_each_setting(spec: object, changes: dict[str, object]) -> None:
    """It runs to the end with a finite loss; one class has a single image."""
    epochs: list[dict[str, float]] = []
    whole = part(0, 4)
    kept = np.concatenate([np.arange(0, 16), np.arange(16, 28, 2), [28]])
    settings = config(epochs=2, batch_size=8, pretrained="none", **changes)

    train_classifier(
        fresh_model(settings),
        Part(squares=whole.squares[kept], labels=whole.labels[kept]),
        part(1000, 1),
        spec,  # type: ignore[arg-type]
        BackboneRegistry.load().get(settings.backbone),
        settings,
        on_epoch=lambda _, metrics: epochs.append(metrics),
    )

    assert len(epochs) == 2
    assert all(0 < row["train_loss"] < 10 for row in epochs)


def test_the_late_weights_of_a_short_run_come_too(spec: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """In its last fifth, though no epoch begins there."""
    seen: list[float] = []
    forward = ImbalanceLoss.forward

    def watched(self: ImbalanceLoss, *arguments: object, progress: float, **options: object) -> torch.Tensor:
        seen.append(progress)
        return forward(self, *arguments, progress=progress, **options)  # type: ignore[arg-type, misc]

    monkeypatch.setattr(ImbalanceLoss, "forward", watched)
    settings = config(epochs=2, batch_size=8, pretrained="none", imbalance=Imbalance.LDAM_DRW)
    backbone = BackboneRegistry.load().get(settings.backbone)
    train_classifier(fresh_model(settings), part(0, 5), part(1000, 1), spec, backbone, settings)  # type: ignore[arg-type]

    assert seen == [step / 10 for step in range(10)]
    assert sum(progress >= DEFERRED_SHARE for progress in seen) == 2


@pytest.mark.parametrize(
    ("imbalance", "features"),
    [(Imbalance.WEIGHTED, 0), (Imbalance.WEIGHTED, metadata_features(())), (Imbalance.LOGIT_ADJUSTMENT, 0)],
)
def test_a_class_without_images_is_never_the_answer(imbalance: Imbalance, features: int) -> None:
    """Its logit is one number for every image and patient; the others are learned, the frequent one as well."""
    spec, labels = SMALL_CNN.preprocess, np.repeat([0, 1, 3], [240, 24, 24])
    side_px = spec.input_size_px
    random = np.random.default_rng(0)
    pixels = 30 + 60 * labels[:, None, None, None] + random.normal(0, 8, (len(labels), side_px, side_px, 3))
    metadata = random.normal(0, 1, (len(labels), features)).astype(np.float32) if features else None
    data = Part(squares=pixels.clip(0, 255).astype(np.uint8), labels=labels, metadata=metadata)
    settings = config(
        epochs=4,
        input_size_px=side_px,
        augmentation=Augmentation.LIGHT,
        imbalance=imbalance,
        balance=1.0,
        learning_rate=2e-3,
        head_learning_rate=1e-2,
        workers=0,
        device="cpu",
    )
    torch.manual_seed(0)
    model, _ = build_classifier(
        SMALL_CNN, classes=4, input_size_px=side_px, pretrained="none", metadata_features=features
    )

    model = train_classifier(model, data, data, spec, SMALL_CNN, settings)

    logits = run_network(model, data.squares, spec, metadata).logits
    assert balanced_multiclass_accuracy(logits, labels) > 0.9
    assert (logits[labels == 0].argmax(axis=1) == 0).mean() > 0.9
    assert set(logits[:, 2].tolist()) == {ABSENT_LOGIT}


def test_statistics_shared_by_gpus_change_nothing_else(spec: object) -> None:
    """torch's own conversion would drop the activations within timm's normalising layers; the state fits either way."""
    model = fresh_model(config()).eval()
    images = torch.from_numpy(np.random.default_rng(0).normal(0, 1, (2, 3, SIDE, SIDE)).astype(np.float32))
    with torch.inference_mode():
        before = model(images).logits
        shared = with_shared_statistics(copy.deepcopy(model)).eval()
        after = shared(images).logits

    assert torch.equal(before, after)
    assert list(shared.state_dict()) == list(model.state_dict())
    assert any(isinstance(layer, torch.nn.SyncBatchNorm) for layer in shared.modules())


def test_in_bfloat16_the_network_learns_and_its_weights_stay_in_float32(spec: object) -> None:
    """On any processor: one without it emulates it. The losses are near those of float32, and not the same."""

    def train(precision: Precision) -> list[float]:
        losses: list[float] = []
        settings = config(epochs=2, pretrained="none", precision=precision)
        model = trained(settings, spec, on_step=lambda _, metrics: losses.append(metrics["loss"]))
        assert {tensor.dtype for tensor in model.parameters()} == {torch.float32}
        return losses

    whole, half = train(Precision.FP32), train(Precision.BF16)

    assert half != whole
    np.testing.assert_allclose(half, whole, rtol=0.1)
