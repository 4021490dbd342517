"""Cases that clinicians or histology judged otherwise, as a data set that ``lesion-train`` reads.

    OUT/cases.csv                      every case: answer, diagnosis, how it is known, its image or why there is none
    OUT/ISIC_2019_Training_…           the layout of ISIC 2019, of those whose image was kept

The images of one patient are one lesion there, where the patient's pseudonym is known, so that no split parts them. The
pseudonym itself is in no file. What is written shows patients: the folder is for our user's eyes only.
"""

from __future__ import annotations

import csv
import hashlib
import io
import secrets
from collections.abc import Iterator
from pathlib import Path

import attrs

from lesion_core.datasets.isic import GROUND_TRUTH, IMAGES, METADATA
from lesion_core.errors import ImageError
from lesion_core.imaging.decode import image_format
from lesion_core.taxonomy import ISIC_2019
from lesion_serve.monitor.reading import Review, Seen, read_seen
from lesion_serve.monitor.report import MonitorError
from lesion_serve.store import PredictionStore, Role, Source, StoreError, Window

_SUFFIXES = {"JPEG": ".jpg", "DICOM": ".dcm"}


@attrs.frozen(kw_only=True)
class Case:
    """One reviewed answer; ``file`` is its image's name, or ``None`` for the reason that ``why_not`` gives."""

    seen: Seen
    review: Review
    image_sha256: str | None
    file: str | None
    why_not: str


@attrs.frozen(kw_only=True)
class Exported:
    """What was written: cases in the table, and how many of them with an image in the data set."""

    cases: int
    images: int


def export_cases(
    store: PredictionStore, window: Window, out: Path, *, agreed: bool = False, histology_only: bool = False
) -> Exported:
    """Write the cases of a window.

    Args:
        store: with its images and their key, where they are to be exported.
        window: of the predictions.
        out: a folder that does not exist yet.
        agreed: also answers that were judged right.
        histology_only: only diagnoses that the pathologist made.
    Raises:
        MonitorError: ``out_exists``: the folder does; ``no_cases``: there is nothing to export.
        StoreError: ``image_key``: another key is needed.
    """
    if out.exists():
        raise MonitorError(f"{out} exists already; name a new folder for the cases.", code="out_exists")
    seen = [
        (one, one.review)
        for one in read_seen(store.database, attrs.evolve(window, role=Role.ANSWERED))
        if one.review is not None
        and (agreed or one.review.diagnosis != one.top)
        and (not histology_only or one.review.source is Source.HISTOLOGY)
    ]
    if not seen:
        raise MonitorError(
            "There are no such cases in this window. Others: --agreed, or without --histology-only.", code="no_cases"
        )
    out.mkdir(parents=True, mode=0o700)
    salt = secrets.token_bytes(32)  # forgotten at the end: groups cannot be traced to pseudonyms
    cases, groups = [], {}
    for one, review in seen:
        case, subject = _export(store, one, review, out)
        cases.append(case)
        groups[one.request_id] = hashlib.sha256(salt + (subject or one.request_id).encode()).hexdigest()[:16]
    _write_table(out / "cases.csv", _table(cases))
    kept = [case for case in cases if case.file is not None]
    if kept:
        codes = ISIC_2019.trained_codes
        marks = ([_id(case), *(f"{float(case.review.diagnosis == code)}" for code in codes)] for case in kept)
        _write_table(out / GROUND_TRUTH, [["image", *codes], *marks])
        names = ["image", "age_approx", "anatom_site_general", "lesion_id", "sex"]
        _write_table(out / METADATA, [names, *([_id(case), "", "", groups[case.seen.request_id], ""] for case in kept)])
    return Exported(cases=len(cases), images=len(kept))


def _export(store: PredictionStore, seen: Seen, review: Review, out: Path) -> tuple[Case, str | None]:
    """Write the image, where there is one; returns the case and the patient's pseudonym."""
    stored = store.prediction(seen.request_id)
    file, why_not = None, ""
    if review.diagnosis not in ISIC_2019.trained_codes:
        why_not = f"{review.diagnosis} is no class of ISIC 2019"
    else:
        try:
            image = store.image(seen.request_id)
            named = f"case_{seen.position}{_suffix(image)}"
            (out / IMAGES).mkdir(exist_ok=True, mode=0o700)
            (out / IMAGES / named).write_bytes(image)
            file = named
        except (StoreError, ImageError) as error:
            if error.code == "image_key":
                raise
            why_not = error.message
    case = Case(seen=seen, review=review, image_sha256=stored.image_sha256, file=file, why_not=why_not)
    return case, stored.subject


def _suffix(image: bytes) -> str:
    kind = image_format(image)
    return _SUFFIXES.get(kind, f".{kind.lower()}")


def _id(case: Case) -> str:
    return f"case_{case.seen.position}"


def _table(cases: list[Case]) -> Iterator[list[str]]:
    yield [
        "request_id",
        "at",
        "model_version",
        "answered",
        "probability",
        "diagnosis",
        "source",
        "image_sha256",
        "file",
        "why_no_file",
    ]
    for case in cases:
        seen = case.seen
        yield [
            seen.request_id,
            seen.at,
            seen.version,
            seen.top,
            f"{seen.probability:.6f}",
            case.review.diagnosis,
            case.review.source.value,
            case.image_sha256 or "",
            case.file or "",
            case.why_not,
        ]


def _write_table(path: Path, rows: object) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)  # type: ignore[arg-type]
    path.write_text(text.getvalue(), encoding="utf-8")
