"""The file that is handed in to the ISIC 2019 challenge: one row an image, one probability a class."""

# N images · K trained classes

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lesion_core.taxonomy import ISIC_2019, Taxonomy
from lesion_train.evaluation.errors import EvaluationError
from lesion_train.evaluation.values import DataFacts


def require_isic_classes(taxonomy: Taxonomy) -> None:
    """Check that a model names exactly the classes of the challenge, in its order.

    Raises:
        EvaluationError: ``other_taxonomy``.
    """
    if taxonomy.codes != ISIC_2019.codes:
        raise EvaluationError(
            f"The challenge's file has the classes {', '.join(ISIC_2019.codes)}; this model names "
            f"{', '.join(taxonomy.codes)}. Leave --isic-csv out.",
            code="other_taxonomy",
        )


def write_submission(images: Sequence[str], probabilities: NDArray[np.floating], path: Path) -> None:
    """Write ``image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK``; replaced where it exists.

    Args:
        images: N names.
        probabilities: float ``(N, 9)``; written with all digits, so that no two become equal by rounding.
        path: of the CSV file.
    Source: https://challenge.isic-archive.com/landing/2019/ ; ``isic-challenge-scoring`` reads it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(["image", *ISIC_2019.codes])
        for image, row in zip(images, np.clip(probabilities, 0.0, 1.0).tolist(), strict=True):
            table.writerow([image, *row])


def images_without_row(data: DataFacts) -> str:
    """How many images of the data set the file has no row for, and why: a sentence, empty where it has them all."""
    others = (data.dataset_images or data.images + data.left_out) - data.images - data.left_out
    reasons = [
        *([f"the model's run knows {data.left_out:,}"] if data.left_out else []),
        *([f"{others:,} are not of part {data.part}"] if others else []),
    ]
    return f"{data.left_out + others:,} images of the data have no row: {', '.join(reasons)}." if reasons else ""
