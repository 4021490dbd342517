"""What a model says of held-out images, one row an image: what models are compared by.

isic_id,lesion_id,unit,label,MEL,NV,…
ISIC_0024306,HAM_0000550,HAM_0000550,NV,0.012,0.951,…

Files of earlier releases have no ``unit``: it was the lesion.
"""

# N images · K trained classes

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import attrs
import numpy as np
from numpy.typing import NDArray

from lesion_core.durable import write_whole
from lesion_core.errors import LesionError
from lesion_core.records import ImageRecord
from lesion_core.splits import units_of

OUT_OF_FOLD = "out-of-fold"  # the part that all folds together are
_KEYS = ("isic_id", "lesion_id", "unit", "label")
_EARLIER_KEYS = ("isic_id", "lesion_id", "label")


@attrs.frozen(kw_only=True, eq=False)
class Predictions:
    """Calibrated probabilities of images of one part, in the order of their ids.

    Attributes:
        isic_ids: str ``(N,)``, ascending.
        lesions: str ``(N,)``.
        units: str ``(N,)``, that the bootstrap draws together: see ``lesion_core.splits.units_of``.
        labels: int64 ``(N,)``, positions in ``codes``.
        probabilities: float64 ``(N, K)``; rows sum to 1.
        codes: of the K trained classes.
    """

    isic_ids: NDArray[np.str_]
    lesions: NDArray[np.str_]
    units: NDArray[np.str_]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    codes: tuple[str, ...]

    @classmethod
    def of(
        cls, records: Sequence[ImageRecord], probabilities: NDArray[np.floating], codes: Sequence[str]
    ) -> Predictions:
        """Put records and their probabilities, float ``(N, K)``, together."""
        order = sorted(range(len(records)), key=lambda row: records[row].isic_id)
        return cls(
            isic_ids=np.array([records[row].isic_id for row in order], dtype=np.str_),
            lesions=np.array([records[row].lesion_id for row in order], dtype=np.str_),
            units=units_of([records[row] for row in order]),
            labels=np.array([codes.index(records[row].diagnosis) for row in order], dtype=np.int64),
            probabilities=np.asarray(probabilities, dtype=np.float64)[order],
            codes=tuple(codes),
        )


def write_predictions(predictions: Predictions, path: Path) -> Path:
    """Write to a CSV file, exactly: reading gives the same numbers. Atomic."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow([*_KEYS, *predictions.codes])
    keys = (predictions.isic_ids, predictions.lesions, predictions.units, predictions.labels)
    for image, lesion, unit, label, row in zip(*keys, predictions.probabilities, strict=True):
        writer.writerow([image, lesion, unit, predictions.codes[label], *(repr(float(value)) for value in row)])
    write_whole(path, table.getvalue())
    return path


def read_predictions(path: Path) -> Predictions:
    """Read what ``write_predictions`` wrote.

    Raises:
        LesionError: ``bad_predictions``: no such file, or not one of these.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            header, *rows = csv.reader(stream)
        keys = next((keys for keys in (_KEYS, _EARLIER_KEYS) if tuple(header[: len(keys)]) == keys), None)
        if keys is None or not rows:
            raise ValueError(f"its first line has to start with {','.join(_KEYS)}, and images have to follow")
        codes, columns = tuple(header[len(keys) :]), dict(zip(keys, zip(*rows, strict=True), strict=False))
        return Predictions(
            isic_ids=np.array(columns["isic_id"], dtype=np.str_),
            lesions=np.array(columns["lesion_id"], dtype=np.str_),
            units=np.array(columns.get("unit", columns["lesion_id"]), dtype=np.str_),
            labels=np.array([codes.index(label) for label in columns["label"]], dtype=np.int64),
            probabilities=np.array([row[len(keys) :] for row in rows], dtype=np.float64).reshape(-1, len(codes)),
            codes=codes,
        )
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise LesionError(f"{path} is not a file of predictions: {error}.", code="bad_predictions") from error
