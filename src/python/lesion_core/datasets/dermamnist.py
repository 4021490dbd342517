"""Reader of DermaMNIST: small images in one ``.npz`` file, written out as PNG files once."""

# N images · S side in pixels

from __future__ import annotations

import hashlib
import math
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lesion_core.data_source import DataSource, license_named
from lesion_core.datasets.table import RawRow, Reading
from lesion_core.imaging import DEFAULT_LIMITS

LAYOUT = "dermamnist"
FILES = "dermamnist*.npz"
LABELS = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
CODES = {"akiec": "AK"}
PARTS = ("train", "val", "test")
SOURCE = DataSource(
    name="DermaMNIST",
    images="dermoscopic images, scaled down",
    published=(license_named("CC BY-NC 4.0"),),
    citations=("Yang et al. 2023, doi:10.1038/s41597-022-01721-8", "Tschandl et al. 2018, doi:10.1038/sdata.2018.161"),
    url="https://doi.org/10.5281/zenodo.10519652",
    caveats=(
        "MedMNIST split the images without regard to lesions, so images of one lesion are in several parts and scores "
        "come out too good (Abhishek et al. 2025, doi:10.1038/s41597-025-04382-5): a test that software works.",
    ),
)
_DIGEST = "sha256.txt"


def is_dermamnist(folder: Path) -> bool:
    """Is a DermaMNIST file here, in any of its sizes?"""
    return any(folder.glob(FILES))


def read_dermamnist(folder: Path, images: Path | None = None) -> Reading:
    """Read the ``dermamnist*.npz`` in a folder.

    Data card:
        Content: 10,015 images of HAM10000, scaled to 28 px (also 64, 128 and 224 px), with 7 labels: akiec (AK here),
            bcc, bkl, df, mel, nv, vasc.
        Source: MedMNIST v2, made from HAM10000 (ViDIR Group, Medical University of Vienna).
        Licence: CC BY-NC 4.0.
        Files: ``dermamnist.npz``, ``dermamnist_64.npz`` …, as the MedMNIST programs download them.
        Lesions: **not named**. MedMNIST split by image, so images of one lesion are in train and test, and scores come
            out too good (Abhishek et al. 2025, doi:10.1038/s41597-025-04382-5, who offer the corrected DermaMNIST-C
            and -E). For a test that software works, not for a score.
        Parts: ``train`` and ``val`` are read together; ``test`` is kept apart.
        Citation: Yang et al. 2023, doi:10.1038/s41597-022-01721-8; Tschandl et al. 2018, doi:10.1038/sdata.2018.161.
        Address: doi:10.5281/zenodo.10519652

    The arrays are written as PNG files into ``images``, a folder named like the file beside it by default, once: later
    readings use them as long as the ``.npz`` is the same. Images below the smallest side that we decode are enlarged
    by repeating each pixel, so nothing is made up and nothing lost.
    """
    problems: list[str] = []
    files = sorted(folder.glob(FILES))
    if not files:
        return Reading.of(folder, LAYOUT, (), [f"{FILES} is missing"])
    file, *others = files
    if others:
        problems.append(f"{', '.join(other.name for other in others)}: the same images as {file.name}; keep one file")
    target = images or file.with_suffix("")
    rows: dict[str, list[RawRow]] = {part: [] for part in PARTS}
    try:
        _write_images(file, target)
        with np.load(file, allow_pickle=False) as arrays:
            for part in PARTS:
                rows[part] = list(_rows(file, target, part, arrays[f"{part}_labels"]))
        for part, images_there in _image_counts(file).items():
            if images_there > len(rows[part]):
                problems.append(
                    f"{file.name}: {part}_images holds {images_there:,} images, {part}_labels only "
                    f"{len(rows[part]):,} labels"
                )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        problems.append(f"{file.name}: cannot be read or unpacked ({error})")
    return Reading.of(
        folder, LAYOUT, rows["train"] + rows["val"], problems, test=rows["test"], codes=CODES, source=SOURCE
    )


def _rows(file: Path, target: Path, part: str, labels: NDArray[np.integer]) -> Iterator[RawRow]:
    for number, label in enumerate(labels.reshape(-1).tolist()):
        name = f"{part}_{number:05d}"
        path = target / part / f"{name}.png"
        yield RawRow(
            where=f"{file.name} {part}_labels[{number}]",
            image_id=name,
            labels=(LABELS[label] if label in range(len(LABELS)) else str(label),),
            path=path if path.is_file() else None,
            expected=f"{part}_images[{number}]",
            source="HAM10000",
        )


def _write_images(file: Path, target: Path) -> None:
    """Write all images of the file, unless the folder holds them already. All or nothing."""
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if target.is_dir():
        if (target / _DIGEST).is_file() and (target / _DIGEST).read_text().strip() == digest:
            return
        raise ValueError(f"{target} is in the way: it holds images of another file; remove it")
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        with zipfile.ZipFile(file) as archive:
            for part in PARTS:
                (staging / part).mkdir()
                with archive.open(f"{part}_images.npy") as stream:
                    for number, pixels in enumerate(_each_image(stream)):
                        Image.fromarray(pixels).save(staging / part / f"{part}_{number:05d}.png")
        (staging / _DIGEST).write_text(f"{digest}\n")
        staging.chmod(0o755)
        staging.rename(target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)  # gone already where all went well


def _image_counts(file: Path) -> dict[str, int]:
    """How many images each part has, by the headers of its arrays."""
    with zipfile.ZipFile(file) as archive:
        counts = {}
        for part in PARTS:
            with archive.open(f"{part}_images.npy") as stream:
                counts[part] = _image_shape(stream)[0]
        return counts


def _image_shape(stream: IO[bytes]) -> tuple[int, ...]:
    """``(N, S, S, 3)``, from the header of an ``.npy`` stream of images, which has to say that and uint8."""
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    else:
        shape, is_fortran, dtype = np.lib.format.read_array_header_2_0(stream)
    if dtype != np.uint8 or is_fortran or len(shape) != 4 or shape[3] != 3 or 0 in shape[1:]:
        raise ValueError(f"images are {dtype} {shape}, not uint8 (N, S, S, 3)")
    return shape


def _each_image(stream: IO[bytes]) -> Iterator[NDArray[np.uint8]]:
    """The images of an ``.npy`` stream, one at a time: the largest file holds 1.5 GB of them."""
    shape = _image_shape(stream)
    repeat = math.ceil(DEFAULT_LIMITS.min_side_px / min(shape[1:3]))
    for _ in range(shape[0]):
        data = stream.read(math.prod(shape[1:]))
        pixels = np.frombuffer(data, dtype=np.uint8).reshape(shape[1:])
        yield pixels.repeat(repeat, axis=0).repeat(repeat, axis=1)
