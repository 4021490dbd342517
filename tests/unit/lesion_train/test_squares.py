"""Images are decoded once, and training measures itself on exactly the pixels that serving shows the network."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import attrs
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from lesion_core.datasets.synthetic import draw_lesion
from lesion_core.errors import DatasetError, LesionError
from lesion_core.preprocess import decode_for, resize_square
from lesion_core.preprocess_spec import SHADES_OF_GREY, PreprocessSpec
from lesion_core.records import ImageRecord
from lesion_train.data import plain_batches
from lesion_train.squares import CROP_MARGIN, SquareCache
from support.full_disk import full_disk

SIDES = (64, 90, 150, 700)
SPECS = [
    PreprocessSpec(input_size_px=64),
    PreprocessSpec(input_size_px=64, crop_fraction=0.8, crop_border=True, colour_constancy=SHADES_OF_GREY),
]


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> tuple[ImageRecord, ...]:
    """JPEG files of several sizes, one with a black bar; the largest is decoded at a reduced size."""
    folder = tmp_path_factory.mktemp("images")
    paths = [folder / f"SYNTHETIC_{side}.jpg" for side in SIDES]
    for path, side in zip(paths, SIDES, strict=True):
        image = draw_lesion("BKL", seed=side, side_px=side)
        Image.fromarray(np.pad(image, ((0, 0), (side // 3, 0), (0, 0)))).save(path, quality=92)
    return tuple(ImageRecord(isic_id=path.stem, path=path, diagnosis="BKL", lesion_id=path.stem) for path in paths)


def served(data: bytes, spec: PreprocessSpec) -> NDArray[np.uint8]:
    """As the predictor does it."""
    return resize_square(decode_for(data, spec), spec)


@pytest.mark.parametrize("spec", SPECS)
def test_validation_sees_the_pixels_of_serving(
    records: tuple[ImageRecord, ...], spec: PreprocessSpec, tmp_path: Path
) -> None:
    """Bit by bit, in one batch as one by one."""
    squares = SquareCache(tmp_path, records, threads=2).squares(records, spec)

    (batch,) = plain_batches(squares, spec, batch_size=len(records))

    np.testing.assert_array_equal(batch, [served(record.path.read_bytes(), spec) for record in records])


def test_training_squares_are_larger_and_cropped_only_once(records: tuple[ImageRecord, ...], tmp_path: Path) -> None:
    """Scaled down they show the same part of the image, and nearly the same pixels."""
    spec = PreprocessSpec(input_size_px=64, crop_fraction=0.6)
    squares = SquareCache(tmp_path, records, threads=2).squares(records, spec, margin=CROP_MARGIN)

    (batch,) = plain_batches(squares, spec, batch_size=len(records))

    assert squares[:].shape == (len(records), 74, 74, 3)
    exact = np.stack([served(record.path.read_bytes(), spec) for record in records])
    assert np.abs(batch.astype(float) - exact).mean() < 0.05 * 128  # in grey levels


SPEC = PreprocessSpec(input_size_px=64)


def test_a_second_run_opens_no_image(records: tuple[ImageRecord, ...], tmp_path: Path) -> None:
    """Their files are gone by then."""
    copies = copied(records, tmp_path / "images")
    first = SquareCache(tmp_path / "cache", copies, threads=2, digest="d").squares(copies, SPEC)[:]
    shutil.rmtree(tmp_path / "images")

    again = SquareCache(tmp_path / "cache", copies, threads=2, digest="d").squares(copies, SPEC)[:]

    np.testing.assert_array_equal(first, again)


def test_a_part_has_its_own_rows_in_its_own_order(records: tuple[ImageRecord, ...], tmp_path: Path) -> None:
    """Whatever was decoded before, and in which order the data set was read."""
    cache = SquareCache(tmp_path, records[::-1], threads=2)
    part = (records[2], records[0])

    squares = cache.squares(part, SPEC)

    assert len(squares) == 2
    np.testing.assert_array_equal(squares[:], cache.squares(records, SPEC)[np.array([2, 0])])


def test_other_content_or_other_steps_are_decoded_anew(records: tuple[ImageRecord, ...], tmp_path: Path) -> None:
    """Under equal names."""
    copies = copied(records, tmp_path / "images")
    before = SquareCache(tmp_path / "cache", copies, threads=2).squares(copies, SPEC)[:]
    shutil.copy(copies[3].path, copies[1].path)

    after = SquareCache(tmp_path / "cache", copies, threads=2).squares(copies, SPEC)[:]
    bordered = SquareCache(tmp_path / "cache", copies, threads=2).squares(copies, SPECS[1])[:]

    assert (before != after).any(axis=(1, 2, 3)).tolist() == [False, True, False, False]
    assert (after != bordered).any()


def test_another_mean_needs_no_decoding(records: tuple[ImageRecord, ...], tmp_path: Path) -> None:
    """Pixels are normalised when a batch is made; so backbones of one size share what is decoded."""
    other = PreprocessSpec(input_size_px=64, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    cache = SquareCache(tmp_path, records, threads=2)

    cache.squares(records, SPEC)
    cache.squares(records, other)

    assert len(list(tmp_path.iterdir())) == 1


def test_all_images_that_cannot_be_decoded_are_named_and_the_others_kept(
    records: tuple[ImageRecord, ...], tmp_path: Path
) -> None:
    """So that they can be mended at once; then only they are decoded."""
    copies = copied(records, tmp_path / "images")
    for record in copies[:2]:
        record.path.write_bytes(b"\xff\xd8\xff broken")
    cache = SquareCache(tmp_path / "cache", copies, threads=2, digest="d")

    with pytest.raises(DatasetError) as caught:
        cache.squares(copies, SPEC)

    assert [Path(problem.split(":")[0]).stem for problem in caught.value.problems] == [r.isic_id for r in copies[:2]]
    shutil.rmtree(tmp_path / "images")
    assert len(cache.squares(copies[2:], SPEC)[:]) == 2


@pytest.mark.parametrize("left", [None, 64 * 64 * 3 + 5])
def test_what_was_cut_or_removed_is_decoded_anew(
    records: tuple[ImageRecord, ...], tmp_path: Path, left: int | None
) -> None:
    """By a cleaner of temporary folders, or a copy that was interrupted: black squares were never decoded."""
    whole = SquareCache(tmp_path, records, threads=2).squares(records, SPEC)[:]
    (stored,) = tmp_path.glob("*/squares.u8")
    if left is None:
        stored.unlink()
    else:
        os.truncate(stored, left)

    again = SquareCache(tmp_path, records, threads=2).squares(records, SPEC)[:]

    np.testing.assert_array_equal(again, whole)


def test_a_full_disk_is_named_and_what_was_decoded_is_kept(records: tuple[ImageRecord, ...], tmp_path: Path) -> None:
    """The system refuses to write beyond the first two images, as it does where the disk is full."""
    cache = SquareCache(tmp_path, records, threads=1)
    cache.squares(records[:1], SPEC)

    room = full_disk(beyond_bytes=2 * 64 * 64 * 3)
    with room, pytest.raises(LesionError, match=r"No room .*--cache DIR") as caught:
        cache.squares(records, SPEC)

    assert caught.value.code == "disk_full"
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.EFBIG
    assert cache.squares(records, SPEC)[:].any(axis=(1, 2, 3)).all()


def copied(records: tuple[ImageRecord, ...], folder: Path) -> tuple[ImageRecord, ...]:
    folder.mkdir()
    return tuple(attrs.evolve(record, path=Path(shutil.copy(record.path, folder))) for record in records)
