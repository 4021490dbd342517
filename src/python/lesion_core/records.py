"""One record an image: what every reader of a data set returns, and a digest of it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import attrs
import numpy as np
from numpy.typing import NDArray

from lesion_core.taxonomy import Taxonomy


@attrs.frozen(kw_only=True)
class ImageRecord:
    """One labelled image.

    ``lesion_id`` groups the images of one lesion; a lesion that the source does not name is a lesion of its own.
    ``age_approx`` is in years, ``None`` where the source leaves it blank, as are the other optional fields.
    """

    isic_id: str
    path: Path
    diagnosis: str
    lesion_id: str
    age_approx: float | None = None
    sex: str | None = None
    anatom_site_general: str | None = None


@attrs.frozen(kw_only=True)
class Dataset:
    """Records in the order of their ids, with the taxonomy that their ``diagnosis`` codes belong to.

    ``test`` holds the images that the source itself sets apart for testing; they are never used for fitting,
    selection or calibration.
    """

    name: str
    taxonomy: Taxonomy
    records: tuple[ImageRecord, ...]
    test: tuple[ImageRecord, ...] = ()

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


def data_digest(records: Sequence[ImageRecord]) -> str:
    """sha256 over ids, labels, lesions and file contents; the order of the records and their folder do not matter."""
    lines = []
    for record in records:
        content = hashlib.sha256(record.path.read_bytes()).hexdigest()
        lines.append(f"{record.isic_id}\t{record.diagnosis}\t{record.lesion_id}\t{content}")
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()
