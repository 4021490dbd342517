"""Training measures itself on exactly the pixels that serving shows the network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lesion_core.datasets.synthetic import draw_lesion
from lesion_core.preprocess import decode_for, normalise, resize_square
from lesion_core.preprocess_spec import SHADES_OF_GREY, PreprocessSpec
from lesion_core.records import ImageRecord
from lesion_train.data import CROP_MARGIN, decode_squares, plain_batches

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


def served(data: bytes, spec: PreprocessSpec) -> torch.Tensor:
    """As the predictor does it."""
    return torch.from_numpy(normalise(resize_square(decode_for(data, spec), spec)[None], spec))


@pytest.mark.parametrize("spec", SPECS)
def test_validation_sees_the_pixels_of_serving(
    records: tuple[ImageRecord, ...], spec: PreprocessSpec, tmp_path: Path
) -> None:
    """Bit by bit, in one batch as one by one."""
    squares = decode_squares(records, spec, tmp_path / "val.npy", threads=2)

    (batch,) = plain_batches(squares, spec, batch_size=len(records))

    assert torch.equal(batch, torch.cat([served(record.path.read_bytes(), spec) for record in records]))


def test_training_squares_are_larger_and_cropped_only_once(records: tuple[ImageRecord, ...], tmp_path: Path) -> None:
    """Scaled down they show the same part of the image, and nearly the same pixels."""
    spec = PreprocessSpec(input_size_px=64, crop_fraction=0.6)
    squares = decode_squares(records, spec, tmp_path / "train.npy", threads=2, margin=CROP_MARGIN)

    (batch,) = plain_batches(squares, spec, batch_size=len(records))

    assert squares.shape == (len(records), 74, 74, 3)
    exact = torch.cat([served(record.path.read_bytes(), spec) for record in records])
    assert (batch - exact).abs().mean() < 0.05
