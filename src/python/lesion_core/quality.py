"""What about a photograph makes an answer less reliable: resolution and exposure.

Thresholds were set so that fewer than one in a hundred ordinary dermoscopic images is named;
``benchmarks/quality_rates.py`` prints the rates.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lesion_core.wire import QualityFinding

MIN_SIDE_PX = 120
DARK_MEAN = 60.0
BRIGHT_MEAN = 225.0
FLAT_STD = 8.0


def assess_quality(image: NDArray[np.uint8]) -> tuple[QualityFinding, ...]:
    """Findings for one image: uint8 ``(H, W, 3)`` → none, one or several."""
    findings = []
    height, width = image.shape[:2]
    grey = image.mean(axis=2)
    mean, spread = float(grey.mean()), float(grey.std())
    if min(height, width) < MIN_SIDE_PX:
        findings.append(
            QualityFinding(
                code="low_resolution",
                message=f"The image is only {width} x {height} pixels. Use the original, uncropped file.",
            )
        )
    if mean < DARK_MEAN:
        findings.append(
            QualityFinding(code="too_dark", message="The image is very dark. Take it again with more light.")
        )
    if mean > BRIGHT_MEAN:
        findings.append(
            QualityFinding(code="too_bright", message="The image is overexposed. Take it again with less light.")
        )
    if spread < FLAT_STD:
        findings.append(
            QualityFinding(code="no_contrast", message="The image shows almost no structure. Check focus and framing.")
        )
    return tuple(findings)
