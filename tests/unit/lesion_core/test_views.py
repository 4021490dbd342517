"""Views of an image whose answers are averaged."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from lesion_core.preprocess_spec import Views
from lesion_core.views import maps_on_square, views_of

SQUARES = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)


@pytest.mark.parametrize(("views", "count"), [(Views.NONE, 1), (Views.FLIPS_AND_ROTATIONS, 8), (Views.MULTI_CROP, 5)])
def test_the_untouched_view_is_the_first_of_as_many_as_said(views: Views, count: int) -> None:
    """All of one shape, so that a network takes them together."""
    found = list(views_of(SQUARES, views))

    assert len(found) == count
    np.testing.assert_array_equal(found[0], SQUARES)
    assert {view.shape for view in found} == {SQUARES.shape}


def test_the_symmetries_are_all_different_and_closed_under_turning() -> None:
    """The eight of a square: whichever way the camera was held, the same set is seen."""
    found = {view.tobytes() for view in views_of(SQUARES, Views.FLIPS_AND_ROTATIONS)}
    turned = np.ascontiguousarray(np.rot90(SQUARES, axes=(1, 2)))

    assert len(found) == 8
    assert {view.tobytes() for view in views_of(turned, Views.FLIPS_AND_ROTATIONS)} == found


def test_the_corners_of_a_picture_are_in_its_crops() -> None:
    """Bright in one corner: that crop is the brightest."""
    picture = np.zeros((1, 32, 32, 3), np.uint8)
    picture[:, :8, 24:] = 255

    _, *crops = (view.mean() for view in views_of(picture, Views.MULTI_CROP))

    assert crops.index(max(crops)) == 1  # top right
    assert all(first != second for first, second in pairwise(crops[:3]))


@pytest.mark.parametrize("views", [Views.NONE, Views.FLIPS_AND_ROTATIONS])
def test_maps_of_turned_views_are_turned_back(views: Views) -> None:
    """A map that follows the picture comes back as the picture, and not as a mixture of its symmetries."""
    maps = np.concatenate(list(views_of(SQUARES[:1], views)))[..., 0].astype(np.float32)

    np.testing.assert_allclose(maps_on_square(maps, views, 16), SQUARES[0, ..., 0], atol=1e-3)


def test_the_map_of_a_crop_lies_where_the_crop_was() -> None:
    """And nowhere else."""
    maps = np.zeros((5, 4, 4), np.float32)
    maps[2] = 1.0  # top right

    found = maps_on_square(maps, Views.MULTI_CROP, 32)

    assert found[:28, 4:].min() == found[:28, 4:].max() > 0
    assert not found[28:].any()
    assert not found[:, :4].any()


@pytest.mark.parametrize("views", list(Views))
def test_what_maps_add_up_to_survives(views: Views) -> None:
    """Their mean is a share of a logit, whatever was turned or cropped."""
    count = len(list(views_of(SQUARES[:1], views)))
    maps = np.random.default_rng(0).normal(1.0, 2.0, (count, 4, 4)).astype(np.float32)

    assert maps_on_square(maps, views, 64).mean() == pytest.approx(maps.mean(), abs=1e-5)
