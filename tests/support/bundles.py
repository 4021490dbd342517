"""A real, tiny bundle: an untrained classifier with decision parameters fitted on drawn images."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

import attrs
import numpy as np
import safetensors.numpy
import torch

from lesion_core.bundle import (
    CARD,
    REFERENCE,
    WEIGHTS,
    BackboneIdentity,
    Bundle,
    BundleManifest,
    TrainingFacts,
    write_bundle,
)
from lesion_core.datasets.synthetic import draw_lesion
from lesion_core.decision.decide import fit_decision
from lesion_core.decision.metadata import metadata_features
from lesion_core.decision.ood import LinearHead, NetworkOutput, fit_reference
from lesion_core.decision.parameters import OodDetector
from lesion_core.drift_reference import DRIFT, DriftReference, fit_projection
from lesion_core.interval import Interval
from lesion_core.preprocess import normalise, resize_square
from lesion_core.preprocess_spec import Views
from lesion_core.taxonomy import ISIC_2019
from lesion_plugins.classifier import build_classifier
from lesion_plugins.registry import BackboneRegistry
from lesion_plugins.weights import weights_to_bytes
from support.samples import FEATURES, draw_sample

SIDE_PX = 64


def make_tiny_bundle(folder: Path, *, seed: int = 0) -> Bundle:
    """Write a bundle of an EfficientNet-Lite0 with random weights for images of 64 px."""
    return write_bundle(folder, *_tiny(seed))


@functools.cache
def _tiny(seed: int) -> tuple[BundleManifest, Mapping[str, bytes]]:
    """Its manifest and its files, made once for each process of tests."""
    registry = BackboneRegistry.load()
    backbone = registry.get("efficientnet_lite0")
    torch.manual_seed(seed)
    model, origin = build_classifier(backbone, classes=8, input_size_px=SIDE_PX, pretrained="none")
    spec = attrs.evolve(backbone.preprocess, input_size_px=SIDE_PX)
    codes = [code for code in ISIC_2019.trained_codes for _ in range(4)]
    squares = np.stack([resize_square(draw_lesion(code, seed=n), spec) for n, code in enumerate(codes)])
    labels = np.array([ISIC_2019.index(code) for code in codes])
    with torch.inference_mode():
        output = model.eval()(torch.from_numpy(normalise(squares, spec)))
        head = LinearHead(weight=model.head.weight.numpy(), bias=model.head.bias.numpy())
    said = NetworkOutput(logits=output.logits.numpy(), embeddings=output.embedding.numpy())
    detector = OodDetector.MAHALANOBIS
    reference = fit_reference(detector, said, labels, head)
    lesions = np.array([f"drawn-{n}" for n in range(len(labels))])
    identity: BackboneIdentity = registry.identity("efficientnet_lite0", origin)
    manifest = BundleManifest(
        name="skin-lesion",
        backbone=identity,
        taxonomy=ISIC_2019,
        preprocess=spec,
        decision=fit_decision(said, labels, lesions, detector=detector, reference=reference, taxonomy=ISIC_2019),
        training=TrainingFacts(
            dataset="synthetic",
            data_digest="0" * 64,
            split_digest="0" * 64,
            seed=seed,
            git_revision="none",
            lock_digest="0" * 64,
            created_at="2026-01-01T00:00:00+00:00",
            train_images=32,
            validation_images=32,
            metrics={"val_bma": Interval(value=0.125, low=0.0, high=0.3)},
        ),
    )
    files = {
        WEIGHTS: weights_to_bytes(model),
        REFERENCE: safetensors.numpy.save(reference),
        CARD: b"# An untrained model, for tests",
    }
    return manifest, files


def with_metadata_branch(bundle: Bundle, folder: Path, sites: tuple[str, ...] = ("back",)) -> Bundle:
    """A bundle like another, whose network also takes age, sex and site, and says something else for each of them."""
    torch.manual_seed(0)
    model, _ = build_classifier(
        BackboneRegistry.load().get(bundle.manifest.backbone.name),
        classes=len(bundle.manifest.taxonomy.trained),
        input_size_px=bundle.manifest.preprocess.input_size_px,
        pretrained="none",
        metadata_features=metadata_features(sites),
    )
    assert model.metadata_branch is not None
    for parameter in model.metadata_branch.parameters():
        torch.nn.init.normal_(parameter)  # it starts silent
    decision = attrs.evolve(bundle.manifest.decision, temperature=1.0)
    manifest = attrs.evolve(
        bundle.manifest, decision=decision, decision_with_metadata=decision, metadata_sites=sites, files={}
    )
    files = {name: bundle.read(name) for name in bundle.manifest.files}
    return write_bundle(folder, manifest, {**files, WEIGHTS: weights_to_bytes(model)})


def with_drift(bundle: Bundle, folder: Path, *, features: int = FEATURES) -> Bundle:
    """A bundle like another that has a sample to compare with: drawn numbers, and a projection of its embeddings."""
    length = safetensors.numpy.load(bundle.read(REFERENCE))["class_means"].shape[1]
    embeddings = np.random.default_rng(0).normal(size=(4 * features, length))
    drift = DriftReference(projection=fit_projection(embeddings, features=features), sample=draw_sample(120, seed=1))
    files = {name: bundle.read(name) for name in bundle.manifest.files}
    return write_bundle(folder, attrs.evolve(bundle.manifest, files={}), {**files, DRIFT: drift.to_bytes()})


def with_views(bundle: Bundle, folder: Path, views: Views) -> Bundle:
    """A bundle like another that averages other views."""
    preprocess = attrs.evolve(bundle.manifest.preprocess, views=views)
    files = {name: bundle.read(name) for name in bundle.manifest.files}
    return write_bundle(folder, attrs.evolve(bundle.manifest, preprocess=preprocess, files={}), files)
