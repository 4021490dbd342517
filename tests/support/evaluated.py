"""A bundle with an evaluation as training writes it, of outputs that were drawn."""

from __future__ import annotations

from pathlib import Path

import attrs
import numpy as np
import safetensors.numpy

from lesion_core.bundle import EVALUATION, REFERENCE, Bundle, write_bundle
from lesion_core.decision.ood import NetworkOutput
from lesion_train.evaluation.choice import Choice, Role
from lesion_train.evaluation.measure import measure_outputs
from lesion_train.evaluation.values import to_json
from support.runs import CODES, images

IMAGES = 64
RESAMPLES = 50


def evaluated(bundle: Bundle, folder: Path) -> Bundle:
    """A bundle like another that holds an evaluation on images that it often knows."""
    random = np.random.default_rng(0)
    records = images(IMAGES, "test")
    labels = [CODES.index(record.diagnosis) for record in records]
    reference = safetensors.numpy.load(bundle.read(REFERENCE))
    logits = random.normal(size=(IMAGES, len(CODES))) + 2 * np.eye(len(CODES))[labels]
    embeddings = random.normal(size=(IMAGES, reference["class_means"].shape[1]))
    evaluation, _ = measure_outputs(
        NetworkOutput(logits=logits.astype(np.float32), embeddings=embeddings.astype(np.float32)),
        Choice(dataset="synthetic", records=records, part="test", role=Role.TEST, data_digest=None, split_digest=None),
        manifest=bundle.manifest,
        reference=reference,
        resamples=RESAMPLES,
    )
    text = to_json(attrs.evolve(evaluation, mistakes=(), missed=()))
    files = {name: bundle.read(name) for name in bundle.manifest.files}
    return write_bundle(folder, attrs.evolve(bundle.manifest, files={}), {**files, EVALUATION: text.encode()})
