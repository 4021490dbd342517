"""Readers of data sets; each reader's docstring is a data card."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import attrs

from lesion_core.datasets import dermamnist, folder, ham10000, isic, isic_archive, pad_ufes_20
from lesion_core.datasets.folder import LAYOUT as FOLDERS
from lesion_core.datasets.folder import read_class_folders
from lesion_core.datasets.table import Reading
from lesion_core.errors import DatasetError
from lesion_core.records import Dataset
from lesion_core.taxonomy import Taxonomy


@attrs.frozen(kw_only=True)
class Layout:
    """A way in which data sets come: how to recognise it, and its reader."""

    name: str
    expects: str
    fits: Callable[[Path], bool]
    read: Callable[[Path], Reading]


# The first that fits is taken. Class folders come last: any table says more than the name of a folder.
LAYOUTS = (
    Layout(
        name=isic.LAYOUT,
        expects=f"{isic.GROUND_TRUTH}, {isic.IMAGES}/ and {isic.METADATA}, or those of the test images",
        fits=isic.is_isic_2019,
        read=isic.read_isic_2019,
    ),
    Layout(
        name=isic.LAYOUT_2018,
        expects=f"{isic.GROUND_TRUTH_2018}, {isic.IMAGES_2018}/ and {isic.GROUPINGS_2018}",
        fits=isic.is_isic_2018,
        read=isic.read_isic_2018,
    ),
    Layout(
        name=ham10000.LAYOUT,
        expects=f"{ham10000.METADATA[0]} and {ham10000.IMAGES[0]}/ …",
        fits=ham10000.is_ham10000,
        read=ham10000.read_ham10000,
    ),
    Layout(
        name=pad_ufes_20.LAYOUT,
        expects=f"{pad_ufes_20.METADATA} with columns {', '.join(pad_ufes_20.COLUMNS)}, and images",
        fits=pad_ufes_20.is_pad_ufes_20,
        read=pad_ufes_20.read_pad_ufes_20,
    ),
    Layout(
        name=isic_archive.LAYOUT,
        expects=f"{isic_archive.METADATA} with columns {', '.join(isic_archive.COLUMNS)}, and images",
        fits=isic_archive.is_isic_archive,
        read=isic_archive.read_isic_archive,
    ),
    Layout(
        name=dermamnist.LAYOUT,
        expects=f"one {dermamnist.FILES}",
        fits=dermamnist.is_dermamnist,
        read=dermamnist.read_dermamnist,
    ),
    Layout(
        name=FOLDERS,
        expects="Train/<diagnosis>/<image>.jpg, with or without Train/, and Test/<diagnosis>/<image>.jpg where wanted",
        fits=folder.is_class_folders,
        read=folder.read_class_folders,
    ),
)


def read_layout(folder: Path, taxonomy: Taxonomy | None = None) -> Reading:
    """Read a folder in the layout that its content shows; problems are listed, not raised.

    The layout that was taken is the first part of the data set's name: ``isic-2019:…``.

    Args:
        folder: the data set.
        taxonomy: one of the user's own; the folder then has to hold class folders, named by its diagnoses.
    Raises:
        DatasetError: the folder does not exist, or has no known layout; it says which ones there are.
    """
    require_folder(folder)
    if taxonomy is not None:
        return read_class_folders(folder, taxonomy)
    for number, layout in enumerate(LAYOUTS):
        if layout.fits(folder):
            others = [other.name for other in LAYOUTS[number + 1 :] if other.name != FOLDERS and other.fits(folder)]
            return _with_note_of(layout.read(folder), others)
    known = (f"{layout.name}: {layout.expects}" for layout in LAYOUTS)
    raise DatasetError(folder, ("it has no layout that is known. Known layouts, each with what it expects:", *known))


def _with_note_of(reading: Reading, others: Sequence[str]) -> Reading:
    """The reading, with a note where other data sets lie in the folder; class folders may be those of a table."""
    if not others:
        return reading
    note = f"the folder also holds data in the layout {' and '.join(others)}, which is not used: move it elsewhere"
    return attrs.evolve(reading, dataset=attrs.evolve(reading.dataset, notes=(*reading.dataset.notes, note)))


def require_folder(folder: Path) -> None:
    """Check that a data set's folder is there.

    Raises:
        DatasetError: it is not, or is a file.
    """
    if not folder.is_dir():
        raise DatasetError(folder, ("it is a file, not a folder" if folder.exists() else "the folder does not exist",))


def read_dataset(folder: Path, taxonomy: Taxonomy | None = None, *, with_none: bool = False) -> Dataset:
    """Read a folder in any of ``LAYOUTS``; the tables are checked, the images are not opened.

    Args:
        folder, taxonomy: as for ``read_layout``.
        with_none: to measure, not to train: images that are labelled *none of the above* belong to it.
    Raises:
        DatasetError: lists all problems, each with file and row.
    """
    return read_layout(folder, taxonomy).require(with_none=with_none)
