"""Named errors of backbones, their weights and their plugins."""

from __future__ import annotations

from collections.abc import Sequence

from lesion_core.bundle import BackboneIdentity
from lesion_core.errors import LesionError


class UnknownBackboneError(LesionError):
    """A backbone that no plugin offers; ``closest`` is the name that may have been meant, or ``None``."""

    code = "unknown_backbone"

    def __init__(self, name: str, closest: str | None, rejected: Sequence[str] = ()) -> None:
        hint = f" Did you mean {closest!r}?" if closest else ""
        also = f" Rejected plugins: {'; '.join(rejected)}." if rejected else ""
        super().__init__(f"No backbone named {name!r}.{hint} See 'lesion-train backbones'.{also}")
        self.name = name
        self.closest = closest


class UnusableModelError(LesionError):
    """A model that exists and cannot be a backbone, because of ``reason``."""

    code = "unusable_model"

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name} cannot be a backbone: {reason}.")
        self.name = name
        self.reason = reason


class InputSizeError(LesionError):
    """An input size that a backbone cannot take; ``nearest_px`` is one that it can."""

    code = "bad_input_size"

    def __init__(
        self, name: str, input_size_px: int, *, smallest_px: int, multiple_px: int, largest_px: int | None = None
    ) -> None:
        nearest_px = max(smallest_px, round(input_size_px / multiple_px) * multiple_px)
        if largest_px is not None:
            nearest_px = min(nearest_px, largest_px // multiple_px * multiple_px)
        if largest_px == smallest_px:
            sizes = f"it takes {smallest_px} px only"
        else:
            steps = f" in multiples of {multiple_px} px" if multiple_px > 1 else ""
            sizes = f"it takes {smallest_px} px {'or more' if largest_px is None else f'to {largest_px} px'}{steps}"
        super().__init__(
            f"{name} cannot take images of {input_size_px} px: {sizes}. The nearest size is {nearest_px} px."
        )
        self.input_size_px = input_size_px
        self.nearest_px = nearest_px


class PluginMissingError(LesionError):
    """A bundle whose plugin cannot be used here; ``distribution`` and ``version`` are what it was trained with."""

    code = "plugin_missing"

    def __init__(
        self, trained: BackboneIdentity, reason: str, remedy: str = "Install it beside Lesion: pip install"
    ) -> None:
        super().__init__(
            f"This model's backbone {trained.name!r} comes from {trained.plugin} {trained.plugin_version}; {reason}. "
            f"{remedy} '{trained.plugin}=={trained.plugin_version}'"
        )
        self.distribution = trained.plugin
        self.version = trained.plugin_version


class PluginVersionError(LesionError):
    """A bundle whose plugin is here in a version that does not serve it; ``installed`` is that version."""

    code = "plugin_version"

    def __init__(self, trained: BackboneIdentity, installed: str) -> None:
        super().__init__(
            f"This model's backbone {trained.name!r} was trained with {trained.plugin} {trained.plugin_version}, and "
            f"{installed}, which is installed here, does not serve it. "
            f"Install one that does: pip install '{trained.plugin}=={trained.plugin_version}'"
        )
        self.distribution = trained.plugin
        self.version = trained.plugin_version
        self.installed = installed


class WeightsError(LesionError):
    """Pretrained weights that do not exist, cannot be had here, or do not fit.

    Codes: ``unknown_weights``, ``no_such_weights``, ``weights_unavailable``, ``weights_need_conversion``,
    ``weights_do_not_fit``.
    """

    code = "weights_unavailable"


class ConformanceError(LesionError):
    """A backbone that breaks the contract; ``reason`` says which part, and how far it is off."""

    code = "backbone_not_conformant"

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"Backbone {name!r} does not keep the contract: {reason}.")
        self.name = name
        self.reason = reason


class OnnxError(LesionError):
    """A network cannot be written as ONNX, or not be run from it."""

    code = "onnx"


class OnnxPackageMissingError(OnnxError):
    """A package is not installed that writes or runs ONNX."""

    code = "onnx_package_missing"
