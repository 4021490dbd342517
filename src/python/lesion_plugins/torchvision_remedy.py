"""Let ``import torchvision`` work where its compiled operators cannot be loaded.

The package index has no CPU build of torchvision, and its CUDA build cannot load ``_C.so`` beside a CPU build
of torch. ``import torchvision``, and so ``import timm``, then fails with "operator torchvision::nms does not
exist", because torchvision describes the shapes of operators that nobody declared. Declaring these two
schemas (without an implementation) before the first import is enough: transforms and timm work, while
``torchvision.ops.nms`` still raises torchvision's own error, as it should.

Where the operators can be loaded, they are, and nothing is declared. Measured with torch 2.13.0+cpu,
torchvision 0.28.0 and timm 1.0.31.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys

import torch

_SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}

# A schema lives only as long as the library object that declared it.
_declared: list[torch.library.Library] = []


def apply() -> tuple[str, ...]:
    """Declare the operators that are missing; call it before the first import of torchvision or timm.

    Calling it again, with torchvision imported or without torchvision installed does nothing.

    Returns:
        Names of the operators that this call declared; empty where torchvision is sound.
    """
    if "torchvision" in sys.modules or not _has_broken_operators():
        return ()
    missing = tuple(name for name in _SCHEMAS if not hasattr(torch.ops.torchvision, name))
    if missing:
        library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        for name in missing:
            library.define(_SCHEMAS[name])  # type: ignore[no-untyped-call]
        _declared.append(library)
    return missing


def _has_broken_operators() -> bool:
    """Try what torchvision will try when it is imported: to load its extension."""
    package = importlib.util.find_spec("torchvision")
    if package is None or package.submodule_search_locations is None:
        return False
    extension = importlib.machinery.PathFinder.find_spec("_C", list(package.submodule_search_locations))
    if extension is None or extension.origin is None:
        return True
    try:
        torch.ops.load_library(extension.origin)  # type: ignore[no-untyped-call]
    except OSError:
        return True
    return False
