"""Reader of HAM10000 as the Harvard Dataverse gives it."""

from __future__ import annotations

from pathlib import Path

from lesion_core.data_source import DataSource, license_named
from lesion_core.datasets.csv_file import read_table
from lesion_core.datasets.image_files import find_images
from lesion_core.datasets.table import RawRow, Reading, note_of

LAYOUT = "ham10000"
METADATA = ("HAM10000_metadata.csv", "HAM10000_metadata.tab", "HAM10000_metadata")
IMAGES = ("HAM10000_images_part_1", "HAM10000_images_part_2", "HAM10000_images")
SOURCE = DataSource(
    name="HAM10000",
    images="dermoscopic images",
    published=(license_named("CC BY-NC 4.0"),),
    citations=("Tschandl, Rosendahl, Kittler 2018, doi:10.1038/sdata.2018.161",),
    url="https://doi.org/10.7910/DVN/DBW86T",
    caveats=(
        "Its patients were seen in Vienna and in Queensland, and most of them have light skin.",
        "Not every diagnosis was confirmed by histopathology: the others by follow-up, by experts or by confocal "
        "microscopy.",
    ),
)
COLUMNS = ("lesion_id", "image_id", "dx", "age", "sex", "localization")

CODES = {"akiec": "AK", "bcc": "BCC", "bkl": "BKL", "df": "DF", "mel": "MEL", "nv": "NV", "vasc": "VASC"}
# "trunk" does not say which side, so it says nothing in the archive's vocabulary.
SITES = {
    "abdomen": "anterior torso",
    "acral": "palms/soles",
    "back": "posterior torso",
    "chest": "anterior torso",
    "ear": "head/neck",
    "face": "head/neck",
    "foot": "lower extremity",
    "genital": "oral/genital",
    "hand": "upper extremity",
    "neck": "head/neck",
    "scalp": "head/neck",
    "trunk": "",
}


def is_ham10000(folder: Path) -> bool:
    """Is the metadata file of HAM10000 here?"""
    return _metadata(folder) is not None


def read_ham10000(folder: Path) -> Reading:
    """Read a folder with HAM10000's metadata file and its images.

    Data card:
        Content: 10,015 dermoscopic images of 7,470 lesions and 7 diagnoses: akiec (AK here, as in ISIC 2019), bcc,
            bkl, df, mel, nv, vasc.
        Source: ViDIR Group, Medical University of Vienna, and Dr Cliff Rosendahl, Queensland. The column ``dataset``,
            which newer copies have, tells four collections apart (``source`` is then ``HAM10000/rosendahl``).
        Licence: CC BY-NC 4.0.
        Files: ``HAM10000_metadata.csv``; the images in ``HAM10000_images_part_1`` and ``_part_2``, in
            ``HAM10000_images``, or, where none of these exists, anywhere in the folder.
        Lesions: ``lesion_id``. Patients are not named; a column ``patient_id`` of one's own is read.
        Body sites: mapped to the ISIC Archive's; "trunk" becomes blank.
        Citation: Tschandl, Rosendahl, Kittler 2018, doi:10.1038/sdata.2018.161.
        Address: doi:10.7910/DVN/DBW86T
    """
    problems: list[str] = []
    table = read_table(_metadata(folder) or folder / METADATA[0], problems, columns=COLUMNS)
    named = [folder / name for name in IMAGES if (folder / name).is_dir()]
    images = find_images(named or [folder], problems)
    rows = [
        RawRow(
            where=row.where,
            image_id=row["image_id"],
            labels=(row["dx"],) if row["dx"] else (),
            path=images.get(row["image_id"]),
            expected=f"{row['image_id']}.jpg",
            lesion_id=row["lesion_id"],
            patient_id=row["patient_id"],
            age=row["age"],
            sex=row["sex"],
            site=row["localization"],
            source=f"HAM10000/{row['dataset']}" if row["dataset"] else "HAM10000",
        )
        for row in table
    ]
    notes = note_of(
        "images are not listed in the table, so they are not used", images.keys() - {r.image_id for r in rows}
    )
    return Reading.of(folder, LAYOUT, rows, problems, codes=CODES, sites=SITES, notes=notes, source=SOURCE)


def _metadata(folder: Path) -> Path | None:
    return next((folder / name for name in METADATA if (folder / name).is_file()), None)
