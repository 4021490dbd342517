"""Build an atlas: a model looks at labelled images, some of each class. By itself, since it needs a network."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lesion_core.drift_reference import embedding_from_text, sample_by_lesion
from lesion_core.errors import ImageError
from lesion_core.imaging import decode_image
from lesion_core.records import Dataset, ImageRecord
from lesion_core.wire import DescribedPrediction
from lesion_serve.atlas import NEIGHBOURS, Atlas, AtlasError
from lesion_serve.predictor import Predictor

THUMBNAIL_PX = 224


def build_atlas(
    predictor: Predictor,
    dataset: Dataset,
    *,
    images_per_class: int,
    on_image: Callable[[int, int], None] = lambda _done, _of: None,
) -> tuple[Atlas, tuple[str, ...]]:
    """Look at some images of each class, one of each lesion at most, drawn with a fixed seed.

    Args:
        predictor: of the bundle.
        dataset: with the bundle's taxonomy.
        images_per_class: at most.
        on_image: told how many are done, and of how many.
    Returns:
        The atlas, and a line for each image that cannot be read.
    Raises:
        AtlasError: ``no_features``: the bundle has no projection; ``no_images``: none can be read.
    """
    chosen = _chosen(dataset.records, images_per_class)
    embeddings, diagnoses, thumbnails, problems = [], [], [], []
    for number, record in enumerate(chosen, start=1):
        try:
            data = record.path.read_bytes()
            answer = predictor.predict(data, features=True)
            thumbnail = _thumbnail(data)
        except (OSError, ImageError) as error:
            problems.append(f"{record.isic_id}: {error}")
            continue
        if not isinstance(answer, DescribedPrediction):
            raise AtlasError("This bundle has nothing to compare images by: train it again.", code="no_features")
        embeddings.append(embedding_from_text(answer.features.embedding_base64))
        diagnoses.append(record.diagnosis)
        thumbnails.append(thumbnail)
        on_image(number, len(chosen))
    if not embeddings:
        raise AtlasError("No image can be read: " + "; ".join(problems[:3]), code="no_images")
    seen = np.stack(embeddings)
    atlas = Atlas(
        bundle_digest=predictor.identity.bundle_digest,
        source=dataset.name,
        embeddings=seen,
        diagnoses=tuple(diagnoses),
        thumbnails=tuple(thumbnails),
        agreement=agreement(seen, diagnoses),
    )
    return atlas, tuple(problems)


def agreement(embeddings: NDArray[np.floating], diagnoses: Sequence[str], *, count: int = NEIGHBOURS) -> float:
    """Of each image's nearest others, the share with its diagnosis; mean over classes: in [0, 1]."""
    names = np.asarray(diagnoses)
    if len(names) < 2:
        return 0.0
    same = np.empty(len(names))
    for row, embedding in enumerate(embeddings):
        distances = np.linalg.norm(embeddings - embedding, axis=1)
        distances[row] = np.inf
        nearest = np.argsort(distances, kind="stable")[: min(count, len(names) - 1)]
        same[row] = (names[nearest] == names[row]).mean()
    return float(np.mean([same[names == name].mean() for name in np.unique(names)]))


def _chosen(records: Sequence[ImageRecord], images_per_class: int) -> list[ImageRecord]:
    chosen = list[ImageRecord]()
    for diagnosis in sorted({record.diagnosis for record in records}):
        of_class = [record for record in records if record.diagnosis == diagnosis]
        rows = sample_by_lesion([record.lesion_id for record in of_class], images=images_per_class)
        chosen += [of_class[row] for row in rows]
    return chosen


def _thumbnail(data: bytes) -> bytes:
    image = Image.fromarray(decode_image(data, shortest_side_px=THUMBNAIL_PX))
    image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    written = io.BytesIO()
    image.save(written, "JPEG", quality=85)
    return written.getvalue()
