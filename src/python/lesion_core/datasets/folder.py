"""Reader of class folders: one folder a diagnosis, images in it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from lesion_core.datasets.table import RawRow, Reading
from lesion_core.errors import UnknownDiagnosisError
from lesion_core.imaging import FILE_SUFFIXES
from lesion_core.taxonomy import ISIC_2019, Taxonomy

LAYOUT = "folder"
TRAIN, TEST = "Train", "Test"


def find_images(folders: Iterable[Path], problems: list[str]) -> dict[str, Path]:
    """All images in folders and their subfolders, by file name without its ending.

    Two images of one name are a problem: which one a table means cannot be known.
    """
    found: dict[str, Path] = {}
    for folder in folders:
        for parent, subfolders, names in os.walk(folder):
            subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
            for name in sorted(names):
                stem, suffix = os.path.splitext(name)
                if suffix.lower() not in FILE_SUFFIXES or name.startswith("."):
                    continue
                path = Path(parent, name)
                if (first := found.setdefault(stem, path)) is not path:
                    problems.append(f"{path}: another image has this name: {first}. Remove one of them")
    return found


def is_class_folders(folder: Path) -> bool:
    """Does the folder, or its ``Train`` folder, hold folders with images directly in them?"""
    return any(True for _ in _class_folders(_train_folder(folder)))


def read_class_folders(folder: Path, taxonomy: Taxonomy = ISIC_2019) -> Reading:
    """Read ``folder/Train/<diagnosis>/*.jpg`` and, where present, ``folder/Test/<diagnosis>/*.jpg``.

    Data card:
        Content: any images; the name of a class folder is the label, by code, name or synonym
            (``Melanoma``, ``nevus``, ``pigmented benign keratosis``, ``BKL`` …).
        Lesions: a folder names none, so each image counts as a lesion of its own. Where several images show one
            lesion, use the ISIC layout, whose metadata file groups them: otherwise scores come out too good.
        Source and licence: those of your images. A well-known set in this layout is "Skin Cancer ISIC" (2,357 images
            of nine classes, from the ISIC Archive, CC BY-NC 4.0); its pigmented benign keratosis and seborrheic
            keratosis are both BKL here.
        Citation: that of your images.

    Without a ``Train`` folder, the class folders are expected in ``folder`` itself.
    """
    problems: list[str] = []
    train_folder = _train_folder(folder)
    test: list[RawRow] = []
    if train_folder != folder and (folder / TEST).is_dir():
        test = list(_rows(folder / TEST, taxonomy, problems, prefix=f"{TEST}/"))
    rows = list(_rows(train_folder, taxonomy, problems, prefix=""))
    if not rows and not problems:
        problems.append(
            f"{train_folder} holds no class folders with {', '.join(FILE_SUFFIXES)} images. "
            "Expected Train/<diagnosis>/<image>.jpg"
        )
    return Reading.of(folder, LAYOUT, rows, problems, test=test, taxonomy=taxonomy)


def _train_folder(folder: Path) -> Path:
    return folder / TRAIN if (folder / TRAIN).is_dir() else folder


def _class_folders(folder: Path) -> Iterator[tuple[Path, list[Path]]]:
    for class_folder in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        images = [path for path in class_folder.iterdir() if path.suffix.lower() in FILE_SUFFIXES]
        if images := sorted(path for path in images if not path.name.startswith(".")):
            yield class_folder, images


def _rows(folder: Path, taxonomy: Taxonomy, problems: list[str], *, prefix: str) -> Iterator[RawRow]:
    for class_folder, images in _class_folders(folder):
        try:
            diagnosis = taxonomy.resolve(class_folder.name)
        except UnknownDiagnosisError as error:
            problems.append(f"{class_folder}: {error} Rename the folder, or remove it")  # once, not for each image
            continue
        if diagnosis == taxonomy.none_of_the_above:
            problems.append(f"{class_folder}: {diagnosis.name!r} cannot be trained; remove the folder")
            continue
        for path in images:
            name = f"{prefix}{class_folder.name}/{path.name}"
            yield RawRow(where=str(path), image_id=name, labels=(diagnosis.code,), path=path, expected=name)
