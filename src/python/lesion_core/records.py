"""One record an image: what every reader of a data set returns, and a digest of it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs
import numpy as np
from numpy.typing import NDArray

from lesion_core.data_source import UNSTATED, DataSource
from lesion_core.taxonomy import Taxonomy

UNNAMED_LESION = "image:"
"""Before the id of an image, this is the id of its lesion where the source names none."""


@attrs.frozen(kw_only=True)
class ImageRecord:
    """One labelled image. What the source leaves blank is ``None``.

    Attributes:
        isic_id: unique in the data set; the ISIC Archive's id where there is one.
        path: the image file.
        diagnosis: code of a class of the taxonomy.
        lesion_id: groups the images of one lesion; a lesion that the source does not name is a lesion of its own.
        patient_id: groups the lesions of one patient.
        age_approx: years, 0 to 120.
        sex: ``male`` or ``female``.
        anatom_site_general: one of ``lesion_core.datasets.cells.ANATOMICAL_SITES``.
        fitzpatrick: skin type after Fitzpatrick, 1 to 6.
        source: the collection that the image comes from, for results by source.
        listed_at: the file and row that list the image, for messages about it.
    """

    isic_id: str
    path: Path
    diagnosis: str
    lesion_id: str
    patient_id: str | None = None
    age_approx: float | None = None
    sex: str | None = None
    anatom_site_general: str | None = None
    fitzpatrick: int | None = None
    source: str | None = None
    listed_at: str = attrs.field(default="", eq=False)


@attrs.frozen(kw_only=True)
class Dataset:
    """Records in the order of their ids, with the taxonomy that their ``diagnosis`` codes belong to.

    ``test`` holds the images that the source itself sets apart for testing; they are never used for fitting,
    selection or calibration. ``left_out`` counts images whose diagnosis is none of the taxonomy's, by diagnosis: only
    a reader of an archive of everything leaves images out. ``notes`` says what is in the folder and not in the records,
    and what the tables do not tell: no problem, but perhaps not what was meant. ``source`` says where the images come
    from, under which licence.
    """

    name: str
    taxonomy: Taxonomy
    records: tuple[ImageRecord, ...]
    test: tuple[ImageRecord, ...] = ()
    left_out: Mapping[str, int] = attrs.field(factory=dict)
    notes: tuple[str, ...] = ()
    source: DataSource = UNSTATED

    @property
    def class_counts(self) -> dict[str, int]:
        """Images of each trained class, in the order of the taxonomy."""
        counts = Counter(record.diagnosis for record in self.records)
        return {code: counts[code] for code in self.taxonomy.trained_codes}


def labels_of(records: Sequence[ImageRecord], taxonomy: Taxonomy) -> NDArray[np.int64]:
    """Class index of each record: int64 ``(N,)``, positions in ``taxonomy.codes``."""
    position = {code: index for index, code in enumerate(taxonomy.codes)}
    return np.asarray([position[record.diagnosis] for record in records], dtype=np.int64)


def lesions_of(records: Sequence[ImageRecord]) -> NDArray[np.str_]:
    """Lesion of each record: str ``(N,)``."""
    return np.asarray([record.lesion_id for record in records], dtype=np.str_)


def data_digest(records: Sequence[ImageRecord], contents: Sequence[str] | None = None) -> str:
    """sha256 over ids, labels, lesions and file contents; the order of the records and their folder do not matter.

    Args:
        records: the images.
        contents: sha256 of each record's file in hexadecimal, where they are known already (``scan_images`` gives
            them); otherwise every file is read.
    """
    if contents is None:
        contents = [_content_of(record.path) for record in records]
    lines = [
        f"{record.isic_id}\t{record.diagnosis}\t{record.lesion_id}\t{content}"
        for record, content in zip(records, contents, strict=True)
    ]
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def _content_of(path: Path) -> str:
    """sha256 of a file, however large, without holding it in memory."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
