"""Reader of class folders: one folder a diagnosis, images in it."""

from __future__ import annotations

from pathlib import Path

from lesion_core.errors import DatasetError, UnknownDiagnosisError
from lesion_core.records import Dataset, ImageRecord
from lesion_core.taxonomy import ISIC_2019, Taxonomy

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
TRAIN, TEST = "Train", "Test"


def read_class_folders(folder: Path, taxonomy: Taxonomy = ISIC_2019) -> Dataset:
    """Read ``folder/Train/<diagnosis>/*.jpg`` and, where present, ``folder/Test/<diagnosis>/*.jpg``.

    Data card:
        Content: any images; the name of a class folder is the label, by code, name or synonym
            (``Melanoma``, ``nevus``, ``pigmented benign keratosis``, ``BKL`` …).
        Lesions: a folder names none, so each image counts as a lesion of its own. Where several images show one
            lesion, use the ISIC layout, whose metadata file groups them: otherwise scores come out too good.
        Source and licence: those of your images.

    Without a ``Train`` folder, the class folders are expected in ``folder`` itself.

    Raises:
        DatasetError: lists all problems: folders that name no known diagnosis, or no images at all.
    """
    problems: list[str] = []
    train_folder = folder / TRAIN if (folder / TRAIN).is_dir() else folder
    records = _read_part(train_folder, taxonomy, problems, prefix="")
    test: list[ImageRecord] = []
    if (folder / TEST).is_dir() and train_folder != folder:
        test = _read_part(folder / TEST, taxonomy, problems, prefix=f"{TEST}/")
    if not records and not problems:
        problems.append(
            f"{train_folder} holds no class folders with .jpg, .jpeg or .png images. "
            "Expected Train/<diagnosis>/<image>.jpg, or the ISIC 2019 layout"
        )
    if problems:
        raise DatasetError(folder, tuple(problems))
    return Dataset(name=f"folder:{folder.name}", taxonomy=taxonomy, records=tuple(records), test=tuple(test))


def _read_part(folder: Path, taxonomy: Taxonomy, problems: list[str], *, prefix: str) -> list[ImageRecord]:
    if not folder.is_dir():
        problems.append(f"{folder} is not a folder")
        return []
    records = []
    for class_folder in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        images = sorted(path for path in class_folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
        if not images:
            continue
        try:
            diagnosis = taxonomy.resolve(class_folder.name)
        except UnknownDiagnosisError as error:
            problems.append(f"{class_folder}: {error}")
            continue
        if diagnosis == taxonomy.none_of_the_above:
            problems.append(f"{class_folder}: {diagnosis.name!r} cannot be trained; remove the folder")
            continue
        for path in images:
            image_id = f"{prefix}{class_folder.name}/{path.name}"
            records.append(
                ImageRecord(isic_id=image_id, path=path, diagnosis=diagnosis.code, lesion_id=f"image:{image_id}")
            )
    return records
