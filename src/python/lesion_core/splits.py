"""Splits that keep together what belongs together: no lesion and no patient is in two parts.

Images are grouped by lesion and, where it is known, by patient; groups are spread so that each part has about the same
share of every class. A split is frozen to a CSV file whose first line holds a digest of it::

    # lesion-split 1 sha256:6f0c…
    image,lesion_id,patient_id,diagnosis,part
    ISIC_0024306,HAM_0000550,,NV,train

pandas reads it with ``pandas.read_csv(path, skiprows=1)``.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import attrs
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedGroupKFold

from lesion_core.errors import SplitError
from lesion_core.records import ImageRecord, labels_of
from lesion_core.taxonomy import Taxonomy

PARTS_HEADER = ("image", "lesion_id", "patient_id", "diagnosis", "part")
TRAIN, VALIDATION, TEST = "train", "validation", "test"
FOLD = "fold-"
_FIRST_LINE = "# lesion-split 1 sha256:"


@attrs.frozen(kw_only=True)
class Split:
    """Parts that share neither lesion nor patient. ``digest`` identifies which image is where."""

    train: tuple[ImageRecord, ...]
    validation: tuple[ImageRecord, ...]
    test: tuple[ImageRecord, ...] = ()

    @property
    def parts(self) -> dict[str, tuple[ImageRecord, ...]]:
        """The parts by name, as ``write_parts`` takes them; a test part only where there is one."""
        return {TRAIN: self.train, VALIDATION: self.validation, **({TEST: self.test} if self.test else {})}

    @property
    def digest(self) -> str:
        """``parts_digest`` of the parts."""
        return parts_digest(self.parts)


def split_by_lesion(
    records: Sequence[ImageRecord],
    taxonomy: Taxonomy,
    *,
    validation_fraction: float,
    test_fraction: float = 0.0,
    seed: int,
) -> Split:
    """Split into training, validation and test part, with about the same class shares in each.

    Args:
        records: the order does not matter.
        taxonomy: whose codes the records carry.
        validation_fraction: of all records, in (0, 0.5]; rounded, as one part in a whole number is held out.
        test_fraction: of all records, in [0, 0.5], rounded likewise; 0 for no test part.
        seed: chooses among equally good splits.
    Raises:
        SplitError: a trained class has too few lesions, or patients, to be in every part.
    """
    if not 0 < validation_fraction <= 0.5:
        raise SplitError(f"validation_fraction must lie in (0, 0.5], got {validation_fraction!r}.")
    rest, test = set_apart(records, taxonomy, fraction=test_fraction, seed=seed)
    folds = max(2, round((1 - test_fraction) / validation_fraction))
    return attrs.evolve(k_folds(rest, taxonomy, folds=folds, seed=seed)[0], test=test)


def set_apart(
    records: Sequence[ImageRecord], taxonomy: Taxonomy, *, fraction: float, seed: int
) -> tuple[tuple[ImageRecord, ...], tuple[ImageRecord, ...]]:
    """Set a test part apart before anything else is done: the rest, and that part.

    Args:
        records: the order does not matter.
        taxonomy: whose codes the records carry.
        fraction: in [0, 0.5]; rounded to one part in a whole number. With 0 the test part is empty.
        seed: chooses among equally good splits.
    Raises:
        SplitError: a trained class has too few lesions, or patients, to be in both.
    """
    if not 0 <= fraction <= 0.5:
        raise SplitError(f"test_fraction must lie in [0, 0.5], got {fraction!r}.")
    if fraction == 0:
        return tuple(records), ()
    split = k_folds(records, taxonomy, folds=max(2, round(1 / fraction)), seed=seed)[0]
    return split.train, split.validation


def k_folds(records: Sequence[ImageRecord], taxonomy: Taxonomy, *, folds: int, seed: int) -> tuple[Split, ...]:
    """Split ``folds`` times, so that each image is validated once.

    Args:
        records: the order does not matter.
        taxonomy: whose codes the records carry.
        folds: at least 2.
        seed: chooses among equally good splits.
    Raises:
        SplitError: a class has fewer groups (lesions of different patients) than there are folds.
    """
    if folds < 2:
        raise SplitError(f"folds must be at least 2, got {folds}.")
    ordered = sorted(records, key=lambda record: record.isic_id)
    groups = groups_of(ordered)
    _require_groups(ordered, groups, folds)
    labels = labels_of(ordered, taxonomy)
    folding = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    splits = tuple(
        Split(train=tuple(ordered[row] for row in train), validation=tuple(ordered[row] for row in validation))
        for train, validation in folding.split(labels, labels, groups=groups)
    )
    for split in splits:
        require_disjoint(split.train, split.validation)
    return splits


def folds_as_parts(splits: Sequence[Split]) -> dict[str, tuple[ImageRecord, ...]]:
    """The validation parts of k folds by name: ``fold-1``, ``fold-2`` …"""
    return {f"{FOLD}{number}": split.validation for number, split in enumerate(splits, start=1)}


def groups_of(records: Sequence[ImageRecord]) -> NDArray[np.int64]:
    """Which images belong together: int64 ``(N,)``, equal for images of one lesion or one patient.

    They are connected components: two lesions of one patient are one group, and so are two patients between whom the
    source shares a lesion.
    """
    nodes: dict[tuple[str, str], int] = {}
    edges: set[tuple[int, int]] = set()
    lesions: list[int] = []
    for record in records:
        lesion = nodes.setdefault(("lesion", record.lesion_id), len(nodes))
        lesions.append(lesion)
        if record.patient_id is not None:
            edges.add((lesion, nodes.setdefault(("patient", record.patient_id), len(nodes))))
    ends = np.array(sorted(edges), dtype=np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(len(nodes), len(nodes)))
    _, component = connected_components(graph, directed=False)
    return np.asarray(component, dtype=np.int64)[np.array(lesions, dtype=np.int64)]


def require_disjoint(*parts: Sequence[ImageRecord]) -> None:
    """Check that no lesion and no patient has images in two parts.

    Raises:
        SplitError: ``overlap``: names some of them.
    """
    _require_distinct("lesions", [{record.lesion_id for record in part} for part in parts])
    _require_distinct("patients", [{record.patient_id or "" for record in part} for part in parts])


def parts_digest(parts: Mapping[str, Sequence[ImageRecord]]) -> str:
    """sha256 over the rows of the frozen file; the order of images and parts does not matter."""
    return _digest_of_rows(_rows(parts))


def write_parts(parts: Mapping[str, Sequence[ImageRecord]], path: Path) -> str:
    """Freeze which image is in which part, as CSV with a digest in the first line; returns the digest.

    Raises:
        SplitError: ``overlap``: two parts share a lesion or a patient.
    """
    require_disjoint(*parts.values())
    digest = parts_digest(parts)
    with path.open("w", newline="", encoding="utf-8") as stream:
        stream.write(f"{_FIRST_LINE}{digest}\n")
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(PARTS_HEADER)
        table.writerows(_rows(parts))
    return digest


def read_parts(path: Path) -> dict[str, str]:
    """Read what ``write_parts`` wrote: the part of each image, by its id.

    Raises:
        SplitError: ``unreadable_split``, ``altered_split``: no such file, or not the one that was written;
            ``overlap``: its parts share a lesion or a patient.
    """
    return {image: part for image, _, _, _, part in _read_rows(path)}


def apply_parts(path: Path, records: Iterable[ImageRecord]) -> dict[str, tuple[ImageRecord, ...]]:
    """Put records into the parts of a frozen split.

    Args:
        path: what ``write_parts`` wrote.
        records: those of the data set, its test part included where the split has one.
    Returns:
        The records of each part, in the order of their ids.
    Raises:
        SplitError: ``unreadable_split``, ``altered_split``; ``other_data``: images were added, removed or labelled
            anew since; ``overlap``: parts share a lesion or a patient, by the ids of today.
    """
    frozen = {image: (diagnosis, part) for image, _, _, diagnosis, part in _read_rows(path)}
    today = {record.isic_id: record for record in records}
    changes = {
        "added since": sorted(today.keys() - frozen.keys()),
        "removed since": sorted(frozen.keys() - today.keys()),
        "with another diagnosis": sorted(
            image for image in frozen.keys() & today.keys() if frozen[image][0] != today[image].diagnosis
        ),
    }
    if any(changes.values()):
        listed = "; ".join(
            f"{len(images)} {change} ({', '.join(images[:3])}{', …' if len(images) > 3 else ''})"
            for change, images in changes.items()
            if images
        )
        raise SplitError(
            f"{path} was frozen for other data: images {listed}. Use that data, or freeze a new split.",
            code="other_data",
        )
    parts: dict[str, list[ImageRecord]] = {}
    for image in sorted(today):
        parts.setdefault(frozen[image][1], []).append(today[image])
    require_disjoint(*parts.values())
    return {part: tuple(members) for part, members in parts.items()}


def seen_in_split(path: Path, records: Iterable[ImageRecord]) -> tuple[ImageRecord, ...]:
    """Those of some records that a frozen split knows by image, lesion or patient, in their order.

    For images of another data set than the split's: one that it knows may have been trained on.

    Raises:
        SplitError: as for ``read_parts``.
    """
    rows = _read_rows(path)
    images, lesions, patients = ({row[column] for row in rows} - {""} for column in range(3))
    return tuple(
        record
        for record in records
        if record.isic_id in images or record.lesion_id in lesions or record.patient_id in patients
    )


def _rows(parts: Mapping[str, Sequence[ImageRecord]]) -> list[tuple[str, ...]]:
    return [
        (record.isic_id, record.lesion_id, record.patient_id or "", record.diagnosis, part)
        for part, records in parts.items()
        for record in records
    ]


def _digest_of_rows(rows: Iterable[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(sorted(map(tuple, rows)))
    return hashlib.sha256(text.getvalue().encode()).hexdigest()


def _read_rows(path: Path) -> list[tuple[str, str, str, str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            first, header, *rows = [stream.readline(), *csv.reader(stream)]
    except (OSError, UnicodeDecodeError, ValueError, csv.Error) as error:
        raise SplitError(f"{path} is not a frozen split ({error}).", code="unreadable_split") from error
    if not isinstance(first, str) or not first.startswith(_FIRST_LINE) or tuple(header) != PARTS_HEADER:
        raise SplitError(
            f"{path} is not a frozen split: it does not begin with '{_FIRST_LINE}…' and the columns "
            f"{', '.join(PARTS_HEADER)}. Make one with 'lesion-train data split'.",
            code="unreadable_split",
        )
    if _digest_of_rows(rows) != first.removeprefix(_FIRST_LINE).strip():
        raise SplitError(
            f"{path} was altered after it was frozen: its rows do not have the digest of its first line. "
            "Take the original file, or freeze a new split.",
            code="altered_split",
        )
    for column, what in ((1, "lesions"), (2, "patients")):
        ids: dict[str, set[str]] = {}
        for row in rows:
            ids.setdefault(row[-1], set()).add(row[column])
        _require_distinct(what, ids.values())
    return [(image, lesion, patient, diagnosis, part) for image, lesion, patient, diagnosis, part in rows]


def _require_distinct(what: str, ids_of_parts: Iterable[set[str]]) -> None:
    """Check that an id is in one part only; a blank one is no id."""
    seen: set[str] = set()
    shared: set[str] = set()
    for ids in ids_of_parts:
        shared |= seen & ids
        seen |= ids - {""}
    if shared:
        raise SplitError(
            f"{len(shared)} {what} have images in more than one part, for example {', '.join(sorted(shared)[:3])}. "
            "A score on such a split would be too good: make the split anew.",
            code="overlap",
        )


def _require_groups(records: Sequence[ImageRecord], groups: NDArray[np.int64], parts: int) -> None:
    found: dict[str, set[int]] = {}
    for record, group in zip(records, groups.tolist(), strict=True):
        found.setdefault(record.diagnosis, set()).add(group)
    rare = {code: len(ids) for code, ids in found.items() if len(ids) < 2}
    if rare or not found:
        named = ", ".join(f"{code} has {count}" for code, count in sorted(rare.items())) or "there is no image"
        raise SplitError(f"Each class needs images of at least 2 lesions (of different patients) to be split: {named}.")
    fewest = min(found, key=lambda code: len(found[code]))
    if len(found[fewest]) < parts:
        raise SplitError(
            f"Class {fewest} has images of {len(found[fewest])} lesions (of different patients); {parts} parts need at "
            f"least {parts}. Add images, ask for fewer folds or for larger validation and test fractions, or for no "
            "test part (--test-fraction 0)."
        )
