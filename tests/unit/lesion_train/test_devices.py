"""Where training runs, in which precision, and what it does with memory."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lesion_core.errors import LesionError
from lesion_core.processes import child_environment
from lesion_plugins.registry import BackboneRegistry
from lesion_train.config import Precision, TrainConfig
from lesion_train.devices import resolve_device, resolve_precision

STEPS_THAT_FREE_MUCH = """
import resource, sys
import torch
from lesion_train.devices import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()
def faults_of(steps):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(steps):
        torch.ones(64, 2**20)  # 256 MB, freed at once
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults_of(steps=3)
print(faults_of(steps=5))
"""


def test_a_gpu_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to say instead; ``auto`` takes what there is."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    with pytest.raises(LesionError, match="--device auto or --device cpu") as caught:
        resolve_device("cuda")

    assert caught.value.code == "no_gpu"
    assert resolve_device("auto").type == "cpu"


@pytest.mark.parametrize(
    ("able", "settings", "expected"),
    [
        ({"avx512_bf16": True}, {}, Precision.BF16),
        ({"avx512_bf16": True}, {"backbone": "efficientnet_lite0"}, Precision.FP32),
        ({"amx_bf16": True, "avx512_bf16": False}, {}, Precision.BF16),
        ({"avx2": True}, {}, Precision.FP32),
        ({"avx2": True}, {"precision": Precision.BF16}, Precision.BF16),
        ({"avx512_bf16": True}, {"precision": Precision.FP32}, Precision.FP32),
        ({"avx512_bf16": True}, {"linear_probe": True}, Precision.FP32),
    ],
)
def test_bfloat16_is_taken_where_the_processor_computes_in_it(
    able: dict[str, bool],
    settings: dict[str, object],
    expected: Precision,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And the backbone gains from it, unless the settings say what to take."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)

    wanted = TrainConfig(**{"data": Path("unused"), "backbone": "vit_tiny", "device": "cpu", **settings})  # type: ignore[arg-type]
    assert resolve_precision(wanted, BackboneRegistry.load().get(wanted.backbone)) is expected


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc: other C libraries have other settings")
def test_memory_that_one_step_frees_is_kept_for_the_next() -> None:
    """Otherwise the system has to find and zero each of its pages again, which are faults that it counts."""

    def faults(how: str) -> int:
        command = [sys.executable, "-c", STEPS_THAT_FREE_MUCH, how]
        return int(subprocess.run(command, env=child_environment(), capture_output=True, check=True).stdout)

    assert faults("kept") < 0.1 * faults("given back")
