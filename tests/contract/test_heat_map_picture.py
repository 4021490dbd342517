"""The app shows at any opacity what serving draws at one: both know how its palette is laid out."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from lesion_serve.heat_map import draw_heat_map
from lesion_ui.heat import overlay


@pytest.fixture
def png() -> bytes:
    """A heat map over a picture with every grey."""
    rows, columns = np.mgrid[:64, :64]
    square = np.repeat((columns * 4).astype(np.uint8)[..., None], 3, axis=2)
    return draw_heat_map(square, (rows / 63).astype(np.float32), code="MEL", is_additive=True).png


def test_half_of_the_colours_is_the_picture_that_was_sent(png: bytes) -> None:
    """To a level of 255, which rounding takes."""
    sent = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)

    assert np.abs(np.asarray(overlay(png, 0.5)).astype(int) - sent).max() <= 1


def test_none_of_the_colours_is_the_grey_picture_and_all_of_them_the_evidence(png: bytes) -> None:
    """Grey has no hue; colours alone do not depend on the picture below."""
    grey, colours = (np.asarray(overlay(png, opacity)).astype(int) for opacity in (0.0, 1.0))

    assert np.ptp(grey, axis=2).max() == 0
    assert len(np.unique(grey)) == 16
    assert np.ptp(colours, axis=1).max() == 0


def test_a_picture_of_another_kind_is_shown_as_it_is() -> None:
    """Another release may draw otherwise."""
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), (10, 20, 30)).save(stream, "PNG")

    assert overlay(stream.getvalue(), 0.9).getpixel((0, 0)) == (10, 20, 30)
