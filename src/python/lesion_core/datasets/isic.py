"""Reader of the ISIC 2019 challenge layout."""

from __future__ import annotations

import csv
from pathlib import Path

from lesion_core.errors import DatasetError
from lesion_core.records import Dataset, ImageRecord
from lesion_core.taxonomy import ISIC_2019

GROUND_TRUTH = "ISIC_2019_Training_GroundTruth.csv"
METADATA = "ISIC_2019_Training_Metadata.csv"
IMAGES = "ISIC_2019_Training_Input"


def read_isic_2019(folder: Path) -> Dataset:
    """Read a folder in the layout of the official ISIC 2019 training download.

    Data card:
        Content: 25,331 dermoscopic images of 8 diagnoses (MEL, NV, BCC, AK, BKL, DF, VASC, SCC).
        Sources: HAM10000 (ViDIR Group, Medical University of Vienna, doi:10.1038/sdata.2018.161), BCN_20000
            (Hospital Clínic de Barcelona, arXiv:1908.02288), MSK (arXiv:1710.05006).
        Licence: CC BY-NC 4.0.
        Files: ``ISIC_2019_Training_Input/*.jpg``, the ground truth (one-hot) and the metadata as CSV.
        Lesions: ``lesion_id`` groups the images of a lesion; a blank one makes a lesion of its own.
        Address: https://challenge.isic-archive.com/data/#2019

    Args:
        folder: holds the three entries above. The metadata file may be missing: then each image is a lesion.
    Raises:
        DatasetError: lists all problems, each with file and row.
    """
    truth_path, images = folder / GROUND_TRUTH, folder / IMAGES
    absent = [name for name in (GROUND_TRUTH, IMAGES) if not (folder / name).exists()]
    if absent:
        raise DatasetError(folder, tuple(f"{name} is missing" for name in absent))
    files = {path.stem: path for path in images.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png")}
    problems: list[str] = []
    metadata = _read_metadata(folder / METADATA, problems)
    records: dict[str, ImageRecord] = {}
    with truth_path.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.DictReader(stream)
        lacking = {"image", *ISIC_2019.trained_codes} - set(reader.fieldnames or ())
        if lacking:
            raise DatasetError(truth_path, (f"columns missing: {', '.join(sorted(lacking))}",))
        for row_number, row in enumerate(reader, start=2):
            where = f"{GROUND_TRUTH} row {row_number}"
            name = row["image"] or ""
            try:
                marked = [code for code in ISIC_2019.codes if float(row.get(code) or 0) == 1.0]
            except ValueError:
                problems.append(f"{where}: a class column of {name!r} is not a number")
                continue
            path = files.get(name)
            if len(marked) != 1:
                problems.append(f"{where}: {name!r} has {len(marked)} diagnoses, needs exactly one")
            elif path is None:
                problems.append(f"{where}: {IMAGES}/{name}.jpg is missing")
            elif name in records:
                problems.append(f"{where}: {name!r} stands twice")
            elif marked[0] == ISIC_2019.none_of_the_above.code:
                problems.append(f"{where}: {name!r} is marked {marked[0]}, which has no training images")
            else:
                facts = metadata.get(name, {})
                records[name] = ImageRecord(
                    isic_id=name,
                    path=path,
                    diagnosis=marked[0],
                    lesion_id=facts.get("lesion_id") or f"image:{name}",
                    age_approx=_number(facts.get("age_approx"), f"{METADATA}: age_approx of {name}", problems),
                    sex=facts.get("sex") or None,
                    anatom_site_general=facts.get("anatom_site_general") or None,
                )
    if problems or not records:
        raise DatasetError(folder, tuple(problems) or (f"{GROUND_TRUTH} has no rows",))
    ordered = tuple(records[name] for name in sorted(records))
    return Dataset(name=f"isic-2019:{folder.name}", taxonomy=ISIC_2019, records=ordered)


def _read_metadata(path: Path, problems: list[str]) -> dict[str, dict[str, str]]:
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.DictReader(stream)
        if "image" not in (reader.fieldnames or ()):
            problems.append(f"{METADATA}: column 'image' is missing")
            return {}
        return {row["image"]: row for row in reader}


def _number(text: str | None, where: str, problems: list[str]) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        problems.append(f"{where} is {text!r}, not a number")
        return None
    if not 0 <= value <= 120:
        problems.append(f"{where} is {value:g}, not an age in years")
    return value
