"""How an answer becomes a row of a table.

The full layout has everything that the wire's ``Prediction`` says, but what belongs to one request: its id and its
timings. So the same images and model give the same table, to the last byte.
"""

# K classes, none of the above last

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

import attrs

from lesion_core.taxonomy import ISIC_2019
from lesion_core.wire import MalignancyRisk, ModelIdentity, Prediction, Problem
from lesion_serve.batch.errors import BatchError
from lesion_serve.batch.settings import LayoutName

Cell = str | float | int | bool | None
Cells = tuple[Cell, ...]


class Column(NamedTuple):
    """One column: its name, and what its cells hold where they are not blank."""

    name: str
    kind: Literal["text", "number", "count", "flag"]


class Layout(Protocol):
    """How images are named, and what stands beside the name."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """Of the table."""

    @property
    def keeps_errors(self) -> bool:
        """Whether images without an answer have a row; else they are listed in a table beside it."""

    def cells(self, identity: ModelIdentity, sha256: str | None, answer: Prediction | Problem) -> Cells:
        """What stands beside the name of an image. ``sha256`` is ``None`` where the file could not be read."""


ERROR_COLUMNS = tuple(Column(name, "text") for name in ("image", "sha256", "error_code", "error_message"))


@attrs.frozen
class FullLayout:
    """One row for each image, with an answer or with an error."""

    codes: tuple[str, ...]
    keeps_errors = True

    @property
    def columns(self) -> tuple[Column, ...]:
        """See ``Layout``."""
        of_image = [Column(name, "text") for name in ("image", "sha256")]
        of_model = [Column(name, "text") for name in ("model_name", "model_version", "backbone", "bundle_digest")]
        of_classes = [Column(f"probability_{code}", "number") for code in self.codes]
        return (*of_image, *of_model, Column("top", "text"), *of_classes, *_REST, *ERROR_COLUMNS[2:])

    def cells(self, identity: ModelIdentity, sha256: str | None, answer: Prediction | Problem) -> Cells:
        """See ``Layout``."""
        model = (sha256, identity.name, identity.version, identity.backbone, identity.bundle_digest)
        if isinstance(answer, Problem):
            return (*model, *[None] * (1 + len(self.codes) + len(_REST)), answer.code, answer.message)
        strange, conformal, risk = answer.out_of_distribution, answer.conformal_set, answer.risk
        return (
            *model,
            answer.top.code,
            *(item.probability for item in answer.probabilities),
            " ".join(conformal.codes),
            conformal.coverage,
            strange.detector,
            strange.score,
            strange.threshold,
            strange.is_outside,
            *((None,) * len(attrs.fields(MalignancyRisk)) if risk is None else attrs.astuple(risk)),
            answer.quality_grade,
            json.dumps([attrs.asdict(finding) for finding in answer.quality], ensure_ascii=False, allow_nan=False),
            answer.notice,
            None,
            None,
        )


_REST = (
    Column("conformal_set", "text"),
    Column("conformal_coverage", "number"),
    Column("ood_detector", "text"),
    Column("ood_score", "number"),
    Column("ood_threshold", "number"),
    Column("is_out_of_distribution", "flag"),
    Column("malignancy_risk", "number"),
    Column("triage_band", "text"),
    Column("triage_lower", "number"),
    Column("triage_upper", "number"),
    Column("triage_sensitivity", "number"),
    Column("triage_images", "count"),
    Column("triage_malignant", "count"),
    Column("triage_prevalence", "number"),
    Column("quality_grade", "text"),
    Column("quality_findings", "text"),
    Column("notice", "text"),
)


@attrs.frozen
class IsicLayout:
    """The file that is handed in to the ISIC 2019 challenge: the images that have an answer, named without ending.

    Source: https://challenge.isic-archive.com/landing/2019/
    """

    keeps_errors = False

    @property
    def columns(self) -> tuple[Column, ...]:
        """See ``Layout``."""
        return (Column("image", "text"), *(Column(code, "number") for code in ISIC_2019.codes))

    def cells(self, identity: ModelIdentity, sha256: str | None, answer: Prediction | Problem) -> Cells:
        """See ``Layout``; of an image without an answer, what ``ERROR_COLUMNS`` name."""
        if isinstance(answer, Problem):
            return (sha256, answer.code, answer.message)
        return tuple(item.probability for item in answer.probabilities)


def layout_of(name: LayoutName, codes: Sequence[str]) -> Layout:
    """The layout of that name, for a model with these K codes.

    Raises:
        BatchError: ``other_taxonomy``: the challenge has other classes than the model.
    """
    if name == "full":
        return FullLayout(tuple(codes))
    if tuple(codes) != ISIC_2019.codes:
        raise BatchError(
            f"The challenge's file has the classes {', '.join(ISIC_2019.codes)}; this model names {', '.join(codes)}. "
            "Take --layout full.",
            code="other_taxonomy",
        )
    return IsicLayout()
