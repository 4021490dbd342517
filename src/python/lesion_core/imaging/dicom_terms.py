"""Words that a de-identified DICOM file may hold: a name in capital letters looks like a code string, too.

Nothing that a file says in words is taken over unless it stands here, or in the tables of DICOM PS3.16 that come with
pydicom.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydicom.sr.coding import Code

_ANSWER = "YES|NO"
_BODY_PARTS = (
    "ABDOMEN|ANKLE|ANUS|ARM|AXILLA|BACK|BREAST|BUTTOCK|CALF|CHEEK|CHEST|CHIN|EAR|ELBOW|EXTREMITY|EYE|EYELID|FACE|"
    "FINGER|FOOT|FOREARM|FOREHEAD|GROIN|HAND|HEAD|HEADNECK|HIP|KNEE|LEG|LIP|MOUTH|NAIL|NECK|NOSE|PALM|PENIS|PERINEUM|"
    "SCALP|SCROTUM|SHOULDER|SKIN|SOLE|THIGH|THUMB|TOE|TONGUE|TRUNK|UMBILICUS|UPPERARM|VULVA|WHOLEBODY|WRIST"
)

TERMS: Mapping[str, re.Pattern[str]] = MappingProxyType(
    {
        keyword: re.compile(pattern)
        for keyword, pattern in {
            "ImageType": "ORIGINAL|DERIVED|PRIMARY|SECONDARY|SINGLE|COLOR|LABEL|OTHER",
            "Modality": "DMS|ES|GM|OP|OT|SM|XC",
            "ConversionType": "DV|DI|DF|WSD|SD|SI|DRW|SYN",
            "BodyPartExamined": _BODY_PARTS,
            "Laterality": "R|L",
            "ImageLaterality": "R|L|U|B",
            "PatientOrientation": "[APRLHF]{1,3}",
            "PhotometricInterpretation": "MONOCHROME[12]|PALETTE COLOR|RGB|YBR_FULL|YBR_FULL_422|YBR_ICT|YBR_RCT",
            "PixelSpacingCalibrationType": "GEOMETRY|FIDUCIAL",
            "BurnedInAnnotation": _ANSWER,
            "RescaleType": "US|OD|HU",
            "VOILUTFunction": "LINEAR|LINEAR_EXACT|SIGMOID",
            "LossyImageCompression": "00|01",
            "LossyImageCompressionMethod": "ISO_10918_1|ISO_14495_1|ISO_15444_1|ISO_13818_2|ISO_14496_10|ISO_23008_2",
            "QualityControlImage": f"{_ANSWER}|BOTH",
            "LightSourcePolarization": f"{_ANSWER}|NONE|CROSS|CROSSED|PARALLEL|LINEAR|CIRCULAR|POLARIZED|NON_POLARIZED",
            "ContactMethod": f"{_ANSWER}|CONTACT|NON_CONTACT|NONCONTACT",
            "ImmersionMedia": "NONE|AIR|ALCOHOL|GEL|GLYCERIN|OIL|WATER|ULTRASOUND GEL",
        }.items()
    }
)
"""What each value of an element may be, in words; from PS3.3 and PS3.16, annex L, as far as photographs need them."""

# Context groups of DICOM PS3.16: anatomic modifier, laterality, dermatology anatomic sites, common anatomic regions.
_CONTEXT_GROUPS = ("cid2", "cid244", "cid4029", "cid4031")


def known_code(value: str, scheme: str) -> Code | None:
    """A code of anatomy with the meaning that DICOM gives it; ``None`` for one that DICOM does not list.

    Args:
        value: e.g. ``77568009``.
        scheme: e.g. ``SCT``; codes of the older ``SRT`` become those of SNOMED CT.
    """
    from pydicom.sr.coding import Code

    asked = Code(value, scheme, "")
    return next((code for code in _anatomy() if code == asked), None)


@functools.cache
def _anatomy() -> tuple[Code, ...]:
    from pydicom.sr.codedict import codes  # takes a second to import

    return tuple(code for group in _CONTEXT_GROUPS for code in getattr(codes, group).concepts.values())
