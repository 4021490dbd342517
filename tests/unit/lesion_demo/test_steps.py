"""The single steps of the demo."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lesion_core.datasets.isic import IMAGES
from lesion_core.datasets.synthetic import write_synthetic_dataset
from lesion_core.errors import LesionError
from lesion_demo.steps import choose_image, run_step


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_synthetic_dataset(tmp_path / "data", images_per_class=2, side_px=64)


def test_the_first_image_of_the_data_is_asked_about(data: Path) -> None:
    """With its label."""
    path, label = choose_image(data, None)

    assert (path.name, label) == ("SYNTHETIC_AK_0000.jpg", "AK")


def test_originals_beside_the_data_are_preferred(data: Path) -> None:
    """Same name, larger image."""
    (data.parent / "fullsize").mkdir()
    shutil.copy(data / IMAGES / "SYNTHETIC_NV_0001.jpg", data.parent / "fullsize")

    path, label = choose_image(data, None)

    assert (path.parent.name, label) == ("fullsize", "NV")


def test_a_named_image_is_taken_and_its_label_may_be_unknown(data: Path) -> None:
    """Any file will do."""

    assert choose_image(data, Path("mine.png")) == (Path("mine.png"), "unknown")


def test_a_step_that_fails_is_named_with_its_exit_code() -> None:
    """The step itself says why."""
    with pytest.raises(LesionError, match=r"'lesion_core\.nothing x' failed with exit code 1"):
        run_step("lesion_core.nothing", "x")
