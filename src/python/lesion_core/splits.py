"""Splits that keep together what belongs together: no lesion and no patient is in two parts.

Images are grouped by lesion and, where it is known, by patient; groups are spread so that each part has about the same
share of every class. ``frozen_split`` keeps a split in a file.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence

import attrs
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from lesion_core.errors import SplitError
from lesion_core.records import ImageRecord, labels_of, lesions_of
from lesion_core.taxonomy import Taxonomy

TRAIN, VALIDATION, TEST = "train", "validation", "test"
FOLD = "fold-"


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
    folds = _folds_without_test(validation_fraction, test_fraction)
    try:
        return attrs.evolve(k_folds(rest, taxonomy, folds=folds, seed=seed)[0], test=test)
    except SplitError as error:
        if not test:
            raise
        raise SplitError(f"{error} Those of the test part, which is apart by now, are not counted.") from error


def split_newcomers(
    records: Sequence[ImageRecord],
    taxonomy: Taxonomy,
    *,
    validation_fraction: float,
    test_fraction: float = 0.0,
    seed: int,
) -> Split:
    """``split_by_lesion`` of what came to a data set that is split already, however little it is.

    Classes of which too few lesions came to be in every part are trained on, since the parts that are there hold them.
    Arguments and errors are those of ``split_by_lesion``.
    """
    needed = 1 + max(_folds_without_test(validation_fraction, test_fraction), _folds_of(test_fraction))
    left, trained = list(records), list[ImageRecord]()
    while rare := {code for code, groups in _groups_by_class(left).items() if len(groups) < needed}:
        groups = groups_of(left).tolist()
        with_rare = {group for group, record in zip(groups, left, strict=True) if record.diagnosis in rare}
        trained += [record for group, record in zip(groups, left, strict=True) if group in with_rare]
        left = [record for group, record in zip(groups, left, strict=True) if group not in with_rare]
    if not left:
        return Split(train=tuple(trained), validation=())
    split = split_by_lesion(
        left, taxonomy, validation_fraction=validation_fraction, test_fraction=test_fraction, seed=seed
    )
    return attrs.evolve(split, train=(*split.train, *trained))


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
    split = k_folds(records, taxonomy, folds=_folds_of(fraction), seed=seed)[0]
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
    from sklearn.model_selection import StratifiedGroupKFold  # here: it takes seconds, and who reads a split needs none

    if folds < 2:
        raise SplitError(f"folds must be at least 2, got {folds}.")
    ordered = sorted(records, key=lambda record: record.isic_id)
    groups = groups_of(ordered)
    _require_groups(ordered, folds)
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


def units_of(records: Sequence[ImageRecord]) -> NDArray[np.str_]:
    """What a bootstrap draws together: str ``(N,)``, the lesion, and where patients are named, all of a patient's.

    A patient's group has the name of the first of its lesions.
    """
    lesions = lesions_of(records)
    if all(record.patient_id is None for record in records):
        return lesions
    _, first, group = np.unique(groups_of(records), return_index=True, return_inverse=True)
    return lesions[first][group]


def require_disjoint(*parts: Sequence[ImageRecord]) -> None:
    """Check that no lesion and no patient has images in two parts.

    Raises:
        SplitError: ``overlap``: names some of them.
    """
    require_distinct("lesions", [{record.lesion_id for record in part} for part in parts])
    require_distinct("patients", [{record.patient_id or "" for record in part} for part in parts])


def parts_digest(parts: Mapping[str, Sequence[ImageRecord]]) -> str:
    """sha256 over the rows of the frozen file; the order of images and parts does not matter."""
    return digest_of_rows(rows_of(parts))


def rows_of(parts: Mapping[str, Sequence[ImageRecord]]) -> list[tuple[str, ...]]:
    """What identifies a split: image, lesion, patient (or ``""``), diagnosis and part of each record."""
    return [
        (record.isic_id, record.lesion_id, record.patient_id or "", record.diagnosis, part)
        for part, records in parts.items()
        for record in records
    ]


def digest_of_rows(rows: Iterable[Sequence[str]]) -> str:
    """sha256 over rows, whose order does not matter."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(sorted(map(tuple, rows)))
    return hashlib.sha256(text.getvalue().encode()).hexdigest()


def require_distinct(what: str, ids_of_parts: Iterable[set[str]]) -> None:
    """Check that an id is in one part only; a blank one is no id.

    Raises:
        SplitError: ``overlap``: names some of them.
    """
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


def _folds_of(fraction: float) -> int:
    """Of how many equal parts one is about this share; 0 for none."""
    return max(2, round(1 / fraction)) if fraction else 0


def _folds_without_test(validation_fraction: float, test_fraction: float) -> int:
    return max(2, round((1 - test_fraction) / validation_fraction))


def _groups_by_class(records: Sequence[ImageRecord]) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for record, group in zip(records, groups_of(records).tolist(), strict=True):
        found.setdefault(record.diagnosis, set()).add(group)
    return found


def _require_groups(records: Sequence[ImageRecord], parts: int) -> None:
    found = _groups_by_class(records)
    rare = {code: len(ids) for code, ids in found.items() if len(ids) < 2}
    if rare or not found:
        named = ", ".join(f"{code} has {count}" for code, count in sorted(rare.items())) or "there is no image"
        raise SplitError(f"Each class needs images of at least 2 lesions (of different patients) to be split: {named}.")
    fewest = min(found, key=lambda code: len(found[code]))
    if len(found[fewest]) < parts:
        raise SplitError(
            f"Class {fewest} has images of {len(found[fewest])} lesions (of different patients); to hold out one part "
            f"in {parts}, at least {parts} are needed. Add images, or ask for fewer folds, for larger shares "
            "(--test-fraction, --validation-fraction), or for no test part (--test-fraction 0)."
        )
