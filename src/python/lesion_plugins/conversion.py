"""Checkpoints of PyTorch, which may be pickles, into safetensors, without running what is in them."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from lesion_plugins.errors import WeightsError

# Where training scripts put the weights among the rest; averaged ones first.
KEYS = ("state_dict_ema", "model_ema", "state_dict", "model")
WRAPPER = "module."


def convert_checkpoint(source: Path, target: Path) -> dict[str, Tensor]:
    """Write the weights of a checkpoint as safetensors; ``target`` is replaced at once, never half.

    The checkpoint is loaded with ``weights_only=True``: tensors and plain containers, no code.

    Args:
        source: made by ``torch.save``: a state dict, or a mapping that holds one under one of ``KEYS``.
        target: ends in ``.safetensors``.
    Returns:
        The tensors by name; a common prefix ``module.`` of parallel training is taken away.
    Raises:
        WeightsError: not such a file, or one that would run code.
    """
    if target.suffix != ".safetensors":
        raise WeightsError(f"The converted file's name ends in .safetensors, got {target.name!r}.")
    try:
        loaded: object = torch.load(source, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{source} holds more than tensors and would run code when it is loaded, so it was not. Ask its author for "
            f"the state dict alone: torch.save(model.state_dict(), ...). PyTorch says: {_first_line(error)}"
        ) from error
    except Exception as error:  # damaged archives, missing files: many types
        raise WeightsError(f"{source} cannot be read: {type(error).__name__}: {_first_line(error)}") from error
    state = _state_dict(loaded, source)
    staging = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        staging.write_bytes(safetensors.torch.save(state))
        staging.replace(target)
    finally:
        staging.unlink(missing_ok=True)
    return state


def _state_dict(loaded: object, source: Path) -> dict[str, Tensor]:
    if isinstance(loaded, Mapping):
        nested = next((loaded[key] for key in KEYS if isinstance(loaded.get(key), Mapping)), None)
        loaded = loaded if nested is None else nested
    if not isinstance(loaded, Mapping) or not loaded:
        raise WeightsError(f"{source} holds {type(loaded).__name__}, not a state dict.")
    strangers = [str(name) for name, item in loaded.items() if not isinstance(item, Tensor)]
    if strangers:
        shown = ", ".join(strangers[:3]) + (", …" if len(strangers) > 3 else "")
        raise WeightsError(
            f"{source} is not a state dict: {len(strangers)} of its {len(loaded)} entries are no tensors ({shown}). "
            f"A state dict is looked for under {', '.join(KEYS)}, or as the whole file."
        )
    if odd := [str(name) for name, item in loaded.items() if not _is_plain(item)]:
        shown = ", ".join(odd[:3]) + (", …" if len(odd) > 3 else "")
        raise WeightsError(
            f"{source} holds {len(odd)} tensors that are sparse, quantised or without their values ({shown}), which "
            "safetensors cannot hold. Save the state dict of the dense network in floating point."
        )
    names = [str(name) for name in loaded]
    prefix = WRAPPER if all(name.startswith(WRAPPER) for name in names) else ""
    # Copies, since safetensors refuses tensors that share memory.
    return {
        name.removeprefix(prefix): tensor.detach().clone(memory_format=torch.contiguous_format)
        for name, tensor in zip(names, loaded.values(), strict=True)
    }


def _is_plain(tensor: Tensor) -> bool:
    return tensor.layout is torch.strided and not tensor.is_quantized and not tensor.is_meta


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
