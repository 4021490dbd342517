"""A program: train a small network, again and again, kill it in random steps, and let it go on.

It forks its runs, so that torch is imported once. Prints one JSON object: ``whole``, what a run that was left alone
says at its end, and ``killed``, the same of each killed run after it went on, with the signal that ended it, the step
that it was killed at, and how many steps were in its last checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

import attrs
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
PLACES = ("step", "writing", "validation")


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
        dropout=0.3,
        threads=1,
        device="cpu",
    )


def part(seed: int, images: int) -> Part:
    """Drawn images of all classes in turn."""
    codes = [ISIC_2019.trained_codes[n % 8] for n in range(images)]
    squares = np.stack([draw_lesion(code, seed=seed + n, side_px=36) for n, code in enumerate(codes)])
    return Part(squares=squares, labels=np.array([ISIC_2019.index(code) for code in codes]))


@attrs.frozen(kw_only=True)
class Kill:
    """When a run kills itself, without a word: in which step, counted from 1, or in what follows it.

    ``place`` is ``step`` (before the step's checkpoint), ``writing`` (half a checkpoint is on the disk), or
    ``validation`` (at the end of the epoch, before its checkpoint).
    """

    step: int
    place: str


def train(folder: Path, train_part: Part, validation: Part, *, every_s: float, kill: Kill | None) -> dict[str, Any]:
    """Train from where the folder's checkpoints are.

    Returns: the sha256 of the final weights, and the first and the last step that was taken.
    """
    settings = config(folder)
    steps: list[int] = []

    def die(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def on_step(step: int, _: dict[str, float]) -> None:
        steps.append(step)
        if kill is not None and step == kill.step and kill.place == "step":
            die()
        if kill is not None and step == kill.step and kill.place == "writing":
            os.fsync = die  # type: ignore[assignment]

    def on_epoch(*_: object) -> None:
        if kill is not None and steps[-1] >= kill.step and kill.place == "validation":
            die()

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
        on_step=on_step,
        on_epoch=on_epoch,
    )
    return {"sha256": hashlib.sha256(weights_to_bytes(trained)).hexdigest(), "first": steps[0], "last": steps[-1]}


def main(folder: Path, kills: int, seed: int) -> None:
    """Kill ``kills`` runs, the k-th in ``folder/k``, in a random step of the k-th of equal stretches of the run."""
    data = part(0, 96), part(1000, 16)

    def run(name: str, every_s: float, kill: Kill | None = None) -> int:
        """Fork a run that leaves what it says in a file; the signal that ended it, or 0."""
        process = os.fork()
        if process == 0:
            status = 1
            try:
                done = train(folder / name, *data, every_s=every_s, kill=kill)
                (folder / f"{name}.json").write_text(json.dumps(done))
                status = 0
            finally:
                os._exit(status)
        return os.WTERMSIG(os.waitpid(process, 0)[1])

    run("whole", 0.0)
    whole = json.loads((folder / "whole.json").read_text())
    choose, killed = random.Random(seed), list[dict[str, Any]]()
    for number in range(kills):
        # Every step has a checkpoint, or every epoch only.
        name, every_s = str(number), [0.0, 3600.0][number % 2]
        stretch = [1 + number * whole["last"] // kills, (number + 1) * whole["last"] // kills]
        kill = Kill(step=choose.randint(*stretch), place=PLACES[number % len(PLACES)])
        ended_by = run(name, every_s, kill)
        was_over = (folder / f"{name}.json").exists()
        checkpoint = max((int(file.name[5:13]) for file in (folder / name).glob("step-*.safetensors")), default=0)
        run(name, every_s)
        resumed = json.loads((folder / f"{name}.json").read_text())
        killed.append(
            {"ended_by": ended_by, "was_over": was_over, "checkpoint": checkpoint, **resumed, "at": kill.step}
        )
    print(json.dumps({"whole": whole, "killed": killed}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
