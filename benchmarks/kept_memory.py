"""What does a training on the CPU gain by keeping the memory that a step frees? With and without, in turns.

    ./pants run benchmarks/kept_memory.py

Trains on noise with the loop of ``lesion-train fit``, each turn in a process of its own, and prints images a second,
their ratio in the median of three pairs, and the highest use of memory. Nothing is gained without glibc.
"""

from __future__ import annotations

import multiprocessing
import resource
import statistics
from pathlib import Path

from mixed_precision import BATCH, ROUNDS, THREADS, speed

from lesion_train import devices
from lesion_train.config import Precision, TrainConfig

# Backbones and their input in pixels.
NETWORKS = (
    ("efficientnet_lite0", 84),
    ("efficientnet_lite0", 128),
    ("efficientnet_lite0", 160),
    ("efficientnet_lite0", 224),
    ("vit_tiny", 224),
)


def main() -> None:
    """One line a network."""
    print(f"Images a second, {THREADS} threads:")
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as turns:
        for name, side in NETWORKS:
            pairs = [[turns.apply(turn, (name, side, kept)) for kept in (False, True)] for _ in range(ROUNDS)]
            given, kept = (statistics.median(speed for speed, _ in column) for column in zip(*pairs, strict=True))
            ratio = statistics.median(kept / given for (given, _), (kept, _) in pairs)
            most = [max(memory for _, memory in column) for column in zip(*pairs, strict=True)]
            print(
                f"  {name:20} {side:3} px   given back {given:6.1f}, {most[0]:.0f} MB   "
                f"kept {kept:6.1f}, {most[1]:.0f} MB   ratio {ratio:.2f}",
                flush=True,
            )


def turn(name: str, side: int, kept: bool) -> tuple[float, float]:
    """Images a second, and the highest use of memory in MB; for a process that did nothing before."""
    if not kept:
        devices.keep_freed_memory = lambda: None
    config = TrainConfig(
        data=Path("unused"), epochs=1, batch_size=BATCH, threads=THREADS, device="cpu", precision=Precision.FP32
    )
    return speed(name, side, config), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
