"""Which weights a network starts from, said out loud; and weights as bytes, never as a pickle."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import safetensors.torch
import torch
from torch import Tensor, nn

from lesion_core.errors import BundleError
from lesion_plugins.backbone import RANDOM_ORIGIN, BackboneSpec, WeightsSource
from lesion_plugins.errors import WeightsError

NONE: Final = "none"
BUNDLED: Final = "bundled"
HUB: Final = "hub"
FILE_SUFFIX: Final = ".safetensors"
PICKLE_SUFFIXES: Final = (".pth", ".pt", ".bin", ".ckpt", ".tar")

_CHOICES = f"{NONE!r}, {BUNDLED!r}, {HUB!r} or the path of a {FILE_SUFFIX} file"
_BACKBONE_PREFIX = "backbone."


def load_pretrained(module: nn.Module, spec: BackboneSpec, pretrained: str, *, input_size_px: int) -> str:
    """Fill a fresh backbone with the weights that were asked for, strictly: all of them or an error.

    Args:
        module: from ``spec.build(input_size_px=input_size_px)``.
        pretrained: ``"none"`` leaves it as it is; ``"bundled"`` are weights on this machine; ``"hub"``
            downloads; a path that ends in ``.safetensors`` is a file with the state of the backbone, of a whole
            classifier, such as a bundle's, or as the backbone's authors publish it.
        input_size_px: what ``module`` was built for.
    Returns:
        Origin of the weights, for people and for the bundle.
    Raises:
        WeightsError: no such choice, or weights that cannot be had here or do not fit.
    """
    if pretrained == NONE:
        return RANDOM_ORIGIN
    if pretrained in (BUNDLED, HUB):
        return _load_source(module, spec, pretrained, input_size_px)
    if pretrained.endswith(FILE_SUFFIX):
        return _load_file(module, spec, Path(pretrained), input_size_px)
    if pretrained.endswith(PICKLE_SUFFIXES):
        raise WeightsError(
            f"{pretrained} may be a pickle, which can run code when it is loaded. Convert it first: "
            f"lesion-train weights convert {pretrained} {Path(pretrained).with_suffix(FILE_SUFFIX)}",
            code="weights_need_conversion",
        )
    raise WeightsError(f"No weights called {pretrained!r}. Possible: {_CHOICES}.", code="unknown_weights")


def _load_source(module: nn.Module, spec: BackboneSpec, pretrained: str, input_size_px: int) -> str:
    sources: dict[str, WeightsSource | None] = {BUNDLED: spec.bundled, HUB: spec.hub}
    source = sources[pretrained]
    if source is None:
        possible = [choice for choice, other in sources.items() if other is not None]
        listed = ", ".join(repr(choice) for choice in [NONE, *possible])
        raise WeightsError(
            f"{spec.name} has no {pretrained} weights. Possible: {listed} or a {FILE_SUFFIX} file.",
            code="no_such_weights",
        )
    try:
        state = source.load(input_size_px)
    except Exception as error:  # downloads and packages fail in many ways; all mean that there are no weights
        others = {BUNDLED: HUB, HUB: BUNDLED}[pretrained]
        other = f"pretrained = {others!r}, or " if sources[others] is not None else ""
        raise WeightsError(
            f"The {pretrained} weights of {spec.name} ({source.origin}) could not be loaded: "
            f"{_in_words(error)}. Without them: {other}pretrained = '<file>{FILE_SUFFIX}' "
            f"with weights of your own, or pretrained = {NONE!r}."
        ) from error
    _fill(module, spec, state, source.origin)
    return source.origin


def _load_file(module: nn.Module, spec: BackboneSpec, path: Path, input_size_px: int) -> str:
    """Our own files of the same input size fit as they are; the backbone knows how to read others."""
    try:
        data = path.read_bytes()
        state: Mapping[str, Tensor] = safetensors.torch.load(data)
    except Exception as error:  # the reader of the format raises many types for a damaged file
        raise WeightsError(f"{path} cannot be read as {FILE_SUFFIX}: {_in_words(error)}.") from error
    if any(name.startswith(_BACKBONE_PREFIX) for name in state):
        state = {
            name.removeprefix(_BACKBONE_PREFIX): tensor
            for name, tensor in state.items()
            if name.startswith(_BACKBONE_PREFIX)
        }
    if spec.read_published is not None and _mismatch(module, state):
        try:
            state = spec.read_published(state, input_size_px)
        except Exception as error:  # it meets tensors of any name and shape
            raise WeightsError(
                f"{path} does not fit {spec.name}: read as its authors publish it, {_in_words(error)}.",
                code="weights_do_not_fit",
            ) from error
    _fill(module, spec, state, str(path))
    return f"file {path.name}, sha256 {hashlib.sha256(data).hexdigest()}"


def _fill(module: nn.Module, spec: BackboneSpec, state: Mapping[str, Tensor], origin: str) -> None:
    mismatch = _mismatch(module, state)
    if mismatch:
        raise WeightsError(f"{origin} does not fit {spec.name}: {mismatch}.", code="weights_do_not_fit")
    module.load_state_dict(state)


def weights_to_bytes(module: nn.Module) -> bytes:
    """Weights as safetensors: equal weights give equal bytes, in any memory format and on any device."""
    state = module.state_dict()
    return safetensors.torch.save(
        {name: state[name].detach().cpu().clone(memory_format=torch.contiguous_format) for name in sorted(state)}
    )


def load_weights(module: nn.Module, data: bytes) -> None:
    """Fill a module from the bytes that ``weights_to_bytes`` made, strictly.

    Raises:
        BundleError: not safetensors, or of another network; the module is then unchanged.
    """
    try:
        state = safetensors.torch.load(data)
    except Exception as error:  # the reader of the format raises many types for damaged bytes
        raise BundleError(f"The weights cannot be read: {_in_words(error)}.") from error
    mismatch = _mismatch(module, state)
    if mismatch:
        raise BundleError(f"The weights belong to another network: {mismatch}.")
    module.load_state_dict(state)


def _in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".rstrip(". ")


def _mismatch(module: nn.Module, state: Mapping[str, Tensor], *, shown: int = 3) -> str:
    """What keeps a state dict from fitting, in words; empty if it fits."""
    own = module.state_dict()
    other_shapes = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own.keys() & state.keys()
        if state[name].shape != own[name].shape
    ]
    faults = {
        "missing": own.keys() - state.keys(),
        "not expected": state.keys() - own.keys(),
        "shape": other_shapes,
    }
    return "; ".join(
        f"{len(names)} {fault} ({', '.join(sorted(names)[:shown])}{', …' if len(names) > shown else ''})"
        for fault, names in faults.items()
        if names
    )
