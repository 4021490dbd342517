"""What turns logits into an answer, as plain values: fitted by training, stored in the bundle, applied in serving."""

# K trained classes

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import attrs

from lesion_core.interval import Interval

_probability = (attrs.validators.ge(0.0), attrs.validators.le(1.0))


def _floats(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


@attrs.frozen(kw_only=True)
class ConformalParameters:
    """Class-conditional conformal sets. See ``decision.conformal``.

    Attributes:
        coverage: the nominal one, in (0, 1), promised for each class.
        temperature: of the probabilities that the scores are taken from; not the one that calibrates.
        quantiles: of the K classes, in [0, 1]; 1 means that the class had too few images and is always a member.
        measured: coverage of each class by its code, under cross-fitting: share of images, with quantiles from other
            units (lesions, or patients where they are named) than theirs, at a temperature that was chosen on all of
            them. Classes of one unit have none.
    """

    coverage: float = attrs.field(validator=_probability)
    temperature: float = attrs.field(validator=attrs.validators.gt(0))
    quantiles: tuple[float, ...] = attrs.field(
        converter=_floats, validator=attrs.validators.deep_iterable(attrs.validators.and_(*_probability))
    )
    measured: dict[str, Interval] = attrs.field(factory=dict)


class OodDetector(StrEnum):
    """How strangeness is measured: on embeddings the first four, on logits the others."""

    MAHALANOBIS = "mahalanobis"
    RELATIVE_MAHALANOBIS = "relative_mahalanobis"
    KNN = "knn"
    VIM = "vim"
    MSP = "msp"
    MAX_LOGIT = "max_logit"
    ENERGY = "energy"
    GEN = "gen"


@attrs.frozen(kw_only=True)
class OodParameters:
    """Out-of-distribution detection. See ``decision.ood``.

    Attributes:
        detector: which one; its reference stands beside the weights.
        median: score of the detector at the median of the validation part.
        threshold: score from which an image is called unlike the training images.
        quantile: share of the validation part below ``threshold``.
    """

    detector: OodDetector
    median: float
    threshold: float
    quantile: float = attrs.field(validator=_probability)


@attrs.frozen(kw_only=True)
class OperatingPoint:
    """A threshold on a probability, set for a sensitivity.

    Attributes:
        target: a class's code, or ``"malignant"`` for the summed probability of the malignant classes.
        wanted_sensitivity: what the threshold was set for.
        threshold: with the bootstrap interval that the choice of validation lesions, or patients, leaves.
        sensitivity: share of the target's images at or above the threshold, on the validation part.
        specificity: share of the other images below it, on the validation part.
    """

    target: str
    wanted_sensitivity: float = attrs.field(validator=_probability)
    threshold: Interval
    sensitivity: Interval
    specificity: Interval


@attrs.frozen(kw_only=True)
class TriageBand:
    """A range of malignancy risk, from ``lower`` to the next band, and what the validation part had in it."""

    name: str = attrs.field(validator=attrs.validators.in_(("low", "intermediate", "high")))
    lower: float = attrs.field(validator=_probability)
    malignant: int = attrs.field(validator=attrs.validators.ge(0))
    not_malignant: int = attrs.field(validator=attrs.validators.ge(0))


@attrs.frozen(kw_only=True)
class MetadataAdjustment:
    """What age, sex and site add to the logits. See ``decision.metadata``.

    Attributes:
        sites: that have a feature of their own, in the order of the features.
        weights: float ``(M, K)``, one row a feature of ``encode_metadata``.
    """

    sites: tuple[str, ...]
    weights: tuple[tuple[float, ...], ...]


@attrs.frozen(kw_only=True)
class DecisionParameters:
    """Everything that the decision layer needs, all of it fitted on the validation part.

    Attributes:
        temperature: divides the logits, so that probabilities are calibrated.
        operating_points: the first is that of the malignancy risk, where the taxonomy has malignant classes.
        triage: bands from low to high; empty where the taxonomy has no malignant class.
        metadata: what age, sex and site add, where these parameters are for images that come with them.
    """

    temperature: float = attrs.field(validator=attrs.validators.gt(0))
    conformal: ConformalParameters
    ood: OodParameters
    operating_points: tuple[OperatingPoint, ...] = ()
    triage: tuple[TriageBand, ...] = ()
    metadata: MetadataAdjustment | None = None

    def operating_point(self, target: str) -> OperatingPoint | None:
        """That of a class's code or of ``triage.MALIGNANT``; ``None`` where its images were too few to set one."""
        return next((point for point in self.operating_points if point.target == target), None)
