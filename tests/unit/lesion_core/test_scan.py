"""One pass over all files: digest, decoding, perceptual hash."""

from __future__ import annotations

import hashlib
import io
import os
import random
import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lesion_core.datasets import read_dataset
from lesion_core.datasets.isic import GROUND_TRUTH, IMAGES
from lesion_core.datasets.synthetic import draw_lesion, write_synthetic_dataset
from lesion_core.records import ImageRecord, data_digest
from lesion_core.scan import HASH_BITS, perceptual_hash, scan_images
from support.images import encoded_lesion


@pytest.fixture
def records(tmp_path: Path) -> tuple[ImageRecord, ...]:
    return read_dataset(write_synthetic_dataset(tmp_path / "data", images_per_class=2, side_px=64)).records


def distance(one: np.ndarray, other: np.ndarray) -> int:
    return int(np.bitwise_count(one ^ other).sum())


def test_a_scan_gives_digests_and_hashes_in_order(records: tuple[ImageRecord, ...]) -> None:
    """One of each for every image."""
    scan = scan_images(records, threads=2)

    assert scan.records == records
    assert scan.contents == tuple(hashlib.sha256(r.path.read_bytes()).hexdigest() for r in records)
    assert scan.hashes.shape == (16, HASH_BITS // 64)
    assert scan.hashes.dtype == np.uint64
    assert scan.problems == ()


def test_the_digest_of_a_scan_is_that_of_the_data(records: tuple[ImageRecord, ...]) -> None:
    """Without reading the files a second time."""
    scan = scan_images(records, threads=1)
    expected = data_digest(records)
    for record in records:
        record.path.unlink()

    assert scan.digest == expected


@given(st.randoms(use_true_random=False))
def test_the_digest_does_not_depend_on_the_order(shuffle: random.Random) -> None:
    """Of the records; two that change places with each other's content do count."""
    records = [ImageRecord(isic_id=f"I{n}", path=Path("x"), diagnosis="NV", lesion_id="L") for n in range(6)]
    contents = [f"{n:064x}" for n in range(6)]
    order = list(range(6))
    shuffle.shuffle(order)

    shuffled = data_digest([records[n] for n in order], [contents[n] for n in order])

    assert shuffled == data_digest(records, contents)
    assert (data_digest(records, [contents[n] for n in order]) == shuffled) == (order == sorted(order))


def test_unreadable_images_are_all_listed_with_file_and_row(records: tuple[ImageRecord, ...]) -> None:
    """Cut off, not an image, empty, gone; the others are scanned."""
    paths = [record.path for record in records]
    paths[0].write_bytes(paths[0].read_bytes()[:-300])
    paths[3].write_bytes(b"GIF89a")
    paths[5].write_bytes(b"")
    paths[9].unlink()

    scan = scan_images(records, threads=2)

    assert len(scan.records) == len(scan.contents) == len(scan.hashes) == 12
    assert [problem.split(": ")[0] for problem in scan.problems] == [records[n].listed_at for n in (0, 3, 5, 9)]
    assert all(problem.startswith(f"{GROUND_TRUTH} row ") for problem in scan.problems)
    assert all(f"{IMAGES}/{paths[n].name}" in line for n, line in zip((0, 3, 5, 9), scan.problems, strict=True))


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.9, 0.99])
def test_a_large_file_that_broke_off_is_found(tmp_path: Path, kept: float) -> None:
    """Though only a small version of it is decoded."""
    data = encoded_lesion(side_px=600)
    path = tmp_path / "cut.jpg"
    path.write_bytes(data[: int(len(data) * kept)])

    scan = scan_images([ImageRecord(isic_id="cut", path=path, diagnosis="NV", lesion_id="L")], threads=1)

    assert len(scan.problems) == 1


def become_a_terabyte(path: Path) -> None:
    """Of which nothing takes room on the disk."""
    os.truncate(path, 2**40)


def become_a_pipe(path: Path) -> None:
    """To which nobody writes."""
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("become", [become_a_terabyte, become_a_pipe])
def test_a_file_that_may_have_no_end_is_not_read(
    records: tuple[ImageRecord, ...], become: Callable[[Path], None]
) -> None:
    """The size is asked first, and what has none is no image."""
    become(records[0].path)

    scan = scan_images(records[:2], threads=1)

    assert scan.records == records[1:2]
    (problem,) = scan.problems
    assert re.search("at most 20,971,520 are accepted|This is no file with an image", problem)


def test_memory_does_not_grow_with_pixels(tmp_path: Path) -> None:
    """40 images of 0.8 MB of pixels each leave less than one of them behind, at any time."""
    path = tmp_path / "one.jpg"
    path.write_bytes(encoded_lesion(side_px=512))
    records = [ImageRecord(isic_id=f"I{n}", path=path, diagnosis="NV", lesion_id="L") for n in range(40)]
    scan_images(records[:1], threads=1)
    tracemalloc.start()
    scan_images(records[:4], threads=1)
    _, peak_of_few = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    scan_images(records, threads=1)
    _, peak_of_many = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak_of_many - peak_of_few < 512 * 512 * 3


@pytest.mark.parametrize("code", ["MEL", "NV", "BKL", "VASC"])
def test_a_hash_survives_scaling_compression_and_light(code: str) -> None:
    """That is what makes it perceptual; another lesion is far away."""
    pixels = draw_lesion(code, seed=5, side_px=300)
    image = Image.fromarray(pixels)
    stream = io.BytesIO()
    image.resize((200, 200), Image.Resampling.LANCZOS).save(stream, "JPEG", quality=80)
    changed = np.asarray(Image.open(stream).point([min(255, round(v * 1.1 + 4)) for v in range(256)] * 3))

    near = distance(perceptual_hash(pixels), perceptual_hash(changed))
    far = distance(perceptual_hash(pixels), perceptual_hash(draw_lesion(code, seed=6, side_px=300)))

    assert near <= 24
    assert far >= 64


def test_a_hash_does_not_look_at_the_rim() -> None:
    """The black surround of a dermatoscope is the same in all its images."""
    pixels = draw_lesion("NV", seed=5, side_px=200)
    framed = np.zeros_like(pixels)
    framed[30:170, 30:170] = pixels[30:170, 30:170]

    assert distance(perceptual_hash(pixels), perceptual_hash(framed)) == 0
