"""Download from the ISIC Archive through its official program ``isic``, and read what it wrote."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import attrs

from lesion_core.data_source import NOT_STATED, DataSource, license_named
from lesion_core.datasets.csv_file import TableRow, has_columns, read_table
from lesion_core.datasets.image_files import find_images
from lesion_core.datasets.table import RawRow, Reading, note_of
from lesion_core.errors import LesionError

LAYOUT = "isic-archive"
METADATA = "metadata.csv"
COLUMNS = ("isic_id", "attribution", "copyright_license")
LICENCES = ("CC-0", "CC-BY", "CC-BY-NC")
PROGRAM = "isic"

# Terms of the archive's diagnosis hierarchy (isic-metadata 4.12) that are one of our classes, the most general of each.
CODES = {
    "Malignant melanocytic proliferations (Melanoma)": "MEL",
    "Nevus": "NV",
    "Basal cell carcinoma": "BCC",
    "Solar or actinic keratosis": "AK",
    "Lichen planus like keratosis": "BKL",
    "Pigmented benign keratosis": "BKL",
    "Seborrheic keratosis": "BKL",
    "Solar lentigo": "BKL",
    "Dermatofibroma": "DF",
    "Benign soft tissue proliferations - Vascular": "VASC",
    "Squamous cell carcinoma in situ": "SCC",
    "Squamous cell carcinoma, Invasive": "SCC",
    "Squamous cell carcinoma, NOS": "SCC",
}
_LEVELS = tuple(f"diagnosis_{level}" for level in range(1, 6))


class IsicArchiveError(LesionError):
    """The program ``isic`` is not there (``isic_missing``), was asked wrongly (``bad_query``) or failed."""

    code = "isic_failed"


def _known_licences(instance: object, attribute: attrs.Attribute[tuple[str, ...]], value: tuple[str, ...]) -> None:
    unknown = sorted(set(value) - set(LICENCES))
    if unknown:
        raise IsicArchiveError(
            f"Unknown licence {', '.join(unknown)}. Possible: {', '.join(LICENCES)}.", code="bad_query"
        )


def _plain_query(instance: object, attribute: attrs.Attribute[str], value: str) -> None:
    if set(value) & set("&#+%"):  # isic-cli 12.4 puts the query into an address as it is
        raise IsicArchiveError(f"A search cannot hold any of & # + %, got {value!r}.", code="bad_query")


@attrs.frozen(kw_only=True)
class ArchiveQuery:
    """Which images to download.

    Attributes:
        search: in the archive's query language, e.g. ``diagnosis_3:Nevus AND image_type:dermoscopic``.
        collections: numbers of collections; ``isic collection list`` lists them.
        licences: only images under these; all where empty.
        limit: at most so many images; 0 for all.
    """

    search: str = attrs.field(default="", validator=_plain_query)
    collections: tuple[int, ...] = ()
    licences: tuple[str, ...] = attrs.field(default=(), validator=_known_licences)
    limit: int = attrs.field(default=0, validator=attrs.validators.ge(0))

    @property
    def text(self) -> str:
        """The search with the licences in it: ``(search) AND (copyright_license:"CC-0" OR …)``."""
        licences = " OR ".join(f'copyright_license:"{licence}"' for licence in self.licences)
        if self.search and licences:
            return f"({self.search}) AND ({licences})"
        return self.search or licences

    @property
    def arguments(self) -> list[str]:
        """Options that ``isic image download`` and ``isic metadata download`` share."""
        given = {
            "--search": self.text,
            "--collections": ",".join(map(str, self.collections)),
            "--limit": str(self.limit) if self.limit else "",
        }
        return [f"{option}={value}" for option, value in given.items() if value]


def download(query: ArchiveQuery, folder: Path, *, metadata_only: bool = False) -> None:
    """Download images and their metadata, or the metadata alone, into a folder; its progress goes to our stderr.

    Files that are there already are not fetched again, so the same call continues a broken download. The folder then
    holds ``ISIC_*.jpg``, ``metadata.csv``, ``attribution.txt`` and ``licenses/``.

    Raises:
        IsicArchiveError: the program is not installed, or failed; it has said why.
    """
    program = find_program()
    folder.mkdir(parents=True, exist_ok=True)
    if metadata_only:
        command = ["metadata", "download", *query.arguments, f"--outfile={folder.resolve() / METADATA}"]
    else:
        command = ["image", "download", *query.arguments, str(folder.resolve())]
    # A program in an environment of its own: our import path would mix the two. No input, so that it never waits
    # for an answer (it asks before it fills the disk, or sends a report of an error to its makers).
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PEX", "PYTHON"))}
    done = subprocess.run([program, *command], env=environment, stdin=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        raise IsicArchiveError(
            f"'isic {' '.join(command[:2])}' failed with exit code {done.returncode}; see above. "
            "Files that were fetched are kept: run the same command again to continue."
        )
    if not licence_counts(folder):
        raise IsicArchiveError(
            f"The archive has no image for {query.text!r}, collections {query.collections or 'all'}."
        )


def find_program() -> str:
    """Path of ``isic``: on PATH, or beside the Python that runs us.

    Raises:
        IsicArchiveError: ``isic_missing``: says how to get it.
    """
    found = shutil.which(PROGRAM) or shutil.which(PROGRAM, path=str(Path(sys.executable).parent))
    if found is None:
        raise IsicArchiveError(
            "The ISIC Archive's program 'isic' is not installed. Get it with: pip install 'lesion-core[isic]' "
            "(or: uv tool install isic-cli)",
            code="isic_missing",
        )
    return found


def licence_counts(folder: Path) -> dict[str, int]:
    """Images by licence, as the metadata of a download says."""
    table = read_table(folder / METADATA, [], columns=COLUMNS)
    return dict(sorted(Counter(row["copyright_license"] for row in table).items()))


def is_isic_archive(folder: Path) -> bool:
    """Is a ``metadata.csv`` of the ISIC Archive here?"""
    return has_columns(folder / METADATA, COLUMNS)


def read_isic_archive(folder: Path, licences: Sequence[str] = LICENCES) -> Reading:
    """Read a folder that ``isic image download`` wrote.

    Data card:
        Content: what was asked for, of more than 500,000 public images. Diagnoses are terms of the archive's
            hierarchy, which become our classes by ``CODES``; images with another diagnosis or none are left out and
            counted in ``Dataset.left_out``. Not all images are dermoscopic: ask for ``image_type:dermoscopic``.
        Source: ``attribution`` of each image.
        Licence: ``copyright_license`` of each image: CC-0, CC-BY or CC-BY-NC. One that was not asked for is a problem.
        Files: ``metadata.csv`` and the images beside it.
        Lesions and patients: ``lesion_id`` and ``patient_id``, where the contributor gave them.
        Citation: as ``attribution.txt`` of the download says.
        Address: https://www.isic-archive.com

    Args:
        folder: the download.
        licences: those that are allowed.
    """
    problems: list[str] = []
    images = find_images([folder], problems)
    left_out: Counter[str] = Counter()
    rows, used, listed = [], [], set()
    for row in read_table(folder / METADATA, problems, columns=COLUMNS):
        name = row["isic_id"]
        listed.add(name)
        if row["copyright_license"] not in licences:
            licence = row["copyright_license"] or "no licence"
            problems.append(f"{row.where}: {name!r} is under {licence}, not {' or '.join(licences)}")
        code = next((CODES[row[level]] for level in _LEVELS if row[level] in CODES), None)
        if code is None:
            left_out[_most_specific(row)] += 1
            continue
        used.append(row)
        rows.append(
            RawRow(
                where=row.where,
                image_id=name,
                labels=(code,),
                path=images.get(name),
                expected=f"{name}.jpg (the download may have broken off: run it again)",
                lesion_id=row["lesion_id"],
                patient_id=row["patient_id"],
                age=row["age_approx"],
                sex=row["sex"],
                site=row["anatom_site_general"],
                fitzpatrick=row["fitzpatrick_skin_type"],
                source=row["attribution"] or None,
            )
        )
    notes = note_of(f"images are not listed in {METADATA}, so they are not used", images.keys() - listed)
    return Reading.of(folder, LAYOUT, rows, problems, left_out=left_out, notes=notes, source=_source_of(used))


def _source_of(rows: Iterable[TableRow]) -> DataSource:
    """What the images that are used have between them."""
    named = sorted({row["copyright_license"] for row in rows})
    return DataSource(
        name="ISIC Archive",
        images="images of the ISIC Archive, dermoscopic where the query asked for that",
        published=tuple(license_named(name) for name in named) or (NOT_STATED,),
        citations=tuple(sorted({row["attribution"] for row in rows} - {""})),
        url="https://www.isic-archive.com",
        caveats=("How a diagnosis was confirmed differs from contributor to contributor.",),
    )


def _most_specific(row: TableRow) -> str:
    return next((row[level] for level in reversed(_LEVELS) if row[level]), "no diagnosis")
