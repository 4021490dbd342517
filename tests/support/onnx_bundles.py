"""Bundles whose network runs in ONNX Runtime, as registered ones do: a worker is up in a third of the time."""

from __future__ import annotations

from pathlib import Path

import attrs
import numpy as np
import torch

from lesion_core.bundle import ONNX, Bundle, write_bundle
from lesion_core.datasets.synthetic import draw_lesion
from lesion_core.preprocess import normalise, resize_square
from lesion_core.taxonomy import ISIC_2019
from lesion_plugins.classifier import classifier_from_bundle
from lesion_plugins.onnx_network import OnnxNetwork, compare_logits, export_onnx
from lesion_plugins.registry import BackboneRegistry
from support.bundles import make_tiny_bundle


def make_onnx_bundle(folder: Path) -> Bundle:
    """The tiny bundle with its network in ONNX as well, compared on drawn images; takes some seconds longer to make."""
    plain = make_tiny_bundle(folder.with_name(f"{folder.name}-plain"))
    spec = plain.manifest.preprocess
    model = classifier_from_bundle(plain, BackboneRegistry.load())
    exported = export_onnx(model, input_size_px=spec.input_size_px)
    drawn = [resize_square(draw_lesion(code, seed=9), spec) for code in ISIC_2019.trained_codes]
    images = normalise(np.stack(drawn), spec)
    with torch.inference_mode():
        expected = model(torch.from_numpy(images)).logits.numpy()
    parity = compare_logits(OnnxNetwork(exported)(images).logits, expected)
    assert parity.holds, parity
    files = {name: plain.read(name) for name in plain.manifest.files}
    manifest = attrs.evolve(plain.manifest, files={}, onnx_parity=parity)
    return write_bundle(folder, manifest, {**files, ONNX: exported})
