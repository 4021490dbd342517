"""A program for one process or several, under torchrun: train a small network and print the loss of each step.

    python -m support.shared_run FOLDER ACCUMULATE

The first process writes ``FOLDER/losses.json`` and ``FOLDER/weights.safetensors``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from lesion_plugins.classifier import build_classifier
from lesion_plugins.weights import weights_to_bytes
from lesion_train.config import Imbalance, Precision, TrainConfig
from lesion_train.devices import make_fabric
from lesion_train.loop import train_classifier
from support.killed_run import part
from support.small_network import SIDE, SMALL_CNN_PER_IMAGE


def main(folder: Path, accumulate: int) -> None:
    """Without dropout, whose masks are each process's own; in float32: a sum in bfloat16 depends on its parts."""
    settings = TrainConfig(
        data=folder,
        epochs=3,
        batch_size=16,
        accumulate=accumulate,
        imbalance=Imbalance.WEIGHTED,
        dropout=0.0,
        threads=1,
        device="cpu",
        precision=Precision.FP32,
    )
    fabric = make_fabric(settings, SMALL_CNN_PER_IMAGE)
    torch.manual_seed(0)
    spec = SMALL_CNN_PER_IMAGE
    model, _ = build_classifier(spec, classes=8, input_size_px=SIDE, pretrained="none")
    losses: list[float] = []
    trained = train_classifier(
        model,
        part(0, 128),
        part(1000, 16),
        spec.preprocess,
        spec,
        settings,
        fabric=fabric,
        on_step=lambda _, metrics: losses.append(metrics["loss"]),
    )
    if fabric.is_global_zero:
        (folder / "losses.json").write_text(json.dumps(losses))
        (folder / "weights.safetensors").write_bytes(weights_to_bytes(trained))
        print(f"{fabric.world_size} processes")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
