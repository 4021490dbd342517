"""What a request asks for beside its image, in headers: the same for every engine, whose handler reads them here.

    X-Lesion-Metadata: {"age_approx": 55, "sex": "female", "anatom_site_general": "anterior torso"}
    X-Lesion-Heat-Map: true
    X-Lesion-Features: true     (of the gateway: what monitoring compares)

Imports nothing that a worker of TorchServe lacks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import attrs

from lesion_core.decision.metadata import PatientMetadata
from lesion_core.errors import LesionError
from lesion_core.service import HEAT_MAP_HEADER, METADATA_HEADER

FEATURES = "X-Lesion-Features"


class RequestHeaderError(LesionError):
    """A header that cannot be used. Codes: ``bad_request``, ``bad_metadata``."""

    code = "bad_request"


@attrs.frozen(kw_only=True)
class Asked:
    """What the headers say: of the patient, ``None`` where nothing was sent; and what is wanted beside an answer."""

    metadata: PatientMetadata | None = None
    heat_map: bool = False
    features: bool = False


def header_of(headers: Mapping[str, str], name: str) -> str | None:
    """One header. Names of headers have no case, but TorchServe keeps the one that the client happened to send."""
    return next((value for key, value in headers.items() if key.lower() == name.lower()), None)


def read_headers(headers: Mapping[str, str]) -> Asked:
    """Read our headers; others are left alone.

    Raises:
        RequestHeaderError: ``bad_metadata``: not a JSON object of ``PatientMetadata``'s fields; ``bad_request``: a wish
            for a heat map or for features that is neither ``true`` nor ``false``.
    """
    told = header_of(headers, METADATA_HEADER)
    return Asked(
        heat_map=_is_wanted(headers, HEAT_MAP_HEADER),
        features=_is_wanted(headers, FEATURES),
        metadata=None if told is None else _read_metadata(told),
    )


def metadata_of(told: object) -> PatientMetadata:
    """What is known of the patient, from JSON that was read.

    Raises:
        RequestHeaderError: ``bad_metadata``: not an object of ``PatientMetadata``'s fields.
    """
    if not isinstance(told, dict):
        raise _bad_metadata(f"it is a JSON {type(told).__name__}, not an object")
    known = attrs.fields_dict(PatientMetadata)
    if unknown := sorted(set(told) - set(known)):
        raise _bad_metadata(f"it has {', '.join(map(repr, unknown))}. Known: {', '.join(known)}")
    for name, value in told.items():
        kinds = (int, float) if name == "age_approx" else (str,)
        if value is not None and type(value) not in kinds:  # exactly: true is no age, though Python counts with it
            raise _bad_metadata(f"{name} is {value!r}, not {'a number' if float in kinds else 'text'}")
    try:
        return PatientMetadata(**told)
    except ValueError as error:
        raise _bad_metadata(str(error.args[0])) from error


def _is_wanted(headers: Mapping[str, str], name: str) -> bool:
    wish = header_of(headers, name)
    if wish not in (None, "true", "false"):
        raise RequestHeaderError(f"{name} is true or false, got {wish[:80]!r}.")
    return wish == "true"


def _read_metadata(text: str) -> PatientMetadata:
    try:
        told = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _bad_metadata(f"it is not JSON: {error}") from error
    return metadata_of(told)


def _bad_metadata(reason: str) -> RequestHeaderError:
    return RequestHeaderError(f"{METADATA_HEADER} cannot be used: {reason[:300]}.", code="bad_metadata")
