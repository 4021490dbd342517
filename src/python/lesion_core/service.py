"""What the gateway and those who ask it say to each other beside predictions: headers, and the values behind its JSON.

For both sides: the gateway writes what the app and other programs read. Times are ISO 8601 text in UTC. ``wire`` has
the answer for one image, ``monitoring`` the report over many.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import attrs
import cattrs

from lesion_core.errors import WireError
from lesion_core.interval import Interval
from lesion_core.taxonomy import Malignancy
from lesion_core.wire import Prediction

# Headers that go with an image.
METADATA_HEADER = "X-Lesion-Metadata"
HEAT_MAP_HEADER = "X-Lesion-Heat-Map"
SUBJECT_HEADER = "X-Lesion-Subject"
# A program's word for "nothing" is no patient: all of its images would be one person's. Begins as the record wants its
# ids to begin; the end is one that a line feed does not come before, in the regular expressions of all languages.
_END = r"(?![\s\S])"
SUBJECT_PATTERN = f"^(?!(null|None|undefined|NaN|nan){_END})[A-Za-z0-9][A-Za-z0-9_.:-]{{0,63}}{_END}"


@attrs.frozen(kw_only=True)
class Caller:
    """Who a key stands for, and what it may do: names of the gateway's permissions."""

    key_id: str
    name: str
    role: str
    permissions: tuple[str, ...]


@attrs.frozen(kw_only=True)
class Feedback:
    """What a clinician said of an answer. ``verdict`` is ``agree``, ``other`` (with a ``diagnosis``) or ``comment``.

    ``source`` says how the diagnosis is known: ``clinical``, or ``histology`` once the pathologist has looked.
    ``comment`` is ``None`` as well where it was erased.
    """

    at: str
    key_id: str
    verdict: str
    diagnosis: str | None
    comment: str | None
    source: str = "clinical"


class _Said(Protocol):
    @property
    def verdict(self) -> str: ...
    @property
    def source(self) -> str: ...


_AnySaid = TypeVar("_AnySaid", bound=_Said)


def that_counts(feedback: Sequence[_AnySaid]) -> _AnySaid | None:
    """What counts of all that was said of one answer, oldest first: its newest diagnosis, histology before all else.

    A later remark takes no diagnosis back; it counts where there is none. ``None`` where nobody said anything.
    """
    judged = [said for said in feedback if said.verdict != "comment"]
    histology = [said for said in judged if said.source == "histology"]
    return next(iter(reversed(histology or judged or feedback)), None)


@attrs.frozen(kw_only=True)
class Line:
    """One prediction in a list.

    Attributes:
        request_id: of the prediction.
        at: when it was asked.
        key_id: of the API key that asked.
        subject: the caller's pseudonym for the patient; ``None`` where there is none, or it was erased.
        model_version: that answered.
        top: code of the most probable class.
        probability: of ``top``, in [0, 1].
        band: triage band; ``None`` without one.
        is_outside: the image does not look like the training images.
        quality: ``ok``, ``warn`` or ``reject``.
        review: verdict of the feedback that counts, see ``that_counts``; ``None`` where there is none.
        diagnosis: that the feedback names; for ``agree`` it is ``top``.
    """

    request_id: str
    at: str
    key_id: str
    subject: str | None
    model_version: str
    top: str
    probability: float
    band: str | None
    is_outside: bool
    quality: str
    review: str | None
    diagnosis: str | None


@attrs.frozen(kw_only=True)
class Page:
    """Predictions, newest first. ``next`` is the cursor of the page after; ``None`` on the last one."""

    items: tuple[Line, ...]
    next: str | None


@attrs.frozen(kw_only=True)
class Record:
    """One prediction as it is kept.

    Attributes:
        request_id: of the prediction.
        at: when it was asked.
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

    @property
    def is_erased(self) -> bool:
        """Whether what is personal was erased: the service then takes nothing more of it."""
        return self.image_sha256 is None


@attrs.frozen(kw_only=True)
class SimilarCase:
    """A reference image that the model finds like the one it was asked about.

    Attributes:
        diagnosis: that it is labelled with.
        distance: from the image that was asked about, in the model's own measure; 0 is the same.
        jpeg_base64: a thumbnail.
    """

    diagnosis: str
    distance: float
    jpeg_base64: str = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class SimilarCases:
    """The reference images that are most like one that was asked about, the nearest first.

    Attributes:
        request_id: of the prediction.
        source: data set of the reference images.
        images: how many there are to choose from.
        agreement: of the nearest others of the reference images themselves, the share with the same diagnosis, in
            [0, 1]: what being near is worth.
        cases: the nearest.
    """

    request_id: str
    source: str
    images: int
    agreement: float
    cases: tuple[SimilarCase, ...]


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
        metrics: with intervals; names begin with their part, ``val_`` or ``test_``.
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


@attrs.frozen(kw_only=True)
class Version:
    """One deployed version.

    Attributes:
        name, version, backbone, bundle_digest: which model it is.
        place: ``champion``, ``previous`` or ``challenger``.
        share_percent: of the requests that it answers, in [0, 100].
        is_shadow: asked along with the champion; its answers are recorded, never shown.
        ready_workers, workers: can answer now, of so many.
        finding: what is wrong with it; ``None`` where nothing is.
        created_at: when it was trained.
        trained_on: name of the data set.
        metrics: with intervals; names begin with their part, ``val_`` or ``test_``.
        has_evaluation: whether its bundle holds an evaluation.
    """

    name: str
    version: str
    backbone: str
    bundle_digest: str
    place: str
    share_percent: float
    is_shadow: bool
    ready_workers: int
    workers: int
    finding: str | None
    created_at: str
    trained_on: str
    metrics: dict[str, Interval]
    has_evaluation: bool


@attrs.frozen(kw_only=True)
class Change:
    """One change of what serves: ``before`` and ``after`` are the champion's version, or the challenger's.

    ``by`` names the user or the key that made it.
    """

    at: str
    by: str
    action: str
    before: str | None
    after: str | None
    why: str = ""


@attrs.frozen(kw_only=True)
class Versions:
    """What is deployed, the champion first, and how it came to be so, newest first."""

    versions: tuple[Version, ...]
    history: tuple[Change, ...]


_converter = cattrs.Converter()  # keys that it does not know are left out: a newer gateway may tell more
_Message = TypeVar("_Message")


def to_json(message: Any) -> str:
    """One of these values as JSON text."""
    return json.dumps(_converter.unstructure(message), ensure_ascii=False, allow_nan=False)


def from_json(text: str | bytes, kind: type[_Message]) -> _Message:
    """Read one of these values, or a ``monitoring.MonitoringReport``.

    Raises:
        WireError: not JSON, or fields are missing or out of range.
    """
    try:
        return _converter.structure(json.loads(text), kind)
    except ValueError as error:
        raise WireError(f"The answer is not JSON, or not a {kind.__name__}: {error}.") from error
    except Exception as error:
        raise WireError(f"The answer is not a {kind.__name__}: {'; '.join(cattrs.transform_error(error))}.") from error
