"""What the gateway sends beside predictions, and takes beside images. ``openapi`` describes them from these classes."""

from __future__ import annotations

from typing import Annotated, Literal

import attrs
import msgspec

from lesion_core.wire import Prediction
from lesion_serve.store import LONGEST_COMMENT

LONGEST_CODE = 32
LONGEST_VERSION = 64
LONGEST_WHY = 500


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


class Promote(msgspec.Struct, tag_field="action", tag="promote", forbid_unknown_fields=True, kw_only=True):
    """A version that is deployed becomes the champion."""

    version: Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_VERSION)]
    why: Annotated[str, msgspec.Meta(max_length=LONGEST_WHY)] = ""


class Rollback(msgspec.Struct, tag_field="action", tag="rollback", forbid_unknown_fields=True, kw_only=True):
    """The champion before becomes the champion again."""

    why: Annotated[str, msgspec.Meta(max_length=LONGEST_WHY)] = ""


DeploymentBody = Promote | Rollback
