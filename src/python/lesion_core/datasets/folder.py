"""Reader of class folders: one folder a diagnosis, images in it."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable
from pathlib import Path

import attrs

from lesion_core.datasets.image_files import entries_below
from lesion_core.datasets.table import RawRow, Reading, note_of
from lesion_core.errors import UnknownDiagnosisError
from lesion_core.imaging import FILE_SUFFIXES
from lesion_core.records import UNNAMED_LESION, ImageRecord
from lesion_core.taxonomy import ISIC_2019, Taxonomy

LAYOUT = "folder"
TRAIN, TEST = "Train", "Test"
# Images that we do not read; in a class folder they would be missed.
_OTHER_IMAGES = frozenset(
    (
        *(".avif", ".gif", ".heic", ".heif", ".j2k", ".jfif", ".jp2", ".jxl", ".psd", ".svg", ".tga"),
        *(".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".pef", ".raf", ".rw2"),  # of cameras
    )
)


def is_class_folders(folder: Path) -> bool:
    """Does the folder, or its ``Train`` folder, hold folders with images directly in them?"""
    return any(_images_in(subfolder) for subfolder in _subfolders(_train_folder(folder)))


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

    Without a ``Train`` folder, the class folders are expected in ``folder`` itself. In a class folder, images in
    folders of their own and images of a kind that is not read are problems. Images beside the class folders, folders
    beside ``Train`` and ``Test``, and class folders without an image are noted. Links are followed; what a
    broken one leads to is missing, or noted where it may be a folder.
    """
    train_folder = _train_folder(folder)
    training, testing = _Part(taxonomy=taxonomy, prefix=""), _Part(taxonomy=taxonomy, prefix=f"{TEST}/")
    others = [subfolder for subfolder in _subfolders(folder) if subfolder.name not in (TRAIN, TEST)]
    if train_folder == folder:
        training.read(folder, others)
    else:
        training.read(train_folder, _subfolders(train_folder))
    if (folder / TEST).is_dir():
        testing.read(folder / TEST, _subfolders(folder / TEST))
    notes = [*training.notes, *testing.notes, *(_broken_links(folder) if train_folder != folder else ())]
    for other in others if train_folder != folder else ():
        if missed := _images_below(other):
            notes.append(f"{other} is neither {TRAIN} nor {TEST}, so its {len(missed):,} images are not used")
    problems = training.problems + testing.problems
    if not training.rows and not problems:
        problems.append(
            f"{train_folder} holds no class folders with {', '.join(FILE_SUFFIXES)} images. "
            "Expected Train/<diagnosis>/<image>.jpg"
        )
    return Reading.of(
        folder,
        LAYOUT,
        training.rows,
        problems,
        test=testing.rows,
        taxonomy=taxonomy,
        notes=notes,
        rejected=(*training.rejected, *testing.rejected),
    )


def _train_folder(folder: Path) -> Path:
    return folder / TRAIN if (folder / TRAIN).is_dir() else folder


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _images_in(folder: Path, suffixes: Collection[str] = FILE_SUFFIXES) -> list[Path]:
    """Images in a folder itself."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and _is_image(path, suffixes))


def _is_image(path: Path, suffixes: Collection[str]) -> bool:
    """By the ending of its name; a link that leads nowhere too, so that it is missed."""
    return path.suffix.lower() in suffixes and (path.is_file() or _leads_nowhere(path))


def _leads_nowhere(path: Path) -> bool:
    return path.is_symlink() and not path.exists()


def _broken_links(folder: Path) -> tuple[str, ...]:
    """A note about links to folders that are not there."""
    names = [
        path.name
        for path in folder.iterdir()
        if _leads_nowhere(path) and path.suffix.lower() not in FILE_SUFFIXES and not path.name.startswith(".")
    ]
    return note_of(f"links in {folder} lead nowhere, so what they stand for is not used", names)


def _images_below(folder: Path) -> list[Path]:
    """Images of any kind in a folder and its subfolders."""
    suffixes = {*FILE_SUFFIXES, *_OTHER_IMAGES}
    return [path for path in map(Path, entries_below([str(folder)])) if _is_image(path, suffixes)]


@attrs.define(kw_only=True)
class _Part:
    """What the class folders of one part hold."""

    taxonomy: Taxonomy
    prefix: str
    rows: list[RawRow] = attrs.field(factory=list)
    rejected: list[ImageRecord] = attrs.field(factory=list)
    problems: list[str] = attrs.field(factory=list)
    notes: list[str] = attrs.field(factory=list)

    def read(self, folder: Path, class_folders: Iterable[Path]) -> None:
        outside = [path.name for path in _images_in(folder, {*FILE_SUFFIXES, *_OTHER_IMAGES})]
        self.notes += note_of(f"images in {folder} lie in no class folder, so they are not used", outside)
        self.notes += _broken_links(folder)
        for class_folder in class_folders:
            self._read_class(class_folder)

    def _read_class(self, folder: Path) -> None:
        images = _images_in(folder)
        missed = sorted(set(_images_below(folder)) - set(images))
        diagnosis = self._diagnosis(folder, is_needed=bool(images or missed))
        for path in images:
            # One form for names that look alike: macOS writes ``é`` as two characters, most tables have one.
            name = unicodedata.normalize("NFC", f"{self.prefix}{folder.name}/{path.name}")
            if diagnosis is None:
                record = ImageRecord(
                    isic_id=name, path=path, diagnosis="", lesion_id=f"{UNNAMED_LESION}{name}", listed_at=str(path)
                )
                self.rejected.append(record)
            else:
                self.rows.append(
                    RawRow(
                        where=str(path),
                        image_id=name,
                        labels=(diagnosis,),
                        path=path if path.exists() else None,
                        expected=f"{name}, a link that leads nowhere,",
                        labelled_at=f"{folder}: its images are",
                    )
                )
        if diagnosis is not None and missed:
            names = ", ".join(str(path.relative_to(folder)) for path in missed[:3]) + (", …" if len(missed) > 3 else "")
            self.problems.append(
                f"{folder}: {len(missed):,} images are not read: {names}. Move those that lie deeper into the folder "
                f"itself, and convert those that are none of {', '.join(FILE_SUFFIXES)}"
            )
        elif not images and not missed:
            self.notes.append(f"{folder} holds no image")

    def _diagnosis(self, folder: Path, *, is_needed: bool) -> str | None:
        """Code of a folder's diagnosis; ``None``, and a problem, for a folder of images that has none."""
        try:
            diagnosis = self.taxonomy.resolve(folder.name)
        except UnknownDiagnosisError as error:
            if is_needed:
                self.problems.append(f"{folder}: {error} Rename the folder, or remove it")  # once, not for each image
            return None
        return diagnosis.code
