"""What is in a folder of images, and what is wrong with it: the work of ``lesion-train data check``."""

# N images · D features

from __future__ import annotations

import csv
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import attrs
import numpy as np
from numpy.typing import NDArray

from lesion_core.audit import DuplicatePair, Likeness, audit_duplicates
from lesion_core.datasets import read_layout
from lesion_core.datasets.table import Reading
from lesion_core.errors import DatasetError, LesionError, SplitError
from lesion_core.frozen_split import apply_parts, read_parts
from lesion_core.records import UNNAMED_LESION, Dataset, ImageRecord
from lesion_core.scan import ImageScan, scan_images
from lesion_core.splits import TEST, TRAIN, require_disjoint
from lesion_core.taxonomy import Taxonomy
from lesion_train.image_bar import image_bar
from lesion_train.threads import prepare_threads

COSINE_BACKBONE = "efficientnet_lite0"
# For its ImageNet weights at 128 px. On 20,854 images of ISIC 2019 (benchmarks/duplicate_audit.py) it
# gives 170 pairs of one lesion and 12 of two lesion ids, 10 of these the same file. In a trial at a slightly other
# scale the 12 were looked at, and all show one lesion; of the next 13, one surely does.
MIN_COSINE = 0.97  # of no other backbone
EMBEDDED_SIDE_PX = 128
_WHAT = {
    Likeness.SAME_FILE: "the same file",
    Likeness.SAME_PIXELS: "the same pixels",
    Likeness.NEAR_HASH: "nearly the same picture",
    Likeness.NEAR_EMBEDDING: "alike to the network",
}


@attrs.frozen(kw_only=True)
class DataReport:
    """A data set with all its images scanned.

    ``parts`` holds the part of each image of ``scan``. ``problems`` are those of the tables, then of the images, those
    of bad rows included, then of the parts.
    """

    folder: Path
    dataset: Dataset
    scan: ImageScan
    parts: tuple[str, ...]
    problems: tuple[str, ...]

    def require(self) -> None:
        """Refuse a data set with problems.

        Raises:
            DatasetError: lists all of them.
        """
        if self.problems:
            raise DatasetError(self.folder, self.problems)


def cosine_threshold(backbone: str | None, given: float | None) -> float:
    """From which cosine on two embeddings of a backbone are alike.

    Raises:
        LesionError: ``no_threshold``: none is given, and none is known for this backbone.
    """
    if given is None and backbone not in (None, COSINE_BACKBONE):
        raise LesionError(
            f"From which cosine on images are duplicates is known for {COSINE_BACKBONE} only ({MIN_COSINE}), not for "
            f"{backbone!r}. Give --min-cosine; benchmarks/duplicate_audit.py shows what each one finds.",
            code="no_threshold",
        )
    return MIN_COSINE if given is None else given


def check_data(
    folder: Path, *, threads: int, taxonomy: Taxonomy | None = None, split: Path | None = None
) -> DataReport:
    """Read the tables, scan every image, and compare the parts.

    Args:
        folder: the data set.
        threads: images that are decoded at a time.
        taxonomy: one of the user's own; then the folder holds class folders.
        split: a frozen split whose parts to compare; otherwise ``train``, and ``test`` for what the source set apart.
    Raises:
        DatasetError: the folder does not exist or has no known layout; other problems are in the report.
    """
    reading = read_layout(folder, taxonomy)
    dataset = reading.dataset
    listed = (*dataset.records, *dataset.test)
    known = {record.path for record in listed}
    rejected = {record.path: record for record in (*reading.rejected, *reading.rejected_test)}
    unlisted = [record for path, record in rejected.items() if path not in known]
    with image_bar(len(listed) + len(unlisted), "scanning") as advance:
        scan = scan_images(listed, threads=threads, on_images=advance)
        others = scan_images(unlisted, threads=threads, on_images=advance)
    problems = [*reading.problems, *scan.problems, *others.problems]
    parts: dict[str, str] = {}
    try:
        parts = _parts_of(reading, split)
    except SplitError as error:
        problems.append(str(error))
    return DataReport(
        folder=folder,
        dataset=dataset,
        scan=scan,
        parts=tuple(parts.get(record.isic_id, TRAIN) for record in scan.records),
        problems=tuple(problems),
    )


def _parts_of(reading: Reading, split: Path | None) -> dict[str, str]:
    """The part of each image by its id; rows with problems count, as far as their ids tell.

    Raises:
        SplitError: the split is not for this data, or its parts share a lesion or a patient.
    """
    records = (*reading.dataset.records, *reading.rejected)
    test = (*reading.dataset.test, *reading.rejected_test)
    if split is None:
        require_disjoint(records, test)
        return {**{r.isic_id: TRAIN for r in records}, **{r.isic_id: TEST for r in test}}
    frozen = read_parts(split)
    in_test = {record.isic_id for record in test} - frozen.keys()
    if not reading.problems:
        apply_parts(split, [record for record in (*records, *test) if record.isic_id not in in_test])
    else:  # what was added or removed cannot be told before the tables are mended
        members: dict[str, list[ImageRecord]] = {}
        for record in (*records, *test):
            if record.isic_id in frozen:
                members.setdefault(frozen[record.isic_id], []).append(record)
        require_disjoint(*members.values())
    return {**frozen, **dict.fromkeys(in_test, TEST)}


def find_duplicates(
    report: DataReport, *, backbone: str | None, min_cosine: float, threads: int
) -> tuple[DuplicatePair, ...]:
    """Pairs of images that are alike though they are in two parts, or are said to show two lesions.

    Raises:
        LesionError: there is no such backbone, or too many images are alike.
    """
    embeddings = embed(report.scan.records, backbone, threads=threads) if backbone else None
    pairs = audit_duplicates(report.scan, report.parts, within_parts=True, embeddings=embeddings, min_cosine=min_cosine)
    return tuple(pair for pair in pairs if pair.is_across_parts or not pair.is_same_lesion)


def embed(records: Sequence[ImageRecord], backbone: str, *, threads: int) -> NDArray[np.float32]:
    """What a pretrained backbone says of each image: float32 ``(N, D)``, by the weights that come with it.

    Raises:
        LesionError: there is no such backbone, or it comes without weights.
    """
    prepare_threads(threads)
    import torch

    from lesion_plugins.classifier import build_classifier
    from lesion_plugins.registry import BackboneRegistry
    from lesion_train.inference import run_network
    from lesion_train.squares import SquareCache

    torch.set_num_threads(threads)
    spec = BackboneRegistry.load().get(backbone)
    network, _ = build_classifier(spec, classes=2, input_size_px=EMBEDDED_SIDE_PX, pretrained="bundled")
    preprocess = attrs.evolve(spec.preprocess, input_size_px=EMBEDDED_SIDE_PX)
    with tempfile.TemporaryDirectory(prefix="lesion-squares-") as scratch:
        squares = SquareCache(Path(scratch), records, threads=threads).squares(records, preprocess)
        return run_network(network, squares, preprocess, shown="embeddings").embeddings


def describe_data(report: DataReport) -> str:
    """Counts and digest, as lines for a terminal."""
    dataset, records = report.dataset, (*report.dataset.records, *report.dataset.test)
    lesions = len({record.lesion_id for record in records})
    unnamed = sum(record.lesion_id == f"{UNNAMED_LESION}{record.isic_id}" for record in records)
    patients = len({record.patient_id for record in records} - {None})
    layout, _, name = dataset.name.partition(":")
    lines = [
        f"{name}: read as {layout}",
        f"  images    {len(dataset.records):,}{f' and {len(dataset.test):,} for testing' if dataset.test else ''}",
        f"  lesions   {lesions:,}, patients {f'{patients:,}' if patients else 'not named'}"
        + (f"; {unnamed:,} images name no lesion and count as one each" if unnamed else ""),
        f"  classes   {_counts(dataset.class_counts.items())}",
        f"  sources   {_counts(Counter(record.source or 'not named' for record in records).most_common())}",
        f"  digest    {report.scan.digest}" + (" (of the good images)" if report.problems else ""),
    ]
    if dataset.left_out:
        left_out = Counter(dataset.left_out)
        lines.append(f"  left out  {left_out.total():,} with another diagnosis: {_counts(left_out.most_common(8))}")
    lines += [f"  note      {note}" for note in dataset.notes]
    return "\n".join(lines)


def describe_duplicates(pairs: Sequence[DuplicatePair], *, shown: int = 20) -> str:
    """Counts, and the closest pairs, as lines for a terminal."""
    across = sum(pair.is_across_parts for pair in pairs)
    conflicts = sum(pair.has_label_conflict for pair in pairs)
    lines = [
        f"Duplicates under two lesion ids or in two parts: {len(pairs)} pairs, {across} of them across parts, "
        f"{conflicts} with two diagnoses"
    ]
    counts = Counter(pair.likeness for pair in pairs)
    lines += [f"  {counts[likeness]:5} {_WHAT[likeness]}" for likeness in Likeness if counts[likeness]]
    for pair in pairs[:shown]:
        one, other = (
            f"{record.isic_id} ({record.diagnosis}, {record.lesion_id}, {part})"
            for record, part in ((pair.first, pair.first_part), (pair.second, pair.second_part))
        )
        conflict = "  TWO DIAGNOSES" if pair.has_label_conflict else ""
        lines.append(f"  - {_WHAT[pair.likeness]}: {one} and {other}{conflict}")
    if len(pairs) > shown:
        lines.append(f"  … and {len(pairs) - shown} more")
    return "\n".join(lines)


def write_duplicates(pairs: Iterable[DuplicatePair], path: Path) -> None:
    """Write all pairs as CSV."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream, lineterminator="\n")
        sides = [f"{side}_{name}" for side in ("first", "second") for name in ("image", "part", "lesion", "diagnosis")]
        table.writerow(["likeness", "hash_distance", "cosine", "label_conflict", *sides])
        for pair in pairs:
            one, other = pair.first, pair.second
            table.writerow(
                [
                    pair.likeness.value,
                    pair.hash_distance,
                    "" if pair.cosine is None else pair.cosine,
                    str(pair.has_label_conflict).lower(),
                    *(one.isic_id, pair.first_part, one.lesion_id, one.diagnosis),
                    *(other.isic_id, pair.second_part, other.lesion_id, other.diagnosis),
                ]
            )


def _counts(items: Iterable[tuple[str, int]]) -> str:
    return " · ".join(f"{name} {count:,}" for name, count in items)
