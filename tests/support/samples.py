"""Samples for tests of drift: drawn numbers in place of what networks and photographs give."""

from __future__ import annotations

import attrs
import numpy as np

from lesion_core.drift_reference import DriftSample
from lesion_core.quality_measures import QualityMeasures

FEATURES = 8


def draw_sample(images: int, *, seed: int, shift: float = 0.0, classes: int = 9) -> DriftSample:
    """Independent images. ``shift`` moves the embeddings' first feature by so many standard deviations."""
    random = np.random.default_rng(seed)
    embeddings = random.normal(size=(images, FEATURES))
    embeddings[:, 0] += shift
    logits = 2 * random.normal(size=(images, classes))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    quality = {field.name: random.random(images).astype(np.float32) for field in attrs.fields(QualityMeasures)}
    return DriftSample(
        embeddings=embeddings.astype(np.float32),
        probabilities=probabilities.astype(np.float32),
        strangeness=random.normal(size=images).astype(np.float32),
        quality=quality,
    )
