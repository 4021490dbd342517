"""How fast is a data set read, every image checked, and everything compared?

    ./pants run benchmarks/scan_speed.py -- DIR

DIR is a data set in any layout, or any folder with images. Before each pass the files are dropped from the page cache
(``posix_fadvise``), so each pass reads them from the disk. Beside it: the digest of the files alone, and decoding them
one by one at full size with Pillow, as a plain check would. Takes about 2 minutes for 20,854 images of 84 px.
"""

from __future__ import annotations

import hashlib
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from lesion_core.datasets import read_layout
from lesion_core.datasets.image_files import find_images
from lesion_core.errors import DatasetError
from lesion_core.records import ImageRecord
from lesion_core.scan import scan_images

THREADS = 2
TARGET = 25_000
FEWEST = 500


def main() -> None:
    """Print images a second and minutes for 25,000 images."""
    folder = Path(sys.argv[1])
    records = read_records(folder)
    scan(records[:10])  # what the first call of the libraries takes is no part of it
    if len(records) < FEWEST:
        print(
            f"{len(records)} images are few: each is read several times, and comes from the page cache after the first"
        )
        records = [*records] * (FEWEST // len(records) + 1)
    size = np.mean([record.path.stat().st_size for record in records]) / 1000
    print(
        f"{len(records):,} images, {size:.0f} KB each on average; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    )

    def decode_all() -> None:
        for record in records:
            with Image.open(record.path) as image:
                image.convert("RGB").load()

    measure("digest of the files only, 1 thread", records, lambda: [digest(record) for record in records])
    measure("full decoding with Pillow, 1 thread", records, decode_all)
    measure(f"scan (digest, decoding, hash), {THREADS} threads", records, lambda: scan(records))


def read_records(folder: Path) -> Sequence[ImageRecord]:
    """Records of a known layout; of any images otherwise."""
    start = time.perf_counter()
    try:
        dataset = read_layout(folder).dataset
    except DatasetError:
        images = find_images([folder], [])
        return [ImageRecord(isic_id=name, path=path, diagnosis="NV", lesion_id=name) for name, path in images.items()]
    print(f"tables of {dataset.name} read and checked in {time.perf_counter() - start:.1f} s")
    return (*dataset.records, *dataset.test)


def digest(record: ImageRecord) -> bytes:
    """The least that any check of content has to do."""
    return hashlib.sha256(record.path.read_bytes()).digest()


def scan(records: Sequence[ImageRecord]) -> None:
    """The pass that is measured."""
    found = scan_images(records, threads=THREADS)
    for problem in found.problems:
        print(problem)


def measure(name: str, records: Sequence[ImageRecord], work: Callable[[], object]) -> None:
    """Time one pass over files that are not in the page cache."""
    for record in records:
        with record.path.open("rb") as stream:
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, cpu = time.perf_counter(), time.process_time()
    work()
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1024
    print(
        f"  {name:42} {len(records) / seconds:7,.0f} images/s  {1000 * cpu / len(records):6.2f} ms of CPU an image  "
        f"{TARGET * seconds / len(records):5.0f} s for {TARGET:,}  +{grown:.0f} MB at the peak"
    )


if __name__ == "__main__":
    main()
