"""Where training runs: one process on the CPU or a GPU, or one process a GPU, or several hosts, under ``torchrun``."""

from __future__ import annotations

import ctypes
import os
import platform
from typing import cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment

from lesion_core.errors import LesionError
from lesion_plugins.backbone import BackboneSpec
from lesion_plugins.classifier import Classifier
from lesion_train.config import Precision, TrainConfig

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def make_fabric(config: TrainConfig, backbone: BackboneSpec) -> Fabric:
    """Join the processes of this run; with several, each has one device.

    Start them with ``torchrun --nproc-per-node N -m lesion_train fit …``, which tells each of the others by the
    environment. Without it the run is one process.

    Raises:
        LesionError: ``no_gpu``; ``uneven_batch``: the batch cannot be shared out evenly.
    """
    device = resolve_device(config.device)
    processes = int(os.environ.get("WORLD_SIZE", 1)) if TorchElasticEnvironment.detect() else 1
    here = int(os.environ["LOCAL_WORLD_SIZE"]) if processes > 1 else 1
    if config.batch_size % (processes * config.accumulate):
        raise LesionError(
            f"A batch of {config.batch_size} images cannot be shared evenly by {processes} processes in "
            f"{config.accumulate} slices each. Possible: --batch-size {processes * config.accumulate} or a multiple.",
            code="uneven_batch",
        )
    fabric = Fabric(
        accelerator=device.type,
        devices=here,
        num_nodes=processes // here,
        strategy="ddp" if processes > 1 else "auto",
        precision="bf16-mixed" if resolve_precision(config, backbone) is Precision.BF16 else "32-true",
        # A scheduler's variables (SLURM's, say) alone do not make a run of several processes.
        plugins=[TorchElasticEnvironment() if processes > 1 else LightningEnvironment()],
    )
    fabric.launch()
    torch.set_num_threads(config.threads)
    if device.type == "cpu":
        keep_freed_memory()
    return fabric


def keep_freed_memory() -> None:
    """Have this process keep the memory that one training step frees for the next one, where the C library is glibc.

    By default glibc asks the system anew for each block of more than 32 MB, as large activations are, and gives it back
    when it is freed; the system then zeroes every page of every step. The highest use of memory is still that of one
    step, and at most a tenth more (``benchmarks/kept_memory.py``). See mallopt(3).
    """
    if platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    for option, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1)):
        mallopt(option, value)


def with_shared_statistics(model: Classifier) -> Classifier:
    """Batch normalisation over the images of all GPUs; nothing else changes, and the state has the same names.

    By timm's own conversion: torch's would drop the activations that timm keeps in its normalising layers.
    """
    from lesion_plugins.timm_bridge import convert_sync_batchnorm  # timm takes seconds to import

    return cast(Classifier, convert_sync_batchnorm(model))


def resolve_device(name: str) -> torch.device:
    """``auto`` → a GPU where there is one, else the CPU.

    Raises:
        LesionError: ``no_gpu``; a GPU was asked for, and there is none.
    """
    has_gpu = torch.cuda.is_available()
    if name == "cuda" and not has_gpu:
        raise LesionError("PyTorch finds no GPU here. Possible: --device auto or --device cpu.", code="no_gpu")
    return torch.device(("cuda" if has_gpu else "cpu") if name == "auto" else name)


def resolve_precision(config: TrainConfig, backbone: BackboneSpec) -> Precision:
    """``auto`` → bfloat16 where the device computes in it, rather than emulate it, and the backbone gains from that.

    Of CPUs these are x86 ones with ``avx512_bf16`` or ``amx_bf16``, such as Zen 4, Cooper Lake and Sapphire Rapids. A
    linear probe is fitted on features in float32 in any case.

    Raises:
        LesionError: ``no_gpu``.
    """
    if config.linear_probe:
        return Precision.FP32
    if config.precision is not Precision.AUTO:
        return config.precision
    if resolve_device(config.device).type == "cuda":
        gains = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        able = torch.cpu.get_capabilities() if backbone.bf16_on_cpu else {}
        gains = any(able.get(name, False) for name in ("avx512_bf16", "amx_bf16"))
    return Precision.BF16 if gains else Precision.FP32
