"""Findings about a photograph."""

from __future__ import annotations

import numpy as np
import pytest

from lesion_core.datasets.synthetic import draw_lesion
from lesion_core.quality import assess_quality


def test_an_ordinary_image_has_no_finding() -> None:
    """A drawn lesion of 150 pixels."""

    assert assess_quality(draw_lesion("NV", seed=1)) == ()


@pytest.mark.parametrize(
    ("image", "code"),
    [
        (draw_lesion("NV", seed=1)[:100, :100], "low_resolution"),
        (draw_lesion("NV", seed=1) // 6, "too_dark"),
        (np.where(draw_lesion("NV", seed=1) > 150, 255, 240).astype(np.uint8), "too_bright"),
        (np.full((200, 200, 3), 128, np.uint8), "no_contrast"),
    ],
)
def test_each_fault_is_named(image: np.ndarray, code: str) -> None:
    """With what to do about it."""
    findings = assess_quality(image)

    assert code in {finding.code for finding in findings}
    assert all(finding.message.endswith(".") for finding in findings)
