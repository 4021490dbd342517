"""How long until the backbones are listed, and until one is built?

    ./pants run benchmarks/registry_speed.py

In fresh interpreters, the median of several; processor seconds, since other work on the machine does not count in them.
Listing imports neither torch nor timm; building does, and they are most of its time.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys

from lesion_core.processes import ONE_THREAD, child_environment

RUNS = 7
LIST = "from lesion_plugins.registry import BackboneRegistry; BackboneRegistry.load().names()"
PROGRAMS = {
    "an interpreter that does nothing": "pass",
    "the names of all backbones": LIST,
    "import torch and timm": "from lesion_plugins import torchvision_remedy as t; t.apply(); import timm",
    "a built ViT-Tiny": (
        "from lesion_plugins.registry import BackboneRegistry;"
        "BackboneRegistry.load().get('vit_tiny').build(input_size_px=224)"
    ),
}


def main() -> None:
    """Print a row for each program."""
    for name, program in PROGRAMS.items():
        seconds = statistics.median(processor_seconds(program) for _ in range(RUNS))
        print(f"{name:34} {seconds:6.2f} s")


def processor_seconds(program: str) -> float:
    """User and system time of a fresh interpreter that runs a program."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", program], env=child_environment(ONE_THREAD), check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
