"""What does a training lose by another program on the same cores, and what by threads that do not spin for long?

    ./pants run benchmarks/shared_cores.py

Trains EfficientNet-Lite0 on noise with as many threads as there are cores: alone, and twice at the same time. Once the
threads wait as GNU's OpenMP has them wait, spinning for milliseconds, and once as ``lesion-train`` does
(``threads.prepare_threads``). Prints images a second of all together, in the median of three rounds, and what is left
of them beside the other.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

from lesion_core.processes import child_environment
from lesion_train.threads import ALL_CORES, SPINS

ROUNDS = 3
SECONDS = 10
BATCH, SIDE_PX = 16, 128
WAITS: dict[str, dict[str, str]] = {"as OpenMP does": {}, "as lesion-train does": {"GOMP_SPINCOUNT": SPINS}}


def main() -> None:
    """One line for each way to wait."""
    if len(sys.argv) > 1:
        print(images_a_second(threads=int(sys.argv[1])))
        return
    rounds = [
        {(way, count): together(count, ALL_CORES, WAITS[way]) for way in WAITS for count in (1, 2)}
        for _ in range(ROUNDS)
    ]
    print(f"Images a second of {ALL_CORES} threads a program, on as many cores:")
    for way in WAITS:
        alone, both = (statistics.median(found[way, count] for found in rounds) for count in (1, 2))
        left = statistics.median(found[way, 2] / found[way, 1] for found in rounds)
        print(f"  {way:20}   alone {alone:6.1f}   two programs together {both:6.1f}   ratio {left:.2f}")


def together(count: int, threads: int, wait: dict[str, str]) -> float:
    """Images a second of so many trainings at the same time."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "MKL_"))}
    programs = [
        subprocess.Popen(
            [sys.executable, __file__, str(threads)],
            env=child_environment(wait, inherited=inherited),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(count)
    ]
    for program in programs:
        assert program.stdout is not None
        program.stdout.readline()
    for program in programs:
        assert program.stdin is not None
        program.stdin.write("\n")
        program.stdin.flush()
    return sum(float(program.communicate()[0]) for program in programs)


def images_a_second(threads: int) -> float:
    """Of steps of the optimiser, for some seconds, from when it is told to begin; three before them warm up."""
    import torch

    from lesion_plugins.classifier import build_classifier
    from lesion_plugins.registry import BackboneRegistry

    torch.set_num_threads(threads)
    backbone = BackboneRegistry.load().get("efficientnet_lite0")
    model, _ = build_classifier(backbone, classes=8, input_size_px=SIDE_PX, pretrained="none")
    model = model.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]  # torch omits it
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4)
    images = torch.randn(BATCH, 3, SIDE_PX, SIDE_PX).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(BATCH) % 8

    def step() -> None:
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(model(images).logits, labels).backward()
        optimiser.step()

    for _ in range(3):
        step()
    print("ready", flush=True)
    sys.stdin.readline()
    steps, start = 0, time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        step()
        steps += 1
    return steps * BATCH / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
