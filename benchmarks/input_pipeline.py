"""How fast do images reach the network, and does the network wait for them?

    ./pants run benchmarks/input_pipeline.py -- FOLDER

FOLDER holds JPEG images as cameras make them (those of ISIC 2019 have 600 x 450 px and more). Three questions:

1. Images a second into training, 224 px, warm: our cache of decoded images, against torchvision's ImageFolder with
   Pillow, the same random changes by torchvision's transforms v2 and torch's DataLoader; two workers each, in one run.
2. The share of a ViT-Tiny's training time, 224 px on the CPU, in which the network waits for images.
3. Images a second from data sets of 1,000 to 50,000 images: the cost of an image must not depend on how many there are.

Beside each answer stands its limit; the exit code is 1 where one does not hold.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import numpy as np
import torch
from limited import Limited
from numpy.typing import NDArray

from lesion_core.preprocess_spec import PreprocessSpec
from lesion_core.records import ImageRecord
from lesion_plugins import torchvision_remedy
from lesion_plugins.classifier import build_classifier
from lesion_plugins.registry import BackboneRegistry
from lesion_train.config import Augmentation, TrainConfig
from lesion_train.data import EpochPlan, epoch_batches
from lesion_train.loop import Part, train_classifier
from lesion_train.squares import CROP_MARGIN, SquareCache, StoredSquares

torchvision_remedy.apply()

from torchvision.datasets import ImageFolder  # noqa: E402  (needs the remedy first)
from torchvision.transforms import v2  # noqa: E402

WORKERS = 2
BATCH = 32
SPEC = PreprocessSpec(input_size_px=224)
PLAN = EpochPlan(spec=SPEC, augmentation=Augmentation.MEDIUM, batch_size=BATCH, seed=0, classes=8, workers=WORKERS)
IMAGES = 640
SMALL = PreprocessSpec(input_size_px=64)
SIZES = (1_000, 10_000, 50_000)


def main() -> int:
    """Print the three answers; how many limits do not hold."""
    torch.set_num_threads(1)
    files = sorted(path for path in Path(sys.argv[1]).iterdir() if path.suffix.lower() in (".jpg", ".jpeg"))
    files = [files[n % len(files)] for n in range(IMAGES)]
    with tempfile.TemporaryDirectory() as scratch:
        peer = images_per_second(peer_batches(files, Path(scratch)))
        cold = time.perf_counter()
        squares = decoded(files, Path(scratch), SPEC)
        cold_s = time.perf_counter() - cold
        labels = np.arange(IMAGES) % 8
        ours = images_per_second(batch.images for batch in epoch_batches(squares, labels, PLAN, epoch=1))
        print(f"{IMAGES} images of {files[0].parent.name} at 224 px, medium augmentation, {WORKERS} workers, images/s:")
        print(f"  ImageFolder + Pillow + transforms v2 + DataLoader  {peer:7,.0f}")
        print(f"  ours, warm                                         {ours:7,.0f}")
        print(f"  ours, the first time: decoding once more takes     {IMAGES / cold_s:7,.0f}")
        figures = [
            Limited("images a second, warm, to those of the peer", ours / peer, 5, at_least=True),
            Limited("a ViT-Tiny's training: time spent waiting", wait(squares, labels), 10, "%"),
            Limited("cost of an image of 50,000 to one of 1,000", grow(Path(scratch)), 1.25),
        ]
    print("\n".join(map(str, figures)))
    return sum(not one.holds for one in figures)


def decoded(files: list[Path], folder: Path, spec: PreprocessSpec) -> StoredSquares:
    """Our cache, filled."""
    records = [
        ImageRecord(isic_id=f"{n:05d}", path=file, diagnosis="NV", lesion_id=str(n)) for n, file in enumerate(files)
    ]
    return SquareCache(folder / "cache", records, threads=WORKERS).squares(records, spec, margin=CROP_MARGIN)


def peer_batches(files: list[Path], folder: Path) -> Iterator[torch.Tensor]:
    """What most training scripts do, with the random changes of our preset."""
    for n, file in enumerate(files):
        target = folder / "classes" / str(n % 8) / f"{n}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(file.resolve())
    transform = v2.Compose(
        [
            v2.RandomApply([v2.RandomRotation(45, interpolation=v2.InterpolationMode.BILINEAR)], p=0.3),
            v2.RandomResizedCrop(224, scale=(0.75, 1.0), ratio=(0.85, 1.18)),
            v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.03),
            v2.RandomHorizontalFlip(),
            v2.RandomVerticalFlip(),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(SPEC.mean, SPEC.std),
        ]
    )
    loader = torch.utils.data.DataLoader(
        ImageFolder(str(folder / "classes"), transform), batch_size=BATCH, shuffle=True, num_workers=WORKERS
    )
    return (images for images, _ in loader)


def images_per_second(batches: Iterator[torch.Tensor]) -> float:
    """Of one epoch, without the first two batches, in which workers start."""
    next(batches), next(batches)
    started, count = time.perf_counter(), 0
    for images in batches:
        count += len(images)
    return count / (time.perf_counter() - started)


def wait(squares: StoredSquares, labels: NDArray[np.int64]) -> float:
    """Train a ViT-Tiny for two short epochs, on images in a file as every run does; percent of waiting in the last."""
    config = TrainConfig(
        data=Path("unused"), backbone="vit_tiny", pretrained="none", epochs=2, batch_size=16, threads=1, device="cpu"
    )
    spec = BackboneRegistry.load().get("vit_tiny")
    model, _ = build_classifier(spec, classes=8, input_size_px=224, pretrained="none")
    part, few = (
        Part(squares=attrs.evolve(squares, rows=squares.rows[:count]), labels=labels[:count]) for count in (96, 16)
    )
    epochs: list[dict[str, float]] = []
    train_classifier(model, part, few, SPEC, spec, config, on_epoch=lambda _, metrics: epochs.append(metrics))
    print(f"A ViT-Tiny at 224 px, one thread, {config.workers} worker: {epochs[-1]['images_per_s']:.1f} images/s")
    return 100 * epochs[-1]["loader_wait"]


def grow(folder: Path) -> float:
    """One epoch each of ever more images of 64 px; what an image costs in the largest set, to that in the smallest."""
    side = round(SMALL.input_size_px * CROP_MARGIN)
    plan = attrs.evolve(PLAN, spec=SMALL)
    print("One epoch of N images at 64 px, without a network:")
    speeds = []
    for size in SIZES:
        path = folder / f"{size}.u8"
        stored = np.memmap(path, dtype=np.uint8, mode="w+", shape=(size, side, side, 3))
        stored[:] = np.random.default_rng(0).integers(0, 255, (1, side, side, 3), dtype=np.uint8)
        speed = images_per_second(batch.images for batch in epoch_batches(stored, np.arange(size) % 8, plan, epoch=1))
        print(f"  N = {size:6,}   {speed:6,.0f} images/s   {1e6 / speed:5,.0f} µs an image")
        speeds.append(speed)
        path.unlink()
    return speeds[0] / speeds[-1]


if __name__ == "__main__":
    sys.exit(main() > 0)
