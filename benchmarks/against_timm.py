"""Is our recipe better than the usual one? Beside timm's own training functions, in one run.

    ./pants run benchmarks/against_timm.py -- DIR [EPOCHS]

The same images, frozen split, network (EfficientNet-Lite0), starting weights, input size and epochs; two threads. The
peer is timm's training script rebuilt from its public functions, since the script is not on the package index: its
dataset transforms (RandAugment, random erasing, flips), AdamW, cosine schedule with warm-up, EMA, label smoothing, and
torch's DataLoader. Both select the epoch on the validation part by balanced accuracy; the test part is looked at once.

Prints minutes of training and balanced accuracy after each epoch, when ours first has what the peer ends with, and the
difference on the test part, resampling whole lesions. Takes about 45 minutes for 4,226 images of 150 px on two cores.
"""

from __future__ import annotations

import copy
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.special import softmax

from lesion_core.bootstrap import paired_bootstrap_difference
from lesion_core.datasets import read_dataset
from lesion_core.metrics import balanced_multiclass_accuracy, macro_auroc
from lesion_core.preprocess_spec import PreprocessSpec
from lesion_core.records import ImageRecord, labels_of, lesions_of
from lesion_plugins import torchvision_remedy
from lesion_plugins.classifier import Classifier, build_classifier
from lesion_plugins.registry import BackboneRegistry
from lesion_train.config import preprocess_of
from lesion_train.config_file import resolve_config
from lesion_train.inference import run_network
from lesion_train.loop import Part, train_classifier, validation_scores
from lesion_train.parts import make_split
from lesion_train.squares import CROP_MARGIN, SquareCache

torchvision_remedy.apply()

from timm.data.transforms_factory import create_transform  # noqa: E402  (needs the remedy first)
from timm.loss import LabelSmoothingCrossEntropy  # noqa: E402
from timm.optim import create_optimizer_v2  # noqa: E402
from timm.scheduler import create_scheduler_v2  # noqa: E402
from timm.utils import ModelEmaV3  # noqa: E402

THREADS = 2
CONFIG = Path("configs/efficientnet_lite0.toml")
PEER_BATCH = 32
PEER_LEARNING_RATES = (3e-4, 1e-3)


@attrs.frozen(kw_only=True, eq=False)
class Trained:
    """A model after its best epoch, and (minutes of training, balanced accuracy on the validation part) by epoch."""

    model: Classifier
    curve: list[tuple[float, float]]

    @property
    def best(self) -> float:
        """Highest balanced accuracy on the validation part."""
        return max(bma for _, bma in self.curve)


class Clock:
    """Minutes that were spent in training, not in validation."""

    def __init__(self) -> None:
        self._minutes, self._since = 0.0, time.monotonic()

    def pause(self) -> float:
        """Minutes until now."""
        self._minutes += (time.monotonic() - self._since) / 60
        return self._minutes

    def go(self) -> None:
        """Go on."""
        self._since = time.monotonic()


def main() -> None:
    """Train both and print the comparison."""
    options = {"data": Path(sys.argv[1]), "threads": THREADS, "device": "cpu"}
    if len(sys.argv) > 2:
        options["epochs"] = int(sys.argv[2])
    config = resolve_config(CONFIG, options).config()
    dataset = read_dataset(config.data)
    split, backbone = make_split(dataset, config), BackboneRegistry.load().get(config.backbone)
    spec = preprocess_of(config, backbone)
    torch.set_num_threads(THREADS)

    def fresh() -> Classifier:
        torch.manual_seed(config.seed)
        classes = len(dataset.taxonomy.trained)
        model, _ = build_classifier(
            backbone,
            classes=classes,
            input_size_px=spec.input_size_px,
            pretrained=config.pretrained,
            dropout=config.dropout,
        )
        return model

    with tempfile.TemporaryDirectory() as scratch:
        records = (*dataset.records, *dataset.test)
        cache = SquareCache(Path(scratch), records, threads=THREADS)
        parts = {
            name: Part(squares=cache.squares(own, spec), labels=labels_of(own, dataset.taxonomy))
            for name, own in (("validation", split.validation), ("test", split.test))
        }
        labels = labels_of(split.train, dataset.taxonomy)
        clock, curve = Clock(), list[tuple[float, float]]()
        train = Part(squares=cache.squares(split.train, spec, margin=CROP_MARGIN), labels=labels)

        def note(epoch: int, metrics: dict[str, float]) -> None:
            seconds = len(labels) // config.batch_size * config.batch_size / metrics["images_per_s"]
            curve.append((seconds / 60 + (curve[-1][0] if curve else decoded), metrics["val_bma"]))

        # The decoding of our images counts: the peer decodes them as well, again and again.
        decoded = clock.pause()
        model = train_classifier(fresh(), train, parts["validation"], spec, backbone, config, on_epoch=note)
        ours = Trained(model=model, curve=curve)
        show("ours", ours)
        peers = {
            rate: train_peer(fresh(), split.train, labels, parts["validation"], spec, rate=rate, epochs=config.epochs)
            for rate in PEER_LEARNING_RATES
        }
        for rate, trained in peers.items():
            show(f"timm's functions, learning rate {rate:g}", trained)
        peer = max(peers.values(), key=lambda trained: trained.best)
        reached = next((minutes for minutes, bma in ours.curve if bma >= peer.best), None)
        if reached is not None:
            until = next(minutes for minutes, bma in peer.curve if bma >= peer.best)
            print(f"ours has the peer's best validation BMA after {reached:.1f} min, the peer after {until:.1f} min")
        compare(peer.model, ours.model, parts["test"], spec, lesions_of(split.test))


def train_peer(
    model: Classifier,
    records: Sequence[ImageRecord],
    labels: NDArray[np.int64],
    validation: Part,
    spec: PreprocessSpec,
    *,
    rate: float,
    epochs: int,
) -> Trained:
    """The usual recipe."""
    loader = torch.utils.data.DataLoader(
        ImageFiles(records, labels, spec), batch_size=PEER_BATCH, shuffle=True, drop_last=True, num_workers=1
    )
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = create_optimizer_v2(model, opt="adamw", lr=rate, weight_decay=0.05)
    schedule, _ = create_scheduler_v2(
        optimiser,
        sched="cosine",
        num_epochs=epochs,
        warmup_epochs=1,
        step_on_epochs=False,
        updates_per_epoch=len(loader),
    )
    averaged, loss_of = ModelEmaV3(model, decay=0.998, use_warmup=True), LabelSmoothingCrossEntropy(0.1)
    clock, curve, best, step = Clock(), list[tuple[float, float]](), copy.deepcopy(model), 0
    for _ in range(epochs):
        model.train()
        for images, targets in loader:
            loss = loss_of(model(images.to(memory_format=torch.channels_last)).logits, targets)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            step += 1
            averaged.update(model, step)
            schedule.step_update(step)
        minutes = clock.pause()
        bma = validation_scores(averaged.module, validation, spec)["val_bma"]
        if not curve or bma > max(known for _, known in curve):
            best = copy.deepcopy(averaged.module)
        curve.append((minutes, bma))
        clock.go()
    return Trained(model=best.eval(), curve=curve)


class ImageFiles(torch.utils.data.Dataset[tuple[torch.Tensor, int]]):
    """Files that are opened by Pillow each time, with timm's transforms for training."""

    def __init__(self, records: Sequence[ImageRecord], labels: NDArray[np.int64], spec: PreprocessSpec) -> None:
        self._paths, self._labels = [record.path for record in records], labels
        self._transform = create_transform(
            spec.input_size_px,
            is_training=True,
            # mmax9: at level 10 its "posterize" asks Pillow for no bits at all, which Pillow 12 refuses.
            auto_augment="rand-m9-mmax9-mstd0.5-inc1",
            vflip=0.5,
            re_prob=0.25,
            interpolation="bicubic",
            mean=spec.mean,
            std=spec.std,
            scale=(0.5, 1.0),
        )

    def __len__(self) -> int:
        """How many."""
        return len(self._paths)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        """Image float32 ``(3, S, S)`` and label."""
        with Image.open(self._paths[row]) as image:
            return self._transform(image.convert("RGB")), int(self._labels[row])


def show(name: str, trained: Trained) -> None:
    """One line."""
    steps = "  ".join(f"{minutes:.1f} min {bma:.3f}" for minutes, bma in trained.curve)
    print(f"{name}: validation BMA {steps}", flush=True)


def compare(peer: Classifier, ours: Classifier, test: Part, spec: PreprocessSpec, lesions: NDArray[np.str_]) -> None:
    """Both on the test part, which nothing was chosen on."""
    outputs = [run_network(model, test.squares, spec).logits.astype(np.float64) for model in (peer, ours)]
    first, second = (softmax(logits, axis=1) for logits in outputs)
    print(f"Test part, {len(test.labels)} images of {len(set(lesions))} lesions:")
    for name, metric in (("BMA", balanced_multiclass_accuracy), ("macro AUROC", macro_auroc)):
        found = paired_bootstrap_difference(metric, first, second, test.labels, lesions)
        print(f"  {name:12} peer {found.first}   ours {found.second}   difference {found.difference}")


if __name__ == "__main__":
    main()
