"""A tiny backbone, and plugins made of plain objects."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import attrs
import pytest

from lesion_core.preprocess_spec import PreprocessSpec
from lesion_plugins.backbone import BackboneSpec
from lesion_plugins.feature_map import FeatureMap, channels_first
from lesion_plugins.hookspecs import hookimpl

TINY_FEATURES = 12


def _build_tiny(*, input_size_px: int) -> Any:
    """A real network in a few thousand weights; torch is imported only here."""
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(3, TINY_FEATURES, kernel_size=3, stride=2),
        nn.BatchNorm2d(TINY_FEATURES),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


@pytest.fixture(scope="session")
def make_spec() -> Callable[..., BackboneSpec]:
    """Factory of tiny backbones; keyword arguments change fields."""
    tiny = BackboneSpec(
        name="tiny_cnn",
        family="cnn",
        build=_build_tiny,
        feature_dim=TINY_FEATURES,
        preprocess=PreprocessSpec(input_size_px=32),
        code_license="MIT",
        code_origin="made up for tests",
        parameters=TINY_FEATURES * 27 + 3 * TINY_FEATURES,
        multiply_adds=TINY_FEATURES * 27 * 15**2,
        feature_map=FeatureMap(layer="2", reshape=channels_first, is_pooled_by_mean=True),
        layer_groups=(r"0\.", r"1\."),
        smallest_input_px=16,
        exports_onnx=True,
    )

    def make(**changes: Any) -> BackboneSpec:
        return attrs.evolve(tiny, **changes)

    return make


@pytest.fixture(scope="session")
def make_plugin() -> Callable[[object], object]:
    """Factory of plugin objects whose hook returns what is given."""

    def make(offered: object) -> object:
        plugin = ModuleType("acme_plugin")
        plugin.__dict__["lesion_plugin_api"] = 1
        plugin.__dict__["lesion_register_backbones"] = hookimpl(_returns(offered))
        return plugin

    return make


def _returns(value: object) -> Callable[[], object]:
    def lesion_register_backbones() -> object:
        return value

    return lesion_register_backbones
