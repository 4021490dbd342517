"""Reader of PAD-UFES-20: photographs by smartphone, with patients."""

from __future__ import annotations

from pathlib import Path

from lesion_core.data_source import DataSource, license_named
from lesion_core.datasets.cells import id_of
from lesion_core.datasets.csv_file import TableRow, has_columns, read_table
from lesion_core.datasets.image_files import find_images
from lesion_core.datasets.table import RawRow, Reading, note_of

LAYOUT = "pad-ufes-20"
METADATA = "metadata.csv"
SOURCE = DataSource(
    name="PAD-UFES-20",
    images="photographs by smartphone, not dermoscopy",
    published=(license_named("CC BY 4.0"),),
    citations=("Pacheco et al. 2020, doi:10.1016/j.dib.2020.106221",),
    url="https://doi.org/10.17632/zr7vgbcyr2.1",
    caveats=("58 % of its diagnoses were confirmed by biopsy, every cancer among them.",),
)
COLUMNS = ("patient_id", "lesion_id", "img_id", "diagnostic")

CODES = {"ack": "AK", "bcc": "BCC", "mel": "MEL", "nev": "NV", "scc": "SCC", "sek": "BKL"}
_REGIONS = {
    "anterior torso": ("abdomen", "chest"),
    "head/neck": ("ear", "ears", "face", "lip", "lips", "neck", "nose", "scalp"),
    "lower extremity": ("foot", "shin", "thigh"),
    "posterior torso": ("back",),
    "upper extremity": ("arm", "forearm", "hand"),
}
SITES = {region: site for site, regions in _REGIONS.items() for region in regions}


def is_pad_ufes_20(folder: Path) -> bool:
    """Is a ``metadata.csv`` with the columns of PAD-UFES-20 here?"""
    return has_columns(folder / METADATA, COLUMNS)


def read_pad_ufes_20(folder: Path) -> Reading:
    """Read a folder with PAD-UFES-20's ``metadata.csv`` and its images.

    Data card:
        Content: 2,298 photographs by smartphone, **not dermoscopy**, of 1,641 lesions of 1,373 patients and 6
            diagnoses: ACK (AK here), BCC, MEL, NEV (NV), SCC with Bowen's disease, SEK (BKL). 58 % confirmed by biopsy.
        Source: Dermatological and Surgical Assistance Program, Federal University of Espírito Santo, Brazil.
        Licence: CC BY 4.0.
        Files: ``metadata.csv``; PNG images anywhere below the folder, as in ``images/imgs_part_1/``.
        Lesions and patients: ``lesion_id``, counted by patient, and ``patient_id``.
        Skin type: ``fitspatrick`` (the column's spelling), for about two thirds of the images.
        Body sites: the 15 regions, mapped to the ISIC Archive's.
        Citation: Pacheco et al. 2020, doi:10.1016/j.dib.2020.106221.
        Address: doi:10.17632/zr7vgbcyr2.1
    """
    problems: list[str] = []
    table = read_table(folder / METADATA, problems, columns=COLUMNS)
    images = find_images([folder], problems)
    rows = [
        RawRow(
            where=row.where,
            image_id=(name := Path(row["img_id"]).stem),
            labels=(row["diagnostic"],) if row["diagnostic"] else (),
            path=images.get(name),
            expected=row["img_id"],
            lesion_id=_lesion(row),
            patient_id=row["patient_id"],
            age=row["age"],
            sex=row["gender"],
            site=row["region"],
            fitzpatrick=row["fitspatrick"],
            source="PAD-UFES-20",
        )
        for row in table
    ]
    unlisted = images.keys() - {row.image_id for row in rows}
    notes = note_of(f"images are not listed in {METADATA}, so they are not used", unlisted)
    return Reading.of(folder, LAYOUT, rows, problems, codes=CODES, sites=SITES, notes=notes, source=SOURCE)


def _lesion(row: TableRow) -> str:
    """Unknown where the patient is: lesion 1 of nobody is no lesion."""
    patient, lesion = id_of(row["patient_id"]), id_of(row["lesion_id"])
    return f"{patient}_{lesion}" if patient and lesion else ""
