"""The quality gate."""

from __future__ import annotations

import os
from pathlib import Path

import attrs
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from lesion_core.datasets.synthetic import draw_lesion
from lesion_core.imaging import decode_image
from lesion_core.quality import LIMITS, assess_quality
from lesion_core.quality_measures import QualityMeasures, measure_quality
from lesion_core.wire import quality_grade

Image = NDArray[np.uint8]
LESION = draw_lesion("NV", seed=1)
LARGE = LESION.repeat(3, axis=0).repeat(3, axis=1)
# Monk Skin Tone Scale, Google 2022 (skintone.google), lightest to darkest.
MONK = ("f6ede4", "f3e7db", "f7ead0", "eadaba", "d7bd96", "a07e56", "825c43", "604134", "3a312a", "292420")


def grades(image: Image) -> dict[str, str]:
    return {finding.code: finding.grade for finding in assess_quality(image)}


def blurred(image: Image, sigma: float) -> Image:
    return cv2.GaussianBlur(image, (0, 0), sigma).astype(np.uint8)


def scaled(image: Image, gain: float) -> Image:
    return (image * gain).clip(0, 255).astype(np.uint8)


def cast_blue(image: Image) -> Image:
    return scaled(image * np.array([0.3, 0.6, 1.0]), 1.0)


def in_a_round_field(image: Image, radius: float) -> Image:
    """Black outside a circle of ``radius`` sides."""
    y, x = np.indices(image.shape[:2]) / min(image.shape[:2]) - 0.5
    return np.where((np.hypot(x, y) < radius)[..., None], image, 0).astype(np.uint8)


def with_hairs(image: Image) -> Image:
    copy = image.copy()
    for start in range(-450, 450, 24):
        cv2.line(copy, (start, 0), (start + 300, 449), (40, 30, 25), 9)
    return copy


def with_a_ruler(image: Image) -> Image:
    copy = image.copy()
    cv2.line(copy, (30, 410), (420, 410), (20, 20, 20), 4)
    for x in range(30, 421, 26):
        cv2.line(copy, (x, 385), (x, 410), (20, 20, 20), 4)
    return copy


@pytest.mark.parametrize("image", [LESION, LARGE])
def test_an_ordinary_image_has_no_finding(image: Image) -> None:
    """A drawn lesion, small and large."""

    assert assess_quality(image) == ()


@pytest.mark.parametrize(
    ("image", "code", "grade"),
    [
        (LESION[:100, :100], "low_resolution", "warn"),
        (LESION[:80, :80], "low_resolution", "reject"),
        (blurred(LARGE, 12), "out_of_focus", "reject"),
        (cv2.blur(LARGE, (33, 1)), "out_of_focus", "reject"),
        (scaled(LESION, 0.5), "too_dark", "warn"),
        (scaled(LESION, 0.1), "too_dark", "reject"),
        (scaled(LESION, 1.0) // 10 + 225, "too_bright", "warn"),
        (scaled(LESION, 4.0), "clipped", "reject"),
        (np.full((200, 200, 3), (180, 140, 120), np.uint8), "blank", "reject"),
        (cast_blue(LESION), "not_skin", "reject"),
        (in_a_round_field(LARGE, 0.35), "dark_corners", "warn"),
        (in_a_round_field(LARGE, 0.2), "dark_corners", "reject"),
        (with_hairs(LARGE), "hair", "warn"),
        (with_a_ruler(LARGE), "ruler", "warn"),
    ],
)
def test_each_fault_is_named_and_graded(image: Image, code: str, grade: str) -> None:
    """One fault each; others may follow from it."""

    assert grades(image)[code] == grade


def test_a_finding_holds_its_number_its_limit_and_what_to_do() -> None:
    """The value breaks the threshold, whose origin is stated."""
    (finding,) = assess_quality(LESION[:100, :100])

    assert finding.value == 100
    assert finding.threshold == 150
    assert finding.origin
    assert finding.message.endswith("Use the original, uncropped file.")


def test_the_stricter_limit_lies_beyond_the_milder_one() -> None:
    """For every measure, and each exists."""
    names = QualityMeasures.__annotations__

    for limit in LIMITS:
        assert limit.measure in names
        assert limit.reject is None or (limit.reject < limit.warn) == limit.is_lower
        assert (limit.reject is None) == (limit.reject_origin == "")


@pytest.mark.parametrize("tone", MONK)
def test_no_skin_tone_is_called_unusable_or_no_skin(tone: str) -> None:
    """A lesion on skin of each tone of the Monk scale; the darkest ones may be called dark."""
    skin = np.array([int(tone[i : i + 2], 16) for i in (0, 2, 4)])
    texture = np.random.default_rng(0).normal(1, 0.05, (150, 150, 1))
    image = (skin * texture).clip(0, 255)
    image[50:100, 50:100] *= 0.4
    found = assess_quality(image.astype(np.uint8))

    assert quality_grade(found) != "reject"
    assert "not_skin" not in {finding.code for finding in found}
    assert "dark_corners" not in {finding.code for finding in found}


@given(arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3))))
@settings(max_examples=50, deadline=None)
def test_any_small_image_is_measured(image: Image) -> None:
    """No shape and no content raises; every number is finite."""
    numbers = [finding.value for finding in assess_quality(image)]

    assert np.isfinite(numbers).all()


@given(st.integers(150, 700), st.integers(150, 700), st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_any_larger_image_is_measured(height: int, width: int, seed: int) -> None:
    """Shares are in [0, 1], whatever is in the image."""
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    measures = measure_quality(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_NEAREST).astype(np.uint8))

    shares = (measures.dark_surround, measures.clipped, measures.non_skin, measures.hair)
    assert all(share is not None and 0 <= share <= 1 for share in shares)
    assert measures.ruler is not None
    assert 0 <= measures.ruler <= 1.3
    assert measures.focus is not None
    assert np.isfinite(measures.focus)


@pytest.mark.parametrize("is_upright", [False, True])
def test_of_a_strip_the_middle_is_judged(is_upright: bool) -> None:
    """All of it would take gigabytes, though few bytes are enough to send one."""
    middle = np.random.default_rng(0).integers(0, 256, (160, 2560, 3), np.uint8)
    strip = np.pad(middle, ((0, 0), (50_000, 50_001), (0, 0)), constant_values=255)
    if is_upright:
        middle, strip = middle.transpose(1, 0, 2), strip.transpose(1, 0, 2)

    assert measure_quality(strip) == measure_quality(middle)


def test_what_a_small_image_cannot_show_is_not_judged() -> None:
    """Focus, hair and rulers need 150 pixels."""
    measures = measure_quality(LESION[:149])

    assert (measures.focus, measures.hair, measures.ruler) == (None, None, None)


@pytest.mark.skipif("LESION_DATA" not in os.environ, reason="needs the real images: set LESION_DATA")
def test_no_real_dermoscopic_image_of_full_size_is_rejected() -> None:
    """55 of them; the benchmark has the rates on 25,000."""
    paths = sorted((Path(os.environ["LESION_DATA"]) / "fullsize").glob("*.jpg"))

    assert paths
    assert [
        path.name for path in paths if quality_grade(assess_quality(decode_image(path.read_bytes()))) == "reject"
    ] == []


@pytest.mark.parametrize("image", [LESION, LARGE, LESION[:149]])
def test_measures_are_numbers_that_json_has(image: Image) -> None:
    """They go over the wire as they are: none is one of NumPy's."""
    assert {type(value) for value in attrs.asdict(measure_quality(image)).values()} <= {int, float, type(None)}
