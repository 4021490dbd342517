"""Readers of the ISIC challenges' layouts: 2019, and task 3 of 2018."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import attrs

from lesion_core.data_source import DRAWN, NOT_STATED, UNSTATED, DataSource, license_named
from lesion_core.datasets import ham10000
from lesion_core.datasets.csv_file import TableRow, index_rows, read_table
from lesion_core.datasets.image_files import find_images
from lesion_core.datasets.table import RawRow, Reading, note_of
from lesion_core.taxonomy import ISIC_2019

LAYOUT = "isic-2019"
GROUND_TRUTH = "ISIC_2019_Training_GroundTruth.csv"
METADATA = "ISIC_2019_Training_Metadata.csv"
IMAGES = "ISIC_2019_Training_Input"
GROUND_TRUTH_TEST = "ISIC_2019_Test_GroundTruth.csv"
METADATA_TEST = "ISIC_2019_Test_Metadata.csv"
IMAGES_TEST = "ISIC_2019_Test_Input"
_TRAINING = (GROUND_TRUTH, METADATA, IMAGES)
_TEST = (GROUND_TRUTH_TEST, METADATA_TEST, IMAGES_TEST)
_DESCRIBING = ("age_approx", "sex", "anatom_site_general")
_WEIGHTS = ("score_weight", "validation_weight")  # of the challenge's own scoring, in its test ground truth
SOURCE = DataSource(
    name="ISIC 2019",
    images="dermoscopic images",
    published=(license_named("CC BY-NC 4.0"),),
    citations=(
        "HAM10000: Tschandl et al. 2018, doi:10.1038/sdata.2018.161",
        "BCN_20000: Combalia et al. 2019, arXiv:1908.02288",
        "MSK: Codella et al. 2017, arXiv:1710.05006",
    ),
    url="https://challenge.isic-archive.com/data/#2019",
    caveats=(
        "Its patients were seen in few clinics, most of them in Vienna, Queensland and Barcelona, and most have light "
        "skin.",
        "Not every diagnosis was confirmed by histopathology.",
    ),
)

LAYOUT_2018 = "isic-2018"
GROUND_TRUTH_2018 = "ISIC2018_Task3_Training_GroundTruth.csv"
GROUPINGS_2018 = "ISIC2018_Task3_Training_LesionGroupings.csv"
IMAGES_2018 = "ISIC2018_Task3_Training_Input"
SOURCE_2018 = DataSource(
    name="ISIC 2018, task 3",
    images="dermoscopic images",
    published=(license_named("CC BY-NC 4.0"),),
    citations=("Codella et al. 2019, arXiv:1902.03368", "Tschandl et al. 2018, doi:10.1038/sdata.2018.161"),
    url="https://challenge.isic-archive.com/data/#2018",
    caveats=ham10000.SOURCE.caveats,  # the same images
)
CODES_2018 = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")

DRAWN_PREFIX = "SYNTHETIC_"  # of the ids of drawn images, which come in the layout of 2019
_ARCHIVE_ID = re.compile(r"ISIC_\d{7}(_downsampled)?")
_SOURCE_OF_LESION = {"HAM": "HAM10000", "BCN": "BCN_20000", "MSK": "MSK"}


def is_isic_2019(folder: Path) -> bool:
    """Is a ground truth of ISIC 2019 here, of the training or of the test images?"""
    return (folder / GROUND_TRUTH).is_file() or (folder / GROUND_TRUTH_TEST).is_file()


def read_isic_2019(folder: Path) -> Reading:
    """Read a folder in the layout of the official ISIC 2019 training download, or of its test download.

    Data card:
        Content: 25,331 dermoscopic images of 8 diagnoses (MEL, NV, BCC, AK, BKL, DF, VASC, SCC).
        Sources: HAM10000 (ViDIR Group, Medical University of Vienna, doi:10.1038/sdata.2018.161), BCN_20000
            (Hospital Clínic de Barcelona, arXiv:1908.02288), MSK (arXiv:1710.05006). ``source`` names one of the
            three where the lesion's id does; images without a lesion id have none.
        Licence: CC BY-NC 4.0. Images of one's own may come in this layout too: theirs is not stated.
        Files: ``ISIC_2019_Training_Input/*.jpg``, the ground truth (one-hot) and the metadata as CSV. Without these,
            ``ISIC_2019_Test_Input/*.jpg`` and its tables: 8,238 images, 2,047 of them UNK, which are no lesion of a
            trained class; no lesion ids. Beside the training download, that of the test is left alone, and a note says
            so. Each image counts once: the weights in the test ground truth are not used, as a note says too.
        Lesions: ``lesion_id`` groups the images of a lesion; a blank one makes a lesion of its own. Patients are
            not named; a column ``patient_id`` of one's own in the metadata is read. Some lesions have two ids:
            ``lesion-train data check`` finds their images.
        Citation: the three papers above.
        Address: https://challenge.isic-archive.com/data/#2019

    The metadata file may be missing: then each image is a lesion of its own, and a note says so. One that is there has
    to have the column ``lesion_id``, blank where no lesion is known: without it images of one lesion would be parted.
    """
    problems: list[str] = []
    is_training = (folder / GROUND_TRUTH).is_file()
    truth_name, metadata_name, images_name = _TRAINING if is_training else _TEST
    truth = read_table(folder / truth_name, problems, columns=("image", *ISIC_2019.trained_codes))
    described: Mapping[str, TableRow] = {}
    if (folder / metadata_name).exists():
        wanted = ("image", "lesion_id") if is_training else ("image",)
        described = index_rows(read_table(folder / metadata_name, problems, columns=wanted), "image", problems)
    images = find_images([folder / images_name], problems)
    has_images = _has_folder(folder, images_name, problems)
    rows = []
    for row in truth:
        name = row["image"]
        facts = described.get(name, TableRow(where=row.where, cells={}))
        rows.append(
            RawRow(
                where=row.where,
                image_id=name,
                labels=_marked(row, ISIC_2019.codes, problems),
                path=images.get(name),
                expected=f"{images_name}/{name}.jpg" if has_images else "",
                lesion_id=facts["lesion_id"],
                patient_id=facts["patient_id"],
                age=facts["age_approx"],
                sex=facts["sex"],
                site=facts["anatom_site_general"],
                source=_SOURCE_OF_LESION.get(facts["lesion_id"][:3]),
                described_at=facts.where,
            )
        )
    notes = [
        *_unlisted(images, rows, truth_name),
        *_lesion_notes(described, rows, metadata_name, problems),
        *(
            f"{metadata_name} has no column {name}"
            for name in (*(() if is_training else ("lesion_id",)), *_DESCRIBING)
            if described and name not in _columns(described)
        ),
        *_weight_notes(truth, truth_name),
        *_other_download(folder, is_training=is_training),
    ]
    return Reading.of(folder, LAYOUT, rows, problems, notes=notes, source=_source_of(rows, SOURCE))


def _weight_notes(truth: Sequence[TableRow], table: str) -> tuple[str, ...]:
    columns = [name for name in _WEIGHTS if truth and name in truth[0].cells]
    unequal = {name: sum(row[name] not in ("1", "1.0") for row in truth) for name in columns}
    return tuple(
        f"{table} has a column {name}, which is not used: each image counts once"
        + (f", also the {count:,} whose weight is not 1" if count else "")
        for name, count in unequal.items()
    )


def _other_download(folder: Path, *, is_training: bool) -> tuple[str, ...]:
    """A note where files of the download lie here that is not read."""
    (used, other), names = (("training", "test"), _TEST) if is_training else (("test", "training"), _TRAINING)
    found = [name for name in names if (folder / name).exists()]
    if not found:
        return ()
    return (
        f"this is read as the {used} download of ISIC 2019, so what is here of its {other} download is not used: "
        f"{', '.join(found)}. Keep the two in folders of their own",
    )


def is_isic_2018(folder: Path) -> bool:
    """Is the training part of ISIC 2018, task 3, here?"""
    return _below(folder, GROUND_TRUTH_2018).is_file()


def read_isic_2018(folder: Path) -> Reading:
    """Read a folder in the layout of the official ISIC 2018 training download for task 3.

    Data card:
        Content: 10,015 dermoscopic images of 7 diagnoses (MEL, NV, BCC, AKIEC, BKL, DF, VASC): those of HAM10000.
            AKIEC, actinic keratosis and intraepithelial carcinoma, is AK here, as in ISIC 2019.
        Source: ViDIR Group, Medical University of Vienna; Dr Cliff Rosendahl, Queensland.
        Licence: CC BY-NC 4.0.
        Files: ``ISIC2018_Task3_Training_Input/*.jpg``; the ground truth (one-hot) as CSV, in a folder of its own
            name or beside it; ``ISIC2018_Task3_Training_LesionGroupings.csv`` in either place.
        Lesions: the groupings file; without it each image is a lesion of its own, and scores come out too good; a note
            says so. Patients are not named; a column ``patient_id`` of one's own in that file is read.
        Citation: Codella et al. 2019, arXiv:1902.03368; Tschandl et al. 2018, doi:10.1038/sdata.2018.161.
        Address: https://challenge.isic-archive.com/data/#2018
    """
    problems: list[str] = []
    truth = read_table(_below(folder, GROUND_TRUTH_2018), problems, columns=("image", *CODES_2018))
    lesions: Mapping[str, TableRow] = {}
    if (groupings := _below(folder, GROUPINGS_2018)).exists():
        lesions = index_rows(read_table(groupings, problems, columns=("image", "lesion_id")), "image", problems)
    images = find_images([folder / IMAGES_2018], problems)
    has_images = _has_folder(folder, IMAGES_2018, problems)
    rows = []
    for row in truth:
        name = row["image"]
        grouped = lesions.get(name, TableRow(where=row.where, cells={}))
        rows.append(
            RawRow(
                where=row.where,
                image_id=name,
                labels=_marked(row, CODES_2018, problems),
                path=images.get(name),
                expected=f"{IMAGES_2018}/{name}.jpg" if has_images else "",
                lesion_id=grouped["lesion_id"],
                patient_id=grouped["patient_id"],
                source="HAM10000",
            )
        )
    notes = [*_unlisted(images, rows, GROUND_TRUTH_2018), *_lesion_notes(lesions, rows, GROUPINGS_2018, problems)]
    source = _source_of(rows, SOURCE_2018)
    return Reading.of(folder, LAYOUT_2018, rows, problems, codes={"akiec": "AK"}, notes=notes, source=source)


def _unlisted(images: Mapping[str, Path], rows: Sequence[RawRow], table: str) -> tuple[str, ...]:
    return note_of(f"images are not listed in {table}, so they are not used", images.keys() - _names(rows))


def _lesion_notes(
    described: Mapping[str, TableRow], rows: Sequence[RawRow], table: str, problems: Sequence[str]
) -> tuple[str, ...]:
    """What the table that groups images by lesion has too little and too much."""
    if not described and any(problem.startswith(table) for problem in problems):
        return ()  # it is there, and cannot be used
    if not described:
        return (
            f"{table} is missing or empty: each image counts as a lesion of its own, and scores may come out too good",
        )
    names = _names(rows)
    return (
        *note_of(f"images have no row in {table}, so each counts as a lesion of its own", names - described.keys()),
        *note_of(f"rows of {table} are about images that the ground truth does not list", described.keys() - names),
    )


def _names(rows: Iterable[RawRow]) -> set[str]:
    return {row.image_id for row in rows}


def _columns(described: Mapping[str, TableRow]) -> Iterable[str]:
    return next(iter(described.values())).cells


def _source_of(rows: Iterable[RawRow], official: DataSource) -> DataSource:
    """The challenge, as far as the ids are the archive's: images of one's own may come in its layout as well."""
    names = [row.image_id for row in rows]
    own = [name for name in names if not _ARCHIVE_ID.fullmatch(name)]
    if not own:
        return official
    if all(name.startswith(DRAWN_PREFIX) for name in names):
        return DRAWN
    if len(own) < len(names):
        name, licenses = f"{official.name} with images of one's own", (*official.published, NOT_STATED)
        return attrs.evolve(official, name=name, published=licenses)
    return attrs.evolve(UNSTATED, name=f"images of one's own, in the layout of {official.name}")


def _below(folder: Path, name: str) -> Path:
    """A table where the official archive unpacks it, or in the folder itself."""
    unpacked = folder / GROUND_TRUTH_2018.removesuffix(".csv") / name
    return unpacked if unpacked.exists() else folder / name


def _has_folder(folder: Path, name: str, problems: list[str]) -> bool:
    """Is the folder of images here? A missing one is one problem, not one for each image."""
    if (folder / name).is_dir():
        return True
    problems.append(f"{name}/ is missing: unpack the images into {folder / name}")
    return False


def _marked(row: TableRow, codes: Iterable[str], problems: list[str]) -> tuple[str, ...]:
    """The codes whose column holds 1."""
    marked = []
    for code in codes:
        text = row[code]
        if text in ("1", "1.0"):
            marked.append(code)
        elif text not in ("", "0", "0.0"):
            problems.append(f"{row.where}: column {code} of {row['image']!r} is {text!r}, not 0 or 1")
    return tuple(marked)
