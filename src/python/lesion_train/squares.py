"""Every image is decoded once: squares of pixels in a file, shared by all runs on the same data.

    <folder>/<key>/squares.u8    uint8 (M, P, P, 3), a row for each image of the data set; blank until it is decoded
    <folder>/<key>/done.u8       uint8 (M,), 1 where the row is decoded
    <folder>/<key>/about.json    what the key stands for

The key covers the content of the files (the data digest), the steps of preprocessing, and the versions of what takes
them. Rows are read through the page cache of the operating system, so memory does not grow with the number of images.
"""

# M images of the data set · N images of a part · P side of the stored squares

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import attrs
import numpy as np
from numpy.typing import NDArray

from lesion_core import __version__
from lesion_core.disk import FULL_DISK, full_disk
from lesion_core.errors import DatasetError, ImageError, LesionError
from lesion_core.imaging import read_image_file
from lesion_core.preprocess import load_square
from lesion_core.preprocess_spec import PreprocessSpec
from lesion_core.records import ImageRecord, data_digest
from lesion_train.image_bar import image_bar

# Training squares are stored a little larger than the input, so that a random crop loses no sharpness.
CROP_MARGIN = 1.15
# Steps that come later, when a batch is made
WITHOUT_EFFECT = ("mean", "std", "views")
DECODERS = ("pillow", "opencv-python-headless", "pydicom")
_CHUNK = 256


class Squares(Protocol):
    """uint8 ``(N, P, P, 3)``, in memory or in a file: an array will do."""

    def __len__(self) -> int:
        """N."""
        ...

    def __getitem__(self, rows: slice | NDArray[np.int64], /) -> NDArray[np.uint8]:
        """Some of them: uint8 ``(n, P, P, 3)``."""
        ...


@attrs.frozen(kw_only=True, eq=False)
class StoredSquares:
    """Some rows of a file, in an order of their own."""

    stored: NDArray[np.uint8]
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        """How many they are."""
        return len(self.rows)

    def __getitem__(self, rows: slice | NDArray[np.int64], /) -> NDArray[np.uint8]:
        """Copies of some: uint8 ``(n, P, P, 3)``."""
        return self.stored[self.rows[rows]]


class SquareCache:
    """The decoded images of one data set.

    Several processes may use a folder at once: what they write twice is the same.
    """

    def __init__(
        self, folder: Path, records: Sequence[ImageRecord], *, threads: int, digest: str | None = None
    ) -> None:
        """Nothing is read or written yet.

        Args:
            folder: of the cache; made where it is missing.
            records: all images of the data set; their order does not matter.
            threads: that decode.
            digest: ``data_digest`` of ``records`` where it is known; otherwise every file is read for it.
        """
        self._folder = folder
        self._records = sorted(records, key=lambda record: record.isic_id)
        self._row = {record.isic_id: row for row, record in enumerate(self._records)}
        self._threads = threads
        self._digest = digest or data_digest(records)

    def squares(self, records: Sequence[ImageRecord], spec: PreprocessSpec, *, margin: float = 1.0) -> StoredSquares:
        """The images of a part, decoded now where they are not yet.

        Args:
            records: some of the data set.
            spec: the steps; those up to the views are taken here.
            margin: P over the network's input side. At 1 the pixels are exactly those that serving shows the network,
                so that what is measured and set on a part holds for serving; augmentation wants ``CROP_MARGIN``.
        Raises:
            DatasetError: lists every image that cannot be decoded.
            LesionError: ``disk_full``: the disk has no room for them; what is decoded stays.
        """
        stored = attrs.evolve(spec, input_size_px=round(spec.input_size_px * margin))
        rows = np.array([self._row[record.isic_id] for record in records], dtype=np.int64)
        try:
            folder = self._prepare(stored)
        except OSError as error:
            if named := full_disk(error, self._folder, "Free some, or keep decoded images elsewhere with --cache DIR."):
                raise named from error
            raise
        shape = (len(self._records), stored.input_size_px, stored.input_size_px, 3)
        done = np.fromfile(folder / "done.u8", dtype=np.uint8)
        missing = rows[done[rows] == 0]
        if len(missing):
            self._decode(np.unique(missing), stored, folder)
        return StoredSquares(stored=np.memmap(folder / "squares.u8", dtype=np.uint8, mode="r", shape=shape), rows=rows)

    def _prepare(self, spec: PreprocessSpec) -> Path:
        geometry = {key: value for key, value in attrs.asdict(spec).items() if key not in WITHOUT_EFFECT}
        decoders = {"lesion-core": __version__, **{name: importlib.metadata.version(name) for name in DECODERS}}
        about = json.dumps({"data_digest": self._digest, "preprocess": geometry, "decoders": decoders}, indent=2)
        folder = self._folder / hashlib.sha256(about.encode()).hexdigest()[:16]
        folder.mkdir(parents=True, exist_ok=True)
        side, count = spec.input_size_px, len(self._records)
        pixels, marks, pixel_bytes = folder / "squares.u8", folder / "done.u8", count * side * side * 3
        if marks.exists() and (not pixels.exists() or pixels.stat().st_size < pixel_bytes):
            # Cut or removed: nothing counts as decoded. Before it has its full size, at which others believe the marks.
            with marks.open("r+b") as stream:
                stream.write(bytes(count))
        for path, size in ((pixels, pixel_bytes), (marks, count)):
            with path.open("ab") as stream:
                if stream.tell() < size:
                    os.truncate(stream.fileno(), size)  # takes no room until it is written
        (folder / "about.json").write_text(about + "\n", encoding="utf-8")
        return folder

    def _decode(self, rows: NDArray[np.int64], spec: PreprocessSpec, folder: Path) -> None:
        """Decode rows; each is marked as done only when its pixels have reached the disk."""
        problems: list[str] = []
        row_bytes = spec.input_size_px**2 * 3
        pixels = os.open(folder / "squares.u8", os.O_WRONLY)
        marks = os.open(folder / "done.u8", os.O_WRONLY)

        def decode(row: int) -> str | None:
            record = self._records[row]
            try:
                square = load_square(read_image_file(record.path), spec)
            except (ImageError, OSError) as error:
                return f"{record.path}: {error}"
            # Written, not mapped: on a full disk a write fails with an error, a mapped page kills the process.
            _write(pixels, square.tobytes(), row * row_bytes)
            return None

        try:
            with ThreadPoolExecutor(max_workers=self._threads) as pool, image_bar(len(rows), "decoding") as advance:
                for start in range(0, len(rows), _CHUNK):
                    chunk = rows[start : start + _CHUNK].tolist()
                    found = list(pool.map(decode, chunk))
                    os.fsync(pixels)
                    for row, problem in zip(chunk, found, strict=True):
                        if problem is None:
                            _write(marks, b"\1", row)
                    problems += [problem for problem in found if problem]
                    advance(len(chunk))
        except OSError as error:
            if error.errno not in FULL_DISK:
                raise
            raise LesionError(
                f"No room for {len(rows) * row_bytes / 1e6:.0f} MB of decoded images in {folder} ({error.strerror}). "
                "Free some, or keep them elsewhere with --cache DIR; what is decoded is not lost.",
                code="disk_full",
            ) from error
        finally:
            os.close(pixels)
            os.close(marks)
        if problems:
            places = [record.path.parent for record in self._records]
            raise DatasetError(Path(os.path.commonpath(places)), tuple(problems))


def _write(file: int, data: bytes, offset: int) -> None:
    """``os.pwrite`` may write less than it was given."""
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written
