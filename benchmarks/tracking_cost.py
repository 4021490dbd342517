"""What does tracking cost a run? The same training with and without it, in turns, against a real MLflow server.

    ./pants run benchmarks/tracking_cost.py

Trains EfficientNet-Lite0 at 128 px on noise: seconds of processor and wall clock, with the record, the sampler of the
machine's load and the thread that sends rows, and without any of them. The server's own work is not counted as ours.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch

from lesion_core.preprocess_spec import PreprocessSpec
from lesion_core.processes import free_port
from lesion_core.workspace import Workspace
from lesion_plugins.classifier import build_classifier
from lesion_plugins.registry import BackboneRegistry
from lesion_train.config import TrainConfig
from lesion_train.loop import Part, train_classifier
from lesion_train.mlflow_server import start_mlflow
from lesion_train.progress import ProgressRecorder
from lesion_train.record import RunRecord
from lesion_train.tracking import BackgroundMirror, Mirror, SystemSampler

ROUNDS = 6
IMAGES, EPOCHS, SIDE = 1_024, 2, 128


def main() -> None:
    """Print the ratio of each pair of runs, and their median."""
    with tempfile.TemporaryDirectory() as scratch:
        workspace, port = Workspace(Path(scratch)), free_port()
        server, address = start_mlflow(workspace, port), f"http://127.0.0.1:{port}"
        try:
            train(address, workspace)  # warms up
            pairs = [(train(None, workspace), train(address, workspace)) for _ in range(ROUNDS)]
        finally:
            server.stop()
    for name, index in (("processor seconds", 0), ("seconds", 1)):
        ratios = [tracked[index] / plain[index] - 1 for plain, tracked in pairs]
        shown = " ".join(f"{ratio:+.1%}" for ratio in sorted(ratios))
        print(f"{name:18} with tracking against without: median {statistics.median(ratios):+.2%}  ({shown})")


def train(tracking_uri: str | None, workspace: Workspace) -> tuple[float, float]:
    """Processor seconds and seconds of one short run; without tracking where there is no address."""
    backbone = BackboneRegistry.load().get("efficientnet_lite0")
    torch.manual_seed(0)
    model, _ = build_classifier(backbone, classes=8, input_size_px=SIDE, pretrained="none")
    random = np.random.default_rng(0)
    part = Part(squares=random.integers(0, 256, (IMAGES, SIDE, SIDE, 3), dtype=np.uint8), labels=np.arange(IMAGES) % 8)
    few = Part(squares=part.squares[:16], labels=part.labels[:16])
    config = TrainConfig(data=Path("unused"), epochs=EPOCHS, input_size_px=SIDE, device="cpu", threads=2)
    callbacks: dict[str, Callable[[int, dict[str, float]], None]] = {}
    with ExitStack() as stack:
        if tracking_uri is not None:
            record = RunRecord.create(workspace.runs, "tracked", {"backbone": backbone.name}, {"dataset": "noise"})
            mirror = BackgroundMirror(Mirror(record, tracking_uri, workspace))
            progress = ProgressRecorder(record, mirror, epochs=EPOCHS)
            callbacks = {"on_step": progress.add_step, "on_epoch": progress.add_epoch}
            stack.enter_context(SystemSampler(record))
        processor, wall = time.process_time(), time.perf_counter()
        train_classifier(
            model,
            part,
            few,
            PreprocessSpec(input_size_px=SIDE),
            backbone,
            config,
            **callbacks,  # type: ignore[arg-type]
        )
        seconds = time.process_time() - processor, time.perf_counter() - wall
        if tracking_uri is not None:
            mirror.finish()
    return seconds


if __name__ == "__main__":
    main()
