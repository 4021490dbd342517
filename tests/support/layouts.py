"""Small made-up data sets in each layout that we read, written as the real ones are."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import attrs
import numpy as np
from hypothesis import strategies as st
from PIL import Image

from lesion_core.datasets import dermamnist, folder, ham10000, isic, isic_archive, pad_ufes_20
from lesion_core.records import ImageRecord
from lesion_core.taxonomy import ISIC_2019

SIX_OF_PAD = ("AK", "BCC", "MEL", "NV", "SCC", "BKL")
SEVEN_OF_HAM = ("MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC")


@attrs.frozen(kw_only=True)
class FakeImage:
    """What a source knows about an image, in our words."""

    name: str
    diagnosis: str
    lesion: str = ""
    patient: str = ""
    age: int | None = None
    sex: str | None = None
    site: str | None = None
    fitzpatrick: int | None = None

    def record(self, path: Path, *known: str, **others: object) -> ImageRecord:
        """The record that a reader should make, in a layout that tells only the ``known`` fields."""
        fields = {
            "age_approx": self.age,
            "sex": self.sex,
            "anatom_site_general": self.site,
            "fitzpatrick": self.fitzpatrick,
            "patient_id": self.patient or None,
        }
        told = {name: value for name, value in fields.items() if name in known}
        basic = {"isic_id": self.name, "path": path, "diagnosis": self.diagnosis}
        basic["lesion_id"] = (self.lesion if "lesion_id" in known else "") or f"image:{self.name}"
        return ImageRecord(**{**basic, **told, **others})  # type: ignore[arg-type]


def fake_images(
    codes: Sequence[str] = ISIC_2019.trained_codes, sites: Iterable[str] = ("head/neck", "lower extremity")
) -> st.SearchStrategy[list[FakeImage]]:
    """Some images with different names; everything else may be blank."""
    image = st.builds(
        FakeImage,
        name=st.integers(0, 9999).map(lambda number: f"ISIC_{number:07d}"),
        diagnosis=st.sampled_from(codes),
        lesion=st.sampled_from(["", "HAM_0000001", "BCN_0000002", "MSK4_0000003", "other"]),
        patient=st.sampled_from(["", "PAT_1", "PAT_2"]),
        age=st.none() | st.integers(0, 120),
        sex=st.sampled_from([None, "female", "male"]),
        site=st.sampled_from([None, *sites]),
        fitzpatrick=st.none() | st.integers(1, 6),
    )
    return st.lists(image, min_size=1, max_size=12, unique_by=lambda one: one.name)


def picture(kind: str = "JPEG", seed: int = 0, side_px: int = 40) -> bytes:
    """Bytes of an image file; different seeds, different pictures."""
    stream = io.BytesIO()
    blocks = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(blocks).resize((side_px, side_px), Image.Resampling.BICUBIC).save(stream, kind, quality=90)
    return stream.getvalue()


def write_table(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """CSV with the columns of the first row; ``None`` becomes a blank."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        table = csv.DictWriter(stream, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


def write_pictures(folder: Path, names: Iterable[str]) -> None:
    """A different picture under each name."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        (folder / name).write_bytes(picture("PNG" if name.endswith(".png") else "JPEG", seed=number))


def one_hot(image: FakeImage, codes: Sequence[str], ours: Mapping[str, str] | None = None) -> dict[str, object]:
    """A row of a challenge's ground truth."""
    wanted = (ours or {}).get(image.diagnosis, image.diagnosis)
    return {"image": image.name, **{code: float(code == wanted) for code in codes}}


def write_isic_2019(root: Path, images: Sequence[FakeImage]) -> list[ImageRecord]:
    """Returns the records that a reader should find, as all of these do."""
    write_table(root / isic.GROUND_TRUTH, [one_hot(image, ISIC_2019.codes) for image in images])
    write_table(
        root / isic.METADATA,
        [
            {
                "image": image.name,
                "age_approx": None if image.age is None else float(image.age),
                "anatom_site_general": image.site,
                "lesion_id": image.lesion,
                "sex": image.sex,
            }
            for image in images
        ],
    )
    write_pictures(root / isic.IMAGES, [f"{image.name}.jpg" for image in images])
    sources = {"HAM_0000001": "HAM10000", "BCN_0000002": "BCN_20000", "MSK4_0000003": "MSK"}
    known = ("lesion_id", "age_approx", "sex", "anatom_site_general")
    return [
        image.record(root / isic.IMAGES / f"{image.name}.jpg", *known, source=sources.get(image.lesion))
        for image in images
    ]


def write_isic_2018(root: Path, images: Sequence[FakeImage]) -> list[ImageRecord]:
    """The ground truth in a folder of its own, as the official archive unpacks it; the groupings beside it."""
    truth = root / isic.GROUND_TRUTH_2018.removesuffix(".csv") / isic.GROUND_TRUTH_2018
    write_table(truth, [one_hot(image, isic.CODES_2018, {"AK": "AKIEC"}) for image in images])
    write_table(
        root / isic.GROUPINGS_2018,
        [{"image": i.name, "lesion_id": i.lesion, "diagnosis_confirm_type": "histopathology"} for i in images],
    )
    write_pictures(root / isic.IMAGES_2018, [f"{image.name}.jpg" for image in images])
    return [
        image.record(root / isic.IMAGES_2018 / f"{image.name}.jpg", "lesion_id", source="HAM10000") for image in images
    ]


def write_ham10000(root: Path, images: Sequence[FakeImage]) -> list[ImageRecord]:
    """Every second image in the second folder."""
    dx = {ours: theirs for theirs, ours in ham10000.CODES.items()}
    localization = {"head/neck": "scalp", "lower extremity": "lower extremity", None: "trunk"}
    write_table(
        root / ham10000.METADATA[0],
        [
            {
                "lesion_id": image.lesion,
                "image_id": image.name,
                "dx": dx[image.diagnosis],
                "dx_type": "histo",
                "age": None if image.age is None else float(image.age),
                "sex": image.sex or "unknown",
                "localization": localization[image.site],
                "dataset": "rosendahl",
            }
            for image in images
        ],
    )
    folders = [root / ham10000.IMAGES[number % 2] for number in range(len(images))]
    for place, image in zip(folders, images, strict=True):
        write_pictures(place, [f"{image.name}.jpg"])
    known = ("lesion_id", "age_approx", "sex", "anatom_site_general")
    return [
        image.record(place / f"{image.name}.jpg", *known, source="HAM10000/rosendahl")
        for place, image in zip(folders, images, strict=True)
    ]


def write_pad_ufes_20(root: Path, images: Sequence[FakeImage]) -> list[ImageRecord]:
    """Every image has a patient there; one without gets its own."""
    theirs = {ours: code for code, ours in pad_ufes_20.CODES.items()}
    region = {"head/neck": "NOSE", "lower extremity": "SHIN", None: ""}
    patients = [image.patient or f"PAT_of_{image.name}" for image in images]
    write_table(
        root / pad_ufes_20.METADATA,
        [
            {
                "patient_id": patient,
                "lesion_id": image.lesion,
                "age": image.age,
                "gender": image.sex.upper() if image.sex else None,
                "fitspatrick": None if image.fitzpatrick is None else float(image.fitzpatrick),
                "region": region[image.site],
                "diagnostic": theirs[image.diagnosis].upper(),
                "img_id": f"{image.name}.png",
                "biopsed": True,
            }
            for patient, image in zip(patients, images, strict=True)
        ],
    )
    place = root / "images" / "imgs_part_1"
    write_pictures(place, [f"{image.name}.png" for image in images])
    known = ("age_approx", "sex", "anatom_site_general", "fitzpatrick")
    return [
        attrs.evolve(image, lesion=f"{patient}_{image.lesion}" if image.lesion else "").record(
            place / f"{image.name}.png", *known, "lesion_id", patient_id=patient, source="PAD-UFES-20"
        )
        for patient, image in zip(patients, images, strict=True)
    ]


def write_isic_archive(root: Path, images: Sequence[FakeImage], licence: str = "CC-BY") -> list[ImageRecord]:
    """As ``isic image download`` leaves it."""
    terms = {ours: theirs for theirs, ours in isic_archive.CODES.items()}
    types = {1: "I", 2: "II", 3: "III", 4: "IV", 5: "V", 6: "VI", None: ""}
    rows: list[dict[str, object]] = []
    for image in images:
        term = terms[image.diagnosis]
        level = 2 if image.diagnosis in ("MEL", "VASC") else 3
        levels = {f"diagnosis_{n}": {level: term, level + 1: "a kind of it"}.get(n, "") for n in range(1, 6)}
        rows.append(
            {
                "isic_id": image.name,
                "attribution": "Somebody",
                "copyright_license": licence,
                "age_approx": image.age,
                "anatom_site_general": image.site,
                **levels,
                "fitzpatrick_skin_type": types[image.fitzpatrick],
                "image_type": "dermoscopic",
                "lesion_id": image.lesion,
                "patient_id": image.patient,
                "sex": image.sex,
            }
        )
    write_table(root / isic_archive.METADATA, rows)
    write_pictures(root, [f"{image.name}.jpg" for image in images])
    (root / "attribution.txt").write_text("Somebody")
    known = ("lesion_id", "patient_id", "age_approx", "sex", "anatom_site_general", "fitzpatrick")
    return [image.record(root / f"{image.name}.jpg", *known, source="Somebody") for image in images]


def write_class_folders(root: Path, images: Sequence[FakeImage]) -> list[ImageRecord]:
    """By the display names of the diagnoses."""
    records = []
    for image in images:
        name = ISIC_2019.resolve(image.diagnosis).name
        write_pictures(root / folder.TRAIN / name, [f"{image.name}.jpg"])
        path = root / folder.TRAIN / name / f"{image.name}.jpg"
        records.append(attrs.evolve(image, name=f"{name}/{image.name}.jpg").record(path))
    return records


def write_dermamnist(root: Path, labels: Mapping[str, Sequence[int]], side_px: int = 28) -> Path:
    """The arrays of MedMNIST; pixel values differ between images."""
    arrays: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.uint8]]] = {}
    for part in dermamnist.PARTS:
        given = np.asarray(labels[part], dtype=np.uint8)
        random = np.random.default_rng(len(part))
        arrays[f"{part}_images"] = random.integers(0, 256, (len(given), side_px, side_px, 3), dtype=np.uint8)
        arrays[f"{part}_labels"] = given.reshape(-1, 1)
    root.mkdir(parents=True, exist_ok=True)
    path = root / "dermamnist.npz"
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]
    return path


LAYOUTS: dict[str, tuple[Callable[[Path, Sequence[FakeImage]], list[ImageRecord]], Sequence[str]]] = {
    isic.LAYOUT: (write_isic_2019, ISIC_2019.trained_codes),
    isic.LAYOUT_2018: (write_isic_2018, SEVEN_OF_HAM),
    ham10000.LAYOUT: (write_ham10000, SEVEN_OF_HAM),
    pad_ufes_20.LAYOUT: (write_pad_ufes_20, SIX_OF_PAD),
    isic_archive.LAYOUT: (write_isic_archive, ISIC_2019.trained_codes),
    folder.LAYOUT: (write_class_folders, ISIC_2019.trained_codes),
}
