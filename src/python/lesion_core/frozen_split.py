"""A split in a file: which image is in which part, with a digest in the first line, so that a change is noticed.

    # lesion-split 1 sha256:6f0c…
    image,lesion_id,patient_id,diagnosis,part
    ISIC_0024306,HAM_0000550,,NV,train

pandas reads it with ``pandas.read_csv(path, skiprows=1)``.

Another data set may have the same photograph under another name: in another folder, with another ending, or as ISIC
2019 names its smaller copies, ``ISIC_0024306_downsampled``. For ``seen_in_split`` and ``keep_parts`` these are one.
"""

from __future__ import annotations

import csv
import io
import os
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from lesion_core.durable import write_whole
from lesion_core.errors import SplitError
from lesion_core.imaging import FILE_SUFFIXES
from lesion_core.records import Dataset, ImageRecord
from lesion_core.splits import (
    TEST,
    digest_of_rows,
    groups_of,
    parts_digest,
    require_disjoint,
    require_distinct,
    rows_of,
)

PARTS_HEADER = ("image", "lesion_id", "patient_id", "diagnosis", "part")
_FIRST_LINE = "# lesion-split 1 sha256:"
_ARCHIVE_ID = re.compile(r"ISIC_\d{7}")
_SMALLER_COPY = "_downsampled"


def write_parts(parts: Mapping[str, Sequence[ImageRecord]], path: Path) -> str:
    """Freeze which image is in which part, as CSV with a digest in the first line; returns the digest.

    Raises:
        SplitError: ``overlap``: two parts share a lesion or a patient.
    """
    require_disjoint(*parts.values())
    digest, text = parts_digest(parts), io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(PARTS_HEADER)
    table.writerows(rows_of(parts))
    write_whole(path, f"{_FIRST_LINE}{digest}\n{text.getvalue()}")
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


def parts_of_dataset(path: Path, dataset: Dataset) -> dict[str, tuple[ImageRecord, ...]]:
    """``apply_parts`` to a data set; its own test part is part ``test`` even where the split leaves it out."""
    has_test = TEST in read_parts(path).values()
    parts = apply_parts(path, (*dataset.records, *(dataset.test if has_test else ())))
    return {**({TEST: dataset.test} if dataset.test else {}), **parts}


def seen_in_split(
    path: Path, records: Iterable[ImageRecord], *, parts: Collection[str] | None = None
) -> tuple[ImageRecord, ...]:
    """Those of some records that a frozen split knows by image (or photograph), lesion or patient, in their order.

    For images of another data set than the split's: one that it knows may have been trained on.

    Args:
        path: what ``write_parts`` wrote.
        records: that are looked for.
        parts: in which of its parts; all of them where it is ``None``.
    Raises:
        SplitError: as for ``read_parts``.
    """
    everything = _read_rows(path)
    rows = [row for row in everything if parts is None or row[-1] in parts]
    images, lesions, patients = ({row[column] for row in rows} - {""} for column in range(3))
    photographs = _images_by_photograph(everything)
    return tuple(
        record
        for record in records
        if record.isic_id in images
        or not images.isdisjoint(photographs.get(_photograph(record.isic_id), ()))
        or record.lesion_id in lesions
        or record.patient_id in patients
    )


def keep_parts(
    path: Path, records: Sequence[ImageRecord]
) -> tuple[dict[str, tuple[ImageRecord, ...]], tuple[ImageRecord, ...]]:
    """Put records that a frozen split knows, by image (or photograph), lesion or patient, where it has them.

    For a data set that has grown, or shares images with another: what was held out once stays held out.

    Args:
        path: what ``write_parts`` wrote.
        records: of the new data set.
    Returns:
        The records of each part, and those that the split does not know.
    Raises:
        SplitError: ``unreadable_split``, ``altered_split``; ``overlap``: by the ids of today, images of one lesion or
            patient are in two of its parts.
    """
    rows = _read_rows(path)
    known: dict[tuple[str, str], str] = {}
    for image, lesion, patient, _, part in rows:
        known |= dict.fromkeys((("image", image), ("lesion", lesion), ("patient", patient)), part)
    photographs = _images_by_photograph(rows)
    groups = groups_of(records).tolist()
    parts_of_group: dict[int, set[str]] = {}
    for record, group in zip(records, groups, strict=True):
        image = record.isic_id
        same = [image] if ("image", image) in known else photographs.get(_photograph(image), ())
        names = [("lesion", record.lesion_id), ("patient", record.patient_id or ""), *(("image", i) for i in same)]
        found = {known[name] for name in names if name[1] and name in known}
        parts_of_group.setdefault(group, set()).update(found)
    split_up = sorted(
        record.isic_id for record, group in zip(records, groups, strict=True) if len(parts_of_group[group]) > 1
    )
    if split_up:
        raise SplitError(
            f"{len(split_up)} images belong together by lesion or patient, but {path} has some of them in one part and "
            f"some in another, for example {', '.join(split_up[:3])}. Mend the ids, or make a split without --keep.",
            code="overlap",
        )
    parts: dict[str, list[ImageRecord]] = {}
    rest: list[ImageRecord] = []
    for record, group in zip(records, groups, strict=True):
        mine = next(iter(parts_of_group[group]), None)
        (rest if mine is None else parts.setdefault(mine, [])).append(record)
    return {part: tuple(members) for part, members in parts.items()}, tuple(rest)


def _photograph(image: str) -> str:
    """What is the same in all names of a photograph: no folder, no ending, no mark of a smaller copy."""
    name = image.rpartition("/")[2]
    stem, suffix = os.path.splitext(name)
    return (stem if suffix.lower() in FILE_SUFFIXES else name).removesuffix(_SMALLER_COPY)


def _images_by_photograph(rows: Iterable[Sequence[str]]) -> dict[str, set[str]]:
    """The images of a split that each photograph is, as far as its name tells.

    A name that several images of the split have, as ``nevus/1.jpg`` and ``melanoma/1.jpg``, does not, unless it is the
    ISIC Archive's.
    """
    found: dict[str, set[str]] = {}
    for image, *_ in rows:
        found.setdefault(_photograph(image), set()).add(image)
    return {name: images for name, images in found.items() if len(images) == 1 or _ARCHIVE_ID.fullmatch(name)}


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
    if digest_of_rows(rows) != first.removeprefix(_FIRST_LINE).strip():
        raise SplitError(
            f"{path} was altered after it was frozen: its rows do not have the digest of its first line. "
            "Take the original file, or freeze a new split.",
            code="altered_split",
        )
    for column, what in ((1, "lesions"), (2, "patients")):
        ids: dict[str, set[str]] = {}
        for row in rows:
            ids.setdefault(row[-1], set()).add(row[column])
        require_distinct(what, ids.values())
    plain = [[unicodedata.normalize("NFC", cell) for cell in row] for row in rows]  # as data sets are read
    return [(image, lesion, patient, diagnosis, part) for image, lesion, patient, diagnosis, part in plain]
