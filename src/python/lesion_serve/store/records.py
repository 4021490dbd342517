"""What goes into the store and what comes out of it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import attrs
import msgspec

from lesion_core.wire import DescribedPrediction, ModelIdentity, Prediction, features_to_json, from_json, to_json
from lesion_serve.store.errors import StoreError

LONGEST_COMMENT = 4000
_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/+-]{0,199}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Role(StrEnum):
    """Whether an answer left the house, or was computed beside it to compare a model."""

    ANSWERED = "answered"
    SHADOW = "shadow"


class Verdict(StrEnum):
    """What a clinician says of an answer."""

    AGREE = "agree"
    OTHER = "other"  # another diagnosis, by its code
    COMMENT = "comment"  # words only


class Source(StrEnum):
    """How a clinician's diagnosis is known."""

    CLINICAL = "clinical"
    HISTOLOGY = "histology"  # the pathologist has looked


class Kind(StrEnum):
    """What an event of the log is."""

    OPENED = "opened"  # a chain begins, or its anchors begin anew
    PREDICTION = "prediction"
    FEEDBACK = "feedback"
    ERASURE = "erasure"
    RETENTION = "retention"
    ALERT = "alert"  # monitoring fired a rule, or a rule ceased to


def _identifier(instance: Any, attribute: attrs.Attribute[Any], value: str) -> None:
    if not _IDENTIFIER.fullmatch(value):
        raise StoreError(
            f"{attribute.name} is 1 to 200 letters, digits or any of ._:@/+- and starts with a letter or digit; "
            f"got {value[:80]!r}.",
            code="bad_record",
        )


def _utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise StoreError(f"A time needs its zone, got {value}. Use datetime.now(UTC).", code="bad_record")
    return value.astimezone(UTC)


def _text(instance: Any, attribute: attrs.Attribute[Any], value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise StoreError(f"{attribute.name} is not text that can be stored: {error}.", code="bad_record") from error
    if "\0" in value:
        raise StoreError(
            f"{attribute.name} has a NUL character (U+0000), which not every database can store. Leave it out.",
            code="bad_record",
        )
    if len(value) > LONGEST_COMMENT:
        raise StoreError(
            f"{attribute.name} has {len(value)} characters, of at most {LONGEST_COMMENT}.", code="bad_record"
        )


def _sha256(instance: Any, attribute: attrs.Attribute[Any], value: str) -> None:
    if not _SHA256.fullmatch(value):
        raise StoreError(f"{attribute.name} is 64 hexadecimal digits, got {value[:80]!r}.", code="bad_record")


def _natural(instance: Any, attribute: attrs.Attribute[Any], value: int) -> None:
    if value < 0:
        raise StoreError(f"{attribute.name} is 0 or more, got {value}.", code="bad_record")


def _object(instance: Any, attribute: attrs.Attribute[Any], value: str) -> None:
    try:
        is_object = isinstance(msgspec.json.decode(value), dict)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise StoreError(f"{attribute.name} is not JSON: {error}.", code="bad_record") from error
    if not is_object:
        raise StoreError(f"{attribute.name} is not a JSON object: {value[:80]!r}.", code="bad_record")


_optional = attrs.validators.optional


@attrs.frozen(kw_only=True)
class Principal:
    """Who acted: the id of a key and the role that it has. Never the key itself."""

    key_id: str = attrs.field(validator=_identifier)
    role: str = attrs.field(validator=_identifier)


@attrs.frozen(kw_only=True)
class PredictionRecord:
    """One answer, as it is written down before it leaves.

    Attributes:
        request_id: names the request; once among the answers, and once among the shadows.
        at: when it was asked, UTC with microseconds.
        principal: who asked.
        model: which model answered.
        image_sha256: of the bytes that were sent, 64 hexadecimal digits. Erasable.
        image_bytes: how many bytes were sent.
        answer: the wire message without heat map and features, as JSON text of ``lesion_core.wire.to_json``.
        role: whether the answer left.
        subject: a pseudonym that the caller gave for the person on the image. Erasable.
        timings_ms: where the time went, in milliseconds.
        features: what monitoring compares, as JSON of the wire's ``Features``. Kept beside the log; erasable.
    """

    request_id: str = attrs.field(validator=_identifier)
    at: datetime = attrs.field(factory=lambda: datetime.now(UTC), converter=_utc)
    principal: Principal
    model: ModelIdentity
    image_sha256: str = attrs.field(validator=_sha256)
    image_bytes: int = attrs.field(validator=_natural)
    answer: str = attrs.field(validator=_object, repr=False)
    role: Role = Role.ANSWERED
    subject: str | None = attrs.field(default=None, validator=_optional(_identifier), repr=False)
    timings_ms: dict[str, float] = attrs.field(factory=dict)
    features: str | None = attrs.field(default=None, validator=_optional(_object), repr=False)

    @classmethod
    def of(cls, prediction: Prediction, **more: Any) -> PredictionRecord:
        """A record of an answer; ``more`` are the attributes that the answer does not have.

        Its heat map is left out: it shows the patient's skin, and what is in the chain cannot be erased. So are its
        features, which are kept beside the chain.
        """
        if isinstance(prediction, DescribedPrediction):
            more = {"features": features_to_json(prediction.features), **more}
            prediction = prediction.undescribed
        answer = to_json(attrs.evolve(prediction, heat_map=None))
        return cls(request_id=prediction.request_id, model=prediction.model, answer=answer, **more)

    @property
    def prediction(self) -> Prediction:
        """The answer as a value.

        Raises:
            WireError: it is of another version of the wire.
        """
        return from_json(self.answer, Prediction)


@attrs.frozen(kw_only=True)
class FeedbackRecord:
    """What a clinician says of an answer.

    Attributes:
        request_id: of the prediction.
        principal: who says it.
        verdict: see ``Verdict``.
        diagnosis: the code of the other diagnosis; with ``OTHER`` only.
        comment: in words, at most 4000 characters. Erasable, since people write names into such fields.
        source: how the diagnosis is known, of ``AGREE`` and ``OTHER``.
        at: UTC with microseconds.
    """

    request_id: str = attrs.field(validator=_identifier)
    principal: Principal
    verdict: Verdict
    diagnosis: str | None = attrs.field(default=None, validator=_optional(_identifier))
    comment: str | None = attrs.field(default=None, validator=_optional(_text), repr=False)
    source: Source = Source.CLINICAL
    at: datetime = attrs.field(factory=lambda: datetime.now(UTC), converter=_utc)

    def __attrs_post_init__(self) -> None:
        if (self.verdict is Verdict.OTHER) != (self.diagnosis is not None):
            raise StoreError(
                f"The verdict 'other' has a diagnosis and no other verdict has one; got {self.verdict.value!r} with "
                f"{self.diagnosis!r}.",
                code="bad_record",
            )
        if self.verdict is Verdict.COMMENT and not self.comment:
            raise StoreError("The verdict 'comment' needs a comment.", code="bad_record")


@attrs.frozen(kw_only=True)
class AlertRecord:
    """A rule of monitoring that fires, or has ceased to.

    Attributes:
        name: of the rule.
        state: ``firing`` or ``resolved``.
        severity: ``warning`` or ``page``.
        value: that the rule read; ``None`` where there was nothing to read.
        message: for people. Stays in the log for good, so it names no person.
        at: UTC with microseconds.
    """

    name: str = attrs.field(validator=_identifier)
    state: str = attrs.field(validator=attrs.validators.in_(("firing", "resolved")))
    severity: str = attrs.field(validator=attrs.validators.in_(("warning", "page")))
    value: float | None
    message: str = attrs.field(validator=_text)
    at: datetime = attrs.field(factory=lambda: datetime.now(UTC), converter=_utc)


@attrs.frozen(kw_only=True)
class Receipt:
    """What an append gives back: the place in the chain, and the digest there. The record is durable."""

    position: int
    digest: str


@attrs.frozen(kw_only=True)
class StoredFeedback:
    """A ``FeedbackRecord`` as it lies in the store; ``comment`` is ``None`` as well where it was erased."""

    position: int
    request_id: str
    at: datetime
    principal: Principal
    verdict: Verdict
    diagnosis: str | None
    comment: str | None = attrs.field(repr=False)
    source: Source


@attrs.frozen(kw_only=True)
class StoredPrediction:
    """A prediction as it lies in the store.

    Attributes:
        position: in the chain.
        digest: of the chain there.
        image_sha256, subject: ``None`` where there is none, or where it was erased.
        has_image: whether the image itself is kept.
        erased: what was erased of it: names among ``subject``, ``image_sha256``, ``image``.
        feedback: on this request's answer, oldest first.
        others: as in ``PredictionRecord``.
    """

    position: int
    digest: str
    request_id: str
    at: datetime
    principal: Principal
    model: ModelIdentity
    image_sha256: str | None
    image_bytes: int
    answer: str = attrs.field(repr=False)
    role: Role
    subject: str | None = attrs.field(repr=False)
    timings_ms: dict[str, float]
    has_image: bool
    erased: tuple[str, ...]
    feedback: tuple[StoredFeedback, ...] = ()

    @property
    def prediction(self) -> Prediction:
        """The answer as a value.

        Raises:
            WireError: it is of another version of the wire.
        """
        return from_json(self.answer, Prediction)
