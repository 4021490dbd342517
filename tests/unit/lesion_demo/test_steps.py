"""The single steps of the demo."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from lesion_core.datasets import read_dataset
from lesion_core.datasets.isic import IMAGES, METADATA
from lesion_core.datasets.synthetic import write_synthetic_dataset
from lesion_core.errors import LesionError
from lesion_core.frozen_split import write_parts
from lesion_core.processes import free_port
from lesion_core.workspace import Endpoint
from lesion_demo.steps import choose_image, predict_one, run_step, written_ns


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Without metadata, so that each image is a lesion of its own and both of a class can be in different parts."""
    folder = write_synthetic_dataset(tmp_path / "data", images_per_class=2, side_px=64)
    (folder / METADATA).unlink()
    return folder


@pytest.fixture
def split(data: Path) -> Path:
    """The first image of each class trained on, the second held out."""
    records = read_dataset(data).records
    parts = {"train": records[::2], "validation": records[1::2]}
    write_parts(parts, data.parent / "split.csv")
    return data.parent / "split.csv"


def test_an_image_that_was_held_out_is_asked_about(data: Path, split: Path) -> None:
    """With its label: a model remembers what it was trained on."""
    path, known = choose_image(data, split)

    assert (path.name, known) == ("SYNTHETIC_AK_0001.jpg", "labelled AK, held out")


def test_the_original_of_a_held_out_image_is_preferred(data: Path, split: Path) -> None:
    """Same name, larger image; not that of an image that was trained on."""
    (data.parent / "fullsize").mkdir()
    for name in ("SYNTHETIC_AK_0000.jpg", "SYNTHETIC_NV_0001.jpg"):
        shutil.copy(data / IMAGES / name, data.parent / "fullsize")

    path, known = choose_image(data, split)

    assert (path.parent.name, path.name, known) == ("fullsize", "SYNTHETIC_NV_0001.jpg", "labelled NV, held out")


def test_a_step_that_fails_is_named_with_its_exit_code() -> None:
    """The step itself says why."""
    with pytest.raises(LesionError, match=r"'lesion_core\.nothing x' failed with exit code 1"):
        run_step("lesion_core.nothing", "x")


def test_a_server_that_does_not_answer_is_named(data: Path, tmp_path: Path) -> None:
    """With the file that names it, which may be of one that is gone."""
    path = tmp_path / "endpoint.json"
    endpoint = Endpoint(url=f"http://127.0.0.1:{free_port()}/v1/predictions", token="none")
    endpoint.save(path)

    with pytest.raises(LesionError) as caught:
        predict_one(read_dataset(data).records[0].path, "an image", path)

    assert caught.value.code == "no_answer"
    assert endpoint.url in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_file_that_is_written_again_is_told_from_the_one_that_was_there(tmp_path: Path) -> None:
    """Even with the same content."""
    path = tmp_path / "endpoint.json"
    endpoint = Endpoint(url="http://127.0.0.1:8000/v1/predictions", token="same")
    assert written_ns(path) is None
    endpoint.save(path)
    os.utime(path, ns=(0, 0))
    before = written_ns(path)

    endpoint.save(path)

    assert written_ns(path) not in (None, before)
