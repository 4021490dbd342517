"""The decision layer in one call: logits and embeddings in, everything that an answer states out."""

# N images · K trained classes · D features

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np
from numpy.typing import NDArray

from lesion_core.decision.calibration import calibrated_probabilities, fit_temperature
from lesion_core.decision.conformal import conformal_sets, fit_conformal
from lesion_core.decision.metadata import HasMetadata, adjusted_logits, fit_metadata
from lesion_core.decision.ood import NetworkOutput, Reference, none_of_the_above_probability, strangeness
from lesion_core.decision.parameters import DecisionParameters, OodDetector, OodParameters, OperatingPoint, TriageBand
from lesion_core.decision.triage import MALIGNANT, fit_bands, fit_operating_point, malignancy_risk, malignant_classes
from lesion_core.taxonomy import Malignancy, Taxonomy

CONFORMAL_COVERAGE = 0.90
SENSITIVITY = 0.95
HIGH_BAND_SPECIFICITY = 0.90
OOD_QUANTILE = 0.99


@attrs.frozen(kw_only=True, eq=False)
class Decisions:
    """Decisions for N images.

    ``probabilities`` float64 ``(N, K + 1)``, rows sum to 1, *none of the above* last; ``conformal`` bool ``(N, K)``;
    ``strangeness``, ``risk`` float64 ``(N,)``. ``top_trained`` int64 ``(N,)`` in ``[0, K)``: the most probable trained
    class, also of an image so strange that ``probabilities`` leave nothing to any of them.
    """

    probabilities: NDArray[np.float64]
    top_trained: NDArray[np.int64]
    conformal: NDArray[np.bool_]
    strangeness: NDArray[np.float64]
    risk: NDArray[np.float64]


def decide(
    output: NetworkOutput,
    *,
    parameters: DecisionParameters,
    reference: Reference,
    taxonomy: Taxonomy,
    metadata: Sequence[HasMetadata] | None = None,
) -> Decisions:
    """Apply a bundle's decision parameters to what its network says about N images.

    Args:
        output: of the network.
        parameters: for images that come with metadata where ``metadata`` is given, else for images alone.
        reference: of the detector of strange images.
        taxonomy: whose classes the logits are for.
        metadata: of the N images.
    Raises:
        ValueError: ``metadata`` is given and ``parameters`` were fitted without, or the other way round.
    """
    if (metadata is None) != (parameters.metadata is None):
        raise ValueError("Metadata goes with parameters that were fitted with it, and only with these.")
    logits = output.logits
    if metadata is not None and parameters.metadata is not None:
        logits = adjusted_logits(logits, metadata, parameters.metadata)
    trained = calibrated_probabilities(logits, parameters.temperature)
    score = strangeness(parameters.ood.detector, output, reference)
    none = none_of_the_above_probability(score, median=parameters.ood.median, threshold=parameters.ood.threshold)
    conformal = parameters.conformal
    return Decisions(
        probabilities=np.concatenate([trained * (1.0 - none[:, None]), none[:, None]], axis=1),
        top_trained=trained.argmax(axis=1),
        conformal=conformal_sets(calibrated_probabilities(logits, conformal.temperature), conformal.quantiles),
        strangeness=score,
        risk=malignancy_risk(trained, taxonomy),
    )


def fit_decision(
    output: NetworkOutput,
    labels: NDArray[np.integer],
    units: NDArray[np.str_],
    *,
    detector: OodDetector,
    reference: Reference,
    taxonomy: Taxonomy,
    metadata: Sequence[HasMetadata] | None = None,
) -> DecisionParameters:
    """Fit every decision parameter on the validation part.

    Args:
        output: of the validation part.
        labels: int ``(N,)`` in ``[0, K)``.
        units: str ``(N,)``: the lesion, or patient, of each image; of ``splits.units_of``.
        detector: that ``reference`` was fitted with.
        reference: fitted on the training part.
        taxonomy: whose classes the logits are for.
        metadata: of the same images, for parameters that take it into account.
    """
    logits, adjustment = output.logits, None
    if metadata is not None:
        adjustment, logits = fit_metadata(logits, metadata, labels, units)
    temperature = fit_temperature(logits, labels)
    trained = calibrated_probabilities(logits, temperature)
    score = strangeness(detector, output, reference)
    points, bands = _fit_triage(trained, labels, units, taxonomy)
    return DecisionParameters(
        temperature=temperature,
        conformal=fit_conformal(
            logits,
            labels,
            units,
            coverage=CONFORMAL_COVERAGE,
            temperature=temperature,
            codes=taxonomy.trained_codes,
        ),
        ood=OodParameters(
            detector=detector,
            median=float(np.median(score)),
            threshold=float(np.quantile(score, OOD_QUANTILE)),
            quantile=OOD_QUANTILE,
        ),
        operating_points=points,
        triage=bands,
        metadata=adjustment,
    )


def _fit_triage(
    probabilities: NDArray[np.float64], labels: NDArray[np.integer], units: NDArray[np.str_], taxonomy: Taxonomy
) -> tuple[tuple[OperatingPoint, ...], tuple[TriageBand, ...]]:
    """Bands of the malignancy risk, and an operating point for it and for each malignant class."""
    risk, is_malignant = malignancy_risk(probabilities, taxonomy), malignant_classes(taxonomy)[labels]
    targets = {MALIGNANT: (risk, is_malignant)}
    for index, diagnosis in enumerate(taxonomy.trained):
        if diagnosis.malignancy is Malignancy.MALIGNANT:
            targets[diagnosis.code] = (probabilities[:, index], labels == index)
    points = tuple(
        fit_operating_point(probability, is_target, units, target=target, sensitivity=SENSITIVITY)
        for target, (probability, is_target) in targets.items()
        if is_target.any() and not is_target.all()
    )
    if not points or points[0].target != MALIGNANT:
        return points, ()
    threshold = points[0].threshold.value
    return points, fit_bands(risk, is_malignant, threshold=threshold, specificity=HIGH_BAND_SPECIFICITY)
