"""Reader of a table that says of images what is known of the patient, as the metadata file of ISIC 2019 does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lesion_core.datasets.cells import age_of, sex_of, site_of
from lesion_core.datasets.csv_file import iterate_table
from lesion_core.decision.metadata import PatientMetadata

COLUMNS = ("image", "age_approx", "sex", "anatom_site_general")


def read_patients(path: Path, problems: list[str]) -> Iterator[tuple[str, PatientMetadata]]:
    """Names of images and what is known of the patient, a row at a time.

    Args:
        path: CSV with the four ``COLUMNS``; others are left alone. ``image`` is a file's name without its ending.
        problems: what is wrong is appended here; a row with a problem is left out.
    """
    for row in iterate_table(path, problems, columns=COLUMNS):
        before = len(problems)
        image = row["image"]
        if not image:
            problems.append(f"{row.where}: the id of the image is blank")
            continue
        age = age_of(row["age_approx"], f"{row.where}: age of {image!r}", problems)
        sex = sex_of(row["sex"], f"{row.where}: sex of {image!r}", problems)
        site = site_of(row["anatom_site_general"], f"{row.where}: body site of {image!r}", problems)
        if len(problems) == before:
            yield image, PatientMetadata(age_approx=age, sex=sex, anatom_site_general=site)
