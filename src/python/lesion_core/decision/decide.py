"""The decision layer in one call: logits and embeddings in, everything that an answer states out."""

# N images · K trained classes · D features

from __future__ import annotations

import attrs
import numpy as np
from numpy.typing import NDArray

from lesion_core.bundle import DecisionParameters
from lesion_core.decision.calibration import calibrated_probabilities, fit_temperature
from lesion_core.decision.conformal import conformal_sets, fit_conformal_quantile
from lesion_core.decision.ood import EmbeddingReference, distances, none_of_the_above_probability
from lesion_core.decision.triage import malignancy_risk, malignant_classes, threshold_for_sensitivity
from lesion_core.taxonomy import Taxonomy

CONFORMAL_COVERAGE = 0.90
TRIAGE_SENSITIVITY = 0.95
OOD_QUANTILE = 0.99


@attrs.frozen(kw_only=True, eq=False)
class Decisions:
    """Decisions for N images.

    ``probabilities`` float64 ``(N, K + 1)``, rows sum to 1, *none of the above* last; ``conformal`` bool ``(N, K)``;
    ``ood_distance``, ``risk`` float64 ``(N,)``.
    """

    probabilities: NDArray[np.float64]
    conformal: NDArray[np.bool_]
    ood_distance: NDArray[np.float64]
    risk: NDArray[np.float64]


def decide(
    logits: NDArray[np.floating],
    embeddings: NDArray[np.floating],
    *,
    parameters: DecisionParameters,
    reference: EmbeddingReference,
    taxonomy: Taxonomy,
) -> Decisions:
    """Apply a bundle's decision parameters: float ``(N, K)`` and ``(N, D)`` → decisions."""
    trained = calibrated_probabilities(logits, parameters.temperature)
    distance = distances(embeddings, reference)
    none = none_of_the_above_probability(distance, median=parameters.ood_median, threshold=parameters.ood_threshold)[
        :, None
    ]
    return Decisions(
        probabilities=np.concatenate([trained * (1.0 - none), none], axis=1),
        conformal=conformal_sets(trained, parameters.conformal_quantile),
        ood_distance=distance,
        risk=malignancy_risk(trained, taxonomy),
    )


def fit_decision(
    logits: NDArray[np.floating],
    embeddings: NDArray[np.floating],
    labels: NDArray[np.integer],
    *,
    reference: EmbeddingReference,
    taxonomy: Taxonomy,
) -> DecisionParameters:
    """Fit every decision parameter on the validation part: float ``(N, K)``, ``(N, D)``, int ``(N,)``."""
    temperature = fit_temperature(logits, labels)
    trained = calibrated_probabilities(logits, temperature)
    distance = distances(embeddings, reference)
    return DecisionParameters(
        temperature=temperature,
        conformal_quantile=fit_conformal_quantile(trained, labels, coverage=CONFORMAL_COVERAGE),
        conformal_coverage=CONFORMAL_COVERAGE,
        ood_median=float(np.median(distance)),
        ood_threshold=float(np.quantile(distance, OOD_QUANTILE)),
        triage_threshold=threshold_for_sensitivity(
            malignancy_risk(trained, taxonomy),
            malignant_classes(taxonomy)[labels],
            sensitivity=TRIAGE_SENSITIVITY,
        ),
        triage_sensitivity=TRIAGE_SENSITIVITY,
    )
