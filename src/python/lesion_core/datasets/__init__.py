"""Readers of data sets; each reader's docstring is a data card."""

from __future__ import annotations

from pathlib import Path

from lesion_core.datasets.folder import read_class_folders
from lesion_core.datasets.isic import GROUND_TRUTH, read_isic_2019
from lesion_core.errors import DatasetError
from lesion_core.records import Dataset


def read_dataset(folder: Path) -> Dataset:
    """Read a folder in the ISIC 2019 layout or, where it has no ISIC ground truth, as class folders.

    Raises:
        DatasetError: the folder does not exist, or its reader found problems.
    """
    if not folder.is_dir():
        raise DatasetError(folder, ("the folder does not exist",))
    return read_isic_2019(folder) if (folder / GROUND_TRUTH).exists() else read_class_folders(folder)
