"""The label: who may use the answers for what, which model gives them, and how good it was found to be."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import lesion_serve
from lesion_core.imaging import DEFAULT_LIMITS, MEDIA_TYPES
from lesion_core.service import DiagnosisLine, Label, Limits
from lesion_core.wire import NOTICE
from lesion_serve.archive import read_archived_bundle

INTENDED_USE = (
    "Research, teaching and software development: comparing methods, studying calibration and uncertainty, building "
    "and testing programs around a classifier.",
    "One image of a single skin lesion at a time, of the kind that the model was trained on.",
)
NOT_FOR = (
    "Making, excluding or delaying a diagnosis; deciding about a biopsy, an excision or a referral; any care of "
    "patients.",
    "Self-examination, and use by lay people.",
    "Diagnoses that are not listed: the model answers with one that is, and its warning misses some of these images.",
)


@lru_cache(maxsize=8)
def label_of(archive: Path, *, digest: str, version: str, request_bytes: int, images: int, seconds: float) -> Label:
    """The label of a deployed archive, which never changes under its name.

    Args:
        archive: a ``.mar`` of ours.
        digest: of the bundle in it.
        version: the registered version.
        request_bytes: that a request may have.
        images: that a request may hold.
        seconds: that an answer may take.
    Raises:
        ArchiveError: it cannot be read, or holds another bundle.
    """
    manifest, _, card = read_archived_bundle(archive, digest=digest)
    training, taxonomy = manifest.training, manifest.taxonomy
    return Label(
        product="Lesion",
        product_version=lesion_serve.__version__,
        notice=NOTICE,
        intended_use=INTENDED_USE,
        not_for=NOT_FOR,
        model=manifest.name,
        model_version=version,
        bundle_digest=digest,
        backbone=manifest.backbone.name,
        trained_on=training.dataset,
        training_images=training.train_images,
        validation_images=training.validation_images,
        weights_license=manifest.backbone.weights_license,
        code_license=manifest.backbone.code_license,
        diagnoses=tuple(
            DiagnosisLine(
                code=one.code,
                name=one.name,
                malignancy=one.malignancy,
                is_trained=one.code in taxonomy.trained_codes,
            )
            for one in taxonomy.diagnoses
        ),
        metrics=training.metrics,
        limits=Limits(
            formats=tuple(MEDIA_TYPES.values()),
            image_bytes=DEFAULT_LIMITS.max_bytes,
            image_pixels=DEFAULT_LIMITS.max_pixels,
            request_bytes=request_bytes,
            images=images,
            seconds=seconds,
        ),
        card=card,
    )
