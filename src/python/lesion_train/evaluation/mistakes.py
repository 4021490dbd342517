"""The wrong answers that a person should look at, and their thumbnails."""

# N images · P side of the stored squares

from __future__ import annotations

import base64
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from lesion_core.bundle import BundleManifest
from lesion_core.decision.triage import MALIGNANT
from lesion_train.evaluation.decisions import target_of
from lesion_train.evaluation.part import AnsweredPart
from lesion_train.evaluation.values import Mistake
from lesion_train.squares import Squares

SHOWN = 24
THUMBNAIL_PX = 160
THUMBNAIL_QUALITY = 85


def confident_mistakes(part: AnsweredPart, manifest: BundleManifest, *, shown: int = SHOWN) -> tuple[Mistake, ...]:
    """The wrong answers with the highest probability first, one a lesion."""
    known = part.of_trained_classes()
    predicted = known.probabilities.argmax(axis=1)
    order = np.argsort(-known.probabilities.max(axis=1), kind="stable")
    return _mistakes(known, order[predicted[order] != known.labels[order]], manifest, shown)


def missed_malignant(part: AnsweredPart, manifest: BundleManifest, *, shown: int = SHOWN) -> tuple[Mistake, ...]:
    """Malignant images below the operating point, which is the low triage band: of lowest risk first, one a lesion."""
    known = part.of_trained_classes()
    point = manifest.decision.operating_point(MALIGNANT)
    if point is None:
        return ()
    risk = known.decisions.risk
    is_missed = target_of(known, MALIGNANT, manifest.taxonomy) & (risk < point.threshold.value)
    order = np.argsort(risk, kind="stable")
    return _mistakes(known, order[is_missed[order]], manifest, shown)


def thumbnails(squares: Squares, images: Sequence[str], mistakes: Sequence[Mistake]) -> dict[str, str]:
    """Small JPEG pictures as data URIs, by the name of the image.

    Args:
        squares: uint8 ``(N, P, P, 3)``.
        images: the N names.
        mistakes: whose pictures are wanted.
    """
    row_of = {image: row for row, image in enumerate(images)}
    return {mistake.image: _data_uri(squares[np.array([row_of[mistake.image]])][0]) for mistake in mistakes}


def _mistakes(
    known: AnsweredPart, rows: NDArray[np.integer], manifest: BundleManifest, shown: int
) -> tuple[Mistake, ...]:
    codes = manifest.taxonomy.trained_codes
    first_of_lesion: dict[str, int] = {}
    for row in rows.tolist():
        first_of_lesion.setdefault(known.lesions[row], row)
    return tuple(
        Mistake(
            image=known.records[row].isic_id,
            true=codes[known.labels[row]],
            predicted=codes[int(known.probabilities[row].argmax())],
            probability=float(known.probabilities[row].max()),
            true_probability=float(known.probabilities[row, known.labels[row]]),
            risk=float(known.decisions.risk[row]),
        )
        for row in list(first_of_lesion.values())[:shown]
    )


def _data_uri(square: NDArray[np.uint8]) -> str:
    side = min(THUMBNAIL_PX, square.shape[0])
    small = cv2.resize(square, (side, side), interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, THUMBNAIL_QUALITY])
    return f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}"
