"""A program: train a small network, again and again, kill it at random moments, and let it go on.

It forks its runs, so that torch is imported once. Prints one JSON object: ``whole``, the sha256 of the weights of a run
that was left alone, and ``killed``, for each killed run how many steps were in its last checkpoint, and the sha256 at
its end.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lesion_core.datasets.synthetic import draw_lesion
from lesion_core.taxonomy import ISIC_2019
from lesion_plugins.classifier import build_classifier
from lesion_plugins.weights import weights_to_bytes
from lesion_train.checkpoint import Checkpoints
from lesion_train.config import Augmentation, Imbalance, TrainConfig
from lesion_train.loop import Part, train_classifier
from support.small_network import SIDE, SMALL_CNN

EPOCHS = 6


def config(data: Path) -> TrainConfig:
    """With everything on that draws random numbers or keeps something from step to step."""
    return TrainConfig(
        data=data,
        pretrained="none",
        input_size_px=SIDE,
        epochs=EPOCHS,
        batch_size=8,
        accumulate=2,
        augmentation=Augmentation.HEAVY,
        mixup=0.2,
        cutmix=1.0,
        imbalance=Imbalance.LDAM_DRW,
        unfreeze_epochs=2,
        patience=3,
        dropout=0.3,
        threads=1,
        device="cpu",
    )


def part(seed: int, images: int) -> Part:
    """Drawn images of all classes in turn."""
    codes = [ISIC_2019.trained_codes[n % 8] for n in range(images)]
    squares = np.stack([draw_lesion(code, seed=seed + n, side_px=36) for n, code in enumerate(codes)])
    return Part(squares=squares, labels=np.array([ISIC_2019.index(code) for code in codes]))


def train(folder: Path, train_part: Part, validation: Part, *, every_s: float) -> str:
    """Train from where the folder's checkpoints are; the sha256 of the final weights."""
    settings = config(folder)
    torch.manual_seed(settings.seed)
    model, _ = build_classifier(SMALL_CNN, classes=8, input_size_px=SIDE, pretrained="none", dropout=settings.dropout)
    trained = train_classifier(
        model,
        train_part,
        validation,
        SMALL_CNN.preprocess,
        SMALL_CNN,
        settings,
        checkpoints=Checkpoints(folder, {"of": "this test"}, every_s=every_s),
    )
    return hashlib.sha256(weights_to_bytes(trained)).hexdigest()


def main(folder: Path, kills: int, seed: int) -> None:
    """Kill ``kills`` runs, the k-th in ``folder/k``."""
    data = part(0, 96), part(1000, 16)

    def start(name: str, every_s: float) -> int:
        """Fork a run that leaves its digest in a file."""
        process = os.fork()
        if process == 0:
            try:
                (folder / f"{name}.sha256").write_text(train(folder / name, *data, every_s=every_s))
            finally:
                os._exit(0)
        return process

    started = time.monotonic()
    os.waitpid(start("whole", 0.0), 0)
    seconds = time.monotonic() - started
    choose, killed = random.Random(seed), list[dict[str, Any]]()
    for number in range(kills):
        # Every step has a checkpoint, or every epoch only.
        name, every_s = str(number), [0.0, 3600.0][number % 2]
        process = start(name, every_s)
        time.sleep(choose.uniform(0.15, 0.95) * seconds)
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        was_over = (folder / f"{name}.sha256").exists()
        steps = max((int(file.name[5:13]) for file in (folder / name).glob("step-*")), default=0)
        os.waitpid(start(name, every_s), 0)
        killed.append({"steps": steps, "was_over": was_over, "sha256": (folder / f"{name}.sha256").read_text()})
    print(json.dumps({"whole": (folder / "whole.sha256").read_text(), "killed": killed}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
