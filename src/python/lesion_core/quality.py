"""The quality gate: is a photograph fit to be answered for? Findings with a number, a limit and where it comes from.

``warn`` says that the answer is less reliable, ``reject`` that it should not be relied on; the answer is given all
the same. The limits were set on real dermoscopic images so that well under 1 % of them is rejected;
``benchmarks/quality_rates.py`` prints the rates, and what share of degraded copies is caught. Nearly all of those
images show light skin. So the limits that darkness could touch are generous, and the strict ones lie below the
darkest tone of the Monk skin tone scale.
"""

from __future__ import annotations

import attrs
import numpy as np
from numpy.typing import NDArray

from lesion_core.quality_measures import GRID_PX, QualityMeasures, measure_quality
from lesion_core.wire import QualityFinding

_150 = "4,226 HAM10000 images of 150 px"
_84 = "20,854 ISIC 2019 images of 84 px"


@attrs.frozen(kw_only=True)
class Limit:
    """From where on one measure is a finding.

    Attributes:
        code: of the finding.
        measure: name of the field of ``QualityMeasures``.
        is_lower: too small a value is the fault, not too large a one.
        warn: the milder limit; a value equal to it is no finding.
        reject: the stricter limit; ``None`` where the fault never makes an answer worthless.
        warn_origin: where ``warn`` comes from.
        reject_origin: where ``reject`` comes from.
        message: what is wrong and what to do about it, a sentence or two.
    """

    code: str
    measure: str
    is_lower: bool = False
    warn: float
    reject: float | None = None
    warn_origin: str
    reject_origin: str = ""
    message: str

    def finding(self, measures: QualityMeasures) -> QualityFinding | None:
        """The finding for one image, graded by the strictest limit that it breaks, if any."""
        value = getattr(measures, self.measure)
        if value is None:
            return None
        for grade, limit, origin in (
            ("reject", self.reject, self.reject_origin),
            ("warn", self.warn, self.warn_origin),
        ):
            if limit is not None and (value < limit if self.is_lower else value > limit):
                return QualityFinding(
                    code=self.code, grade=grade, value=value, threshold=limit, origin=origin, message=self.message
                )
        return None


LIMITS = (
    Limit(
        code="low_resolution",
        measure="shorter_side_px",
        is_lower=True,
        warn=GRID_PX,
        reject=84,
        warn_origin="focus, hair and rulers are judged from this size on",
        reject_origin="no smaller image was ever checked",
        message="The image has few pixels. Use the original, uncropped file.",
    ),
    Limit(
        code="out_of_focus",
        measure="focus",
        is_lower=True,
        warn=0.40,
        reject=0.33,
        warn_origin=f"0.5 % of {_150} are below",
        reject_origin=f"fewer than 0.1 % of {_150} are below",
        message="The image is blurred. Focus on the skin, hold still and take it again.",
    ),
    Limit(
        code="too_dark",
        measure="bright_level",
        is_lower=True,
        warn=128,
        reject=30,
        warn_origin=f"0.4 % of {_84}, and none of 150 px, are below",
        reject_origin="below the grey level 37 of the darkest Monk skin tone",
        message="The image is dark. Unless the skin itself is dark, take it again with more light.",
    ),
    Limit(
        code="too_bright",
        measure="median_level",
        warn=226,
        reject=245,
        warn_origin=f"0.2 % of {_84} are above",
        reject_origin=f"none of {_84} is above",
        message="The image is very bright. Take it again with less light or a shorter exposure.",
    ),
    Limit(
        code="clipped",
        measure="clipped",
        warn=0.08,
        reject=0.5,
        warn_origin=f"0.1 % of {_84} are above",
        reject_origin="half of the field holds no information; none of the images checked has so much",
        message="Parts of the image are pure white or pure black. Avoid glare and correct the exposure.",
    ),
    Limit(
        code="blank",
        measure="structure",
        is_lower=True,
        warn=7.0,
        reject=4.0,
        warn_origin=f"0.2 % of {_84} are below",
        reject_origin=f"none of {_84} is below",
        message="The image shows almost no structure. Check that the lesion is in the frame and nothing covers it.",
    ),
    Limit(
        code="not_skin",
        measure="non_skin",
        warn=0.32,
        reject=0.9,
        warn_origin=f"0.2 % of {_150} and 1 % of {_84} are above",
        reject_origin=f"0.2 % of {_84} are above, all of them with a blue or violet cast",
        message="Much of the image is greener or bluer than skin. Check the white balance and what the image shows.",
    ),
    Limit(
        code="dark_corners",
        measure="dark_surround",
        warn=0.45,
        reject=0.75,
        warn_origin="a round field that touches two sides of a 4:3 frame leaves 0.41",
        reject_origin=f"none of {_84} is above",
        message="The round field of the dermatoscope fills little of the frame. Zoom in, or crop the image to it.",
    ),
    Limit(
        code="hair",
        measure="hair",
        warn=0.2,
        warn_origin=f"0.6 % of {_150} are above; by eye nearly all of them are covered with hair",
        message="Dark hairs cover much of the skin. Part, flatten or clip them if you can.",
    ),
    Limit(
        code="ruler",
        measure="ruler",
        warn=0.28,
        warn_origin=f"finds 5 of the 10 rulers known among {_150}, and nothing else",
        message="There seems to be a ruler or a scale bar in the image. Take one without it.",
    ),
)


def assess_quality(image: NDArray[np.uint8]) -> tuple[QualityFinding, ...]:
    """Findings for one image: uint8 ``(H, W, 3)``, RGB → none, one or several, in the order of ``LIMITS``."""
    return findings_of(measure_quality(image))


def findings_of(measures: QualityMeasures) -> tuple[QualityFinding, ...]:
    """Findings for what was measured on one image, in the order of ``LIMITS``."""
    return tuple(finding for limit in LIMITS if (finding := limit.finding(measures)) is not None)
