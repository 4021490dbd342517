"""What the gateway sends beside predictions, and takes beside images. ``openapi`` describes them from these classes."""

from __future__ import annotations

from typing import Annotated, Literal

import attrs
import msgspec

from lesion_core.interval import Interval
from lesion_core.taxonomy import Malignancy
from lesion_core.wire import Prediction
from lesion_serve.store import LONGEST_COMMENT

LONGEST_CODE = 32


@attrs.frozen(kw_only=True)
class ProblemDetails:
    """RFC 9457. ``code`` is stable and for programs, ``detail`` a sentence for people; ``message`` is the same one."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    message: str
    schema_version: int


@attrs.frozen(kw_only=True)
class Item:
    """One image of a form: a prediction, or the problem with it."""

    status: int
    prediction: Prediction | None
    problem: ProblemDetails | None


@attrs.frozen(kw_only=True)
class Items:
    """The answers for a form's images, in their order."""

    items: tuple[Item, ...]


@attrs.frozen(kw_only=True)
class Model:
    """One loaded version. ``finding`` says what is wrong with it, if anything is."""

    name: str
    version: str
    backbone: str
    bundle_digest: str
    is_default: bool
    ready_workers: int
    workers: int
    finding: str | None


@attrs.frozen(kw_only=True)
class Models:
    """What is loaded, the default first."""

    models: tuple[Model, ...]


@attrs.frozen(kw_only=True)
class Status:
    """``ok`` or ``ready``."""

    status: str


class Agree(msgspec.Struct, tag_field="verdict", tag="agree", forbid_unknown_fields=True, kw_only=True):
    """The most probable diagnosis is right. ``source`` says how that is known."""

    source: Literal["clinical", "histology"] = "clinical"
    comment: Annotated[str, msgspec.Meta(max_length=LONGEST_COMMENT)] | None = None


class Other(msgspec.Struct, tag_field="verdict", tag="other", forbid_unknown_fields=True, kw_only=True):
    """It is another one: ``diagnosis`` is a code of the answer's classes. ``source`` says how it is known."""

    diagnosis: Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_CODE)]
    source: Literal["clinical", "histology"] = "clinical"
    comment: Annotated[str, msgspec.Meta(max_length=LONGEST_COMMENT)] | None = None


class Comment(msgspec.Struct, tag_field="verdict", tag="comment", forbid_unknown_fields=True, kw_only=True):
    """Words only."""

    comment: Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_COMMENT)]


FeedbackBody = Agree | Other | Comment


@attrs.frozen(kw_only=True)
class Feedback:
    """Feedback as it is kept. ``at`` is ISO 8601, UTC; ``comment`` is ``None`` as well where it was erased."""

    at: str
    key_id: str
    verdict: str
    diagnosis: str | None
    comment: str | None
    source: str


@attrs.frozen(kw_only=True)
class Record:
    """One prediction as it is kept.

    Attributes:
        request_id: of the prediction.
        at: when it was asked, ISO 8601, UTC.
        key_id: of the API key that asked.
        position: in the log, counted from 1.
        digest: of the log up to here, 64 hexadecimal digits.
        image_sha256: of the bytes that were sent; ``None`` where it was erased.
        image_bytes: how many bytes were sent.
        subject: the caller's pseudonym for the patient; ``None`` where there was none, or it was erased.
        erased: what was erased of it.
        prediction: the answer as it was given.
        feedback: oldest first.
    """

    request_id: str
    at: str
    key_id: str
    position: int
    digest: str
    image_sha256: str | None
    image_bytes: int
    subject: str | None
    erased: tuple[str, ...]
    prediction: Prediction
    feedback: tuple[Feedback, ...]


@attrs.frozen(kw_only=True)
class DiagnosisLine:
    """One diagnosis that answers may name."""

    code: str
    name: str
    malignancy: Malignancy
    is_trained: bool


@attrs.frozen(kw_only=True)
class Limits:
    """What one request may be. ``formats`` are media types."""

    formats: tuple[str, ...]
    image_bytes: int
    image_pixels: int
    request_bytes: int
    images: int
    seconds: float


@attrs.frozen(kw_only=True)
class Label:
    """What a user has to know before using the answers, of the version that answers now.

    Attributes:
        product, product_version: of this program.
        notice: the one sentence that every answer carries.
        intended_use, not_for: sentences.
        model, model_version, bundle_digest, backbone: which model it is.
        trained_on: name of the data set.
        training_images, validation_images: how many it learnt from and was adjusted on.
        weights_license, code_license: terms of the backbone that it started from.
        diagnoses: what it can answer.
        metrics: with intervals; on the validation part, but for names with ``test_``.
        limits: of one request.
        card: the whole model card, Markdown.
    """

    product: str
    product_version: str
    notice: str
    intended_use: tuple[str, ...]
    not_for: tuple[str, ...]
    model: str
    model_version: str
    bundle_digest: str
    backbone: str
    trained_on: str
    training_images: int
    validation_images: int
    weights_license: str
    code_license: str
    diagnoses: tuple[DiagnosisLine, ...]
    metrics: dict[str, Interval]
    limits: Limits
    card: str
