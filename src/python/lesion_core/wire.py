"""The wire: the JSON between engines, the serving side and the app. Both sides use these values.

Schema version 1. A reader refuses another version: a silent mismatch could put a number under the wrong name.

With msgspec, since every answer comes through here several times: it reads and writes attrs classes, runs their
validators, and takes less time than json and cattrs. It writes NaN as null, so no number here may be one.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, TypeVar

import attrs
import msgspec

from lesion_core.errors import WireError
from lesion_core.taxonomy import ClinicalCode, Malignancy

SCHEMA_VERSION = 1
NOTICE = "Research use only. Not a medical device; not a diagnosis."
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def _finite(instance: Any, attribute: attrs.Attribute[Any], value: float) -> None:
    if not math.isfinite(value):
        raise ValueError(f"{attribute.name} has to be a finite number, got {value}")


def _all_finite(instance: Any, attribute: attrs.Attribute[Any], value: Mapping[str, float | None]) -> None:
    for name, one in value.items():
        if one is not None and not math.isfinite(one):
            raise ValueError(f"{attribute.name}[{name!r}] has to be a finite number, got {one}")


@attrs.frozen(kw_only=True)
class ClassProbability:
    """One class of the answer. ``probability`` is calibrated, in [0, 1]; all of an answer sum to 1.

    ``codes`` are what clinics and registries write for the diagnosis: several where it is a group, or none.
    """

    code: str
    name: str
    malignancy: Malignancy
    probability: float = attrs.field(validator=[attrs.validators.ge(0.0), attrs.validators.le(1.0)])
    plain: str = ""
    codes: tuple[ClinicalCode, ...] = ()


@attrs.frozen(kw_only=True)
class OutOfDistribution:
    """Does the image look like the training images? Larger ``score`` is stranger, on the scale of ``detector``."""

    detector: str
    score: float = attrs.field(validator=_finite)
    threshold: float = attrs.field(validator=_finite)
    is_outside: bool


@attrs.frozen(kw_only=True)
class ConformalSet:
    """Diagnoses that cannot be ruled out at the nominal ``coverage`` of each class (in-distribution images only)."""

    codes: tuple[str, ...]
    coverage: float = attrs.field(validator=_finite)


@attrs.frozen(kw_only=True)
class MalignancyRisk:
    """Summed probability of the malignant classes, and the triage band it falls in.

    Attributes:
        probability: in [0, 1].
        band: ``"low"``, ``"intermediate"`` or ``"high"``.
        lower: the band reaches from here, up to but without ``upper``; the high band has 1 there.
        upper: see ``lower``.
        sensitivity: what the upper end of the low band was set for, on the validation part.
        images: of the validation part, that fell into this band.
        malignant: how many of them were malignant.
        prevalence: share of malignant images in the whole validation part.
    """

    probability: float = attrs.field(validator=_finite)
    band: str = attrs.field(validator=attrs.validators.in_(("low", "intermediate", "high")))
    lower: float = attrs.field(validator=_finite)
    upper: float = attrs.field(validator=_finite)
    sensitivity: float = attrs.field(validator=_finite)
    images: int
    malignant: int
    prevalence: float = attrs.field(validator=_finite)


@attrs.frozen(kw_only=True)
class QualityFinding:
    """Something about the photograph that makes the answer less reliable (``"warn"``) or worthless (``"reject"``).

    ``value`` was measured and ``threshold`` is the limit that it breaks, whose ``origin`` says where it comes from;
    ``message`` says what to do.
    """

    code: str
    grade: str = attrs.field(validator=attrs.validators.in_(("warn", "reject")))
    value: float = attrs.field(validator=_finite)
    threshold: float = attrs.field(validator=_finite)
    origin: str
    message: str


def quality_grade(findings: Iterable[QualityFinding]) -> str:
    """The worst grade among findings: ``"ok"`` without any, ``"warn"`` or ``"reject"``."""
    return worst_grade(finding.grade for finding in findings)


def worst_grade(found: Iterable[str]) -> str:
    """The worst of the grades of findings: ``"ok"`` without any, ``"warn"`` or ``"reject"``."""
    grades = set(found)
    return "reject" if "reject" in grades else "warn" if grades else "ok"


@attrs.frozen(kw_only=True)
class ModelIdentity:
    """Which model answered. ``bundle_digest`` is the sha256 of its manifest, which covers every file."""

    name: str
    version: str
    backbone: str
    bundle_digest: str


def _png(instance: Any, attribute: attrs.Attribute[Any], value: str) -> None:
    try:
        start = base64.b64decode(value, validate=True)[: len(PNG_SIGNATURE)]
    except binascii.Error as error:
        raise ValueError(f"{attribute.name} is not base64: {error}") from error
    if start != PNG_SIGNATURE:
        raise ValueError(f"{attribute.name} is not a PNG image")


@attrs.frozen(kw_only=True)
class HeatMap:
    """Which places of the image speak for a diagnosis, as the network weighs them: not where the lesion ends.

    The picture's palette has ``LEVELS`` steps of evidence by as many greys, each the mean of a colour and a grey, so
    that a pixel takes one byte and both can be had apart again.

    Attributes:
        code: of the diagnosis that it explains, a trained one.
        method: ``"class_activation"``: the mean of the values is what the image adds to the diagnosis' logit;
            ``"opinion_of_places"``: what the head would say of each place alone, which adds up to nothing.
        lowest: of the values, in units of logits. Values below 0 speak against the diagnosis and are drawn as 0.
        highest: of the values. The colours reach from 0 up to this; where it is not above 0, no place is coloured.
        colours: name of the colour map, ``"viridis"``.
        png_base64: the values in colours, over the square of the image that the network saw, in grey.
    """

    LEVELS: ClassVar[int] = 16

    code: str
    method: str = attrs.field(validator=attrs.validators.in_(("class_activation", "opinion_of_places")))
    lowest: float = attrs.field(validator=_finite)
    highest: float = attrs.field(validator=_finite)
    colours: str
    png_base64: str = attrs.field(validator=_png, repr=False)

    @property
    def png(self) -> bytes:
        """The picture as the bytes of a file."""
        return base64.b64decode(self.png_base64)


def _sum_to_one(instance: Any, attribute: attrs.Attribute[Any], value: tuple[ClassProbability, ...]) -> None:
    total = sum(item.probability for item in value)
    if not abs(total - 1) < 1e-4:
        raise ValueError(f"{attribute.name} sum to {total!r}, not to 1")


@attrs.frozen(kw_only=True)
class Prediction:
    """The answer for one image.

    ``probabilities`` are in the taxonomy's order, *none of the above* last; ``risk`` is ``None`` where the taxonomy has
    no malignant class, or the validation part had none of its images. ``heat_map`` is ``None`` where it was not asked
    for, or the backbone's features have no places.
    """

    request_id: str
    model: ModelIdentity
    probabilities: tuple[ClassProbability, ...] = attrs.field(validator=_sum_to_one)
    out_of_distribution: OutOfDistribution
    conformal_set: ConformalSet
    risk: MalignancyRisk | None
    quality: tuple[QualityFinding, ...] = ()
    timings_ms: dict[str, float] = attrs.field(factory=dict, validator=_all_finite)
    heat_map: HeatMap | None = None
    notice: str = NOTICE
    schema_version: int = SCHEMA_VERSION

    @property
    def top(self) -> ClassProbability:
        """The most probable class."""
        return max(self.probabilities, key=lambda item: item.probability)

    @property
    def quality_grade(self) -> str:
        """``"ok"``, ``"warn"`` or ``"reject"``: the worst of the findings about the photograph."""
        return quality_grade(self.quality)


@attrs.frozen(kw_only=True)
class Features:
    """What monitoring compares of an image. It never leaves the gateway: it is a fingerprint of the image.

    Attributes:
        embedding_base64: what the network saw, projected: float16, little-endian. See ``drift_reference``.
        probabilities: as in ``Prediction``, of the image alone, whatever else was known.
        quality: ``QualityMeasures`` by name.
    """

    embedding_base64: str
    probabilities: tuple[float, ...] = attrs.field(validator=attrs.validators.deep_iterable(_finite))
    quality: dict[str, float | None] = attrs.field(validator=_all_finite)


@attrs.frozen(kw_only=True)
class DescribedPrediction(Prediction):
    """An answer with what monitoring compares, where the gateway asked for it. It goes no further than there."""

    features: Features = attrs.field(repr=False)

    @property
    def undescribed(self) -> Prediction:
        """The answer alone, as it leaves."""
        return Prediction(**{field.name: getattr(self, field.name) for field in attrs.fields(Prediction)})


def describe(prediction: Prediction, features: Features) -> DescribedPrediction:
    """The answer with its features."""
    fields = {field.name: getattr(prediction, field.name) for field in attrs.fields(Prediction)}
    return DescribedPrediction(**fields, features=features)


@attrs.frozen(kw_only=True)
class Problem:
    """Why there is no answer: a stable ``code``, a sentence for people, and the request it belongs to."""

    code: str
    message: str
    request_id: str = ""
    schema_version: int = SCHEMA_VERSION


class _Envelope(msgspec.Struct):
    """What decides on how the rest is read."""

    schema_version: Any = None
    features: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


Message = TypeVar("Message", Prediction, DescribedPrediction, Problem)
# All messages accept keys that they do not know: a newer server of the same schema version may add some.
_DECODERS: Mapping[type, msgspec.json.Decoder[Any]] = {
    kind: msgspec.json.Decoder(kind) for kind in (Prediction, DescribedPrediction, Problem, Features)
}
_ENVELOPES = msgspec.json.Decoder(_Envelope)


def to_json(message: Prediction | Problem) -> str:
    """One message as compact JSON text."""
    return msgspec.json.encode(message).decode()


def features_to_json(features: Features) -> str:
    """One image's features as compact JSON text."""
    return msgspec.json.encode(features).decode()


def features_from_json(text: str) -> Features:
    """The other way round.

    Raises:
        WireError: it is not such text.
    """
    try:
        features: Features = _DECODERS[Features].decode(text)
    except _UNREADABLE as error:
        raise WireError(f"The features of an image cannot be read: {error}.") from error
    return features


def from_json(text: str | bytes, kind: type[Message]) -> Message:
    """Read one message.

    Raises:
        WireError: not JSON, another schema version, or fields missing or out of range.
    """
    _envelope(text)
    return _read(text, kind)


def answer_from_json(text: str | bytes) -> Prediction:
    """Read an answer: a ``DescribedPrediction`` where it comes with features.

    Raises:
        WireError: as ``from_json``.
    """
    return _read(text, Prediction if _envelope(text).features is msgspec.UNSET else DescribedPrediction)


def _envelope(text: str | bytes) -> _Envelope:
    try:
        envelope = _ENVELOPES.decode(text)
    except msgspec.ValidationError as error:
        raise WireError(f"The answer is not a JSON object: {error}.") from error
    except _UNREADABLE as error:
        raise WireError(f"The answer is not JSON: {error}.") from error
    if envelope.schema_version != SCHEMA_VERSION:
        raise WireError(
            f"The answer has schema version {envelope.schema_version!r}; this program reads {SCHEMA_VERSION}. "
            "Use the same release of Lesion on both sides."
        )
    return envelope


def _read(text: str | bytes, kind: type[Message]) -> Message:
    try:
        message: Message = _DECODERS[kind].decode(text)
    except _UNREADABLE as error:
        raise WireError(f"The answer is not a {kind.__name__}: {error}.") from error
    return message
