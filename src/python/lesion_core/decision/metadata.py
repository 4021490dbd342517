"""Age, sex and site as an optional second input: a shift of the logits, fitted on the validation part.

What a patient's age, sex and the site of the lesion say about the diagnosis is added to what the image says, as
log-odds: a multinomial logistic regression with the image's logits as offset. A value that is missing is a feature of
its own, so that "not recorded" is never read as "zero years".

Metadata carries the habits of the clinics that recorded it; ``benchmarks/metadata_gain.py`` prints what it is worth.
"""

# N images · K trained classes · M features

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import attrs
import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from lesion_core.decision.parameters import MetadataAdjustment

AGE_CENTRE_YEARS, AGE_SCALE_YEARS = 50.0, 20.0
PENALTY = 0.03
FOLDS = 5


class HasMetadata(Protocol):
    """Anything that knows these three, each of which may be missing: an ``ImageRecord``, a ``PatientMetadata``."""

    @property
    def age_approx(self) -> float | None:
        """In years."""

    @property
    def sex(self) -> str | None:
        """``"female"`` or ``"male"``."""

    @property
    def anatom_site_general(self) -> str | None:
        """As ISIC 2019 names sites."""


@attrs.frozen(kw_only=True)
class PatientMetadata:
    """What is known of the patient and the site of the lesion. ``age_approx`` in years."""

    age_approx: float | None = attrs.field(
        default=None, validator=attrs.validators.optional([attrs.validators.ge(0), attrs.validators.le(120)])
    )
    sex: str | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.in_(("female", "male")))
    )
    anatom_site_general: str | None = None


def sites_of(metadata: Sequence[HasMetadata]) -> tuple[str, ...]:
    """The sites that occur, in the order that ``encode_metadata`` is given them in."""
    return tuple(sorted({item.anatom_site_general for item in metadata if item.anatom_site_general}))


def metadata_features(sites: Sequence[str]) -> int:
    """M, the columns of ``encode_metadata``."""
    return 6 + len(sites)


def encode_metadata(metadata: Sequence[HasMetadata], sites: Sequence[str]) -> NDArray[np.float64]:
    """Features of N patients: float64 ``(N, 5 + S + 1)`` for S sites, all within a few units of 0.

    Columns: age and its square (centred and scaled), age missing, male, sex missing, one for each site, site missing.
    A site that is not in ``sites`` counts as missing.
    """
    rows = []
    for item in metadata:
        age = 0.0 if item.age_approx is None else (item.age_approx - AGE_CENTRE_YEARS) / AGE_SCALE_YEARS
        known = item.anatom_site_general in sites
        rows.append(
            [
                age,
                age**2,
                item.age_approx is None,
                item.sex == "male",
                item.sex is None,
                *(item.anatom_site_general == site for site in sites),
                not known,
            ]
        )
    return np.asarray(rows, dtype=np.float64).reshape(len(metadata), metadata_features(sites))


def adjusted_logits(
    logits: NDArray[np.floating], metadata: Sequence[HasMetadata], adjustment: MetadataAdjustment
) -> NDArray[np.float64]:
    """Logits with the log-odds of the metadata added: float ``(N, K)`` → float64 ``(N, K)``."""
    features = encode_metadata(metadata, adjustment.sites)
    return np.asarray(np.asarray(logits, dtype=np.float64) + features @ np.asarray(adjustment.weights))


def fit_metadata(
    logits: NDArray[np.floating],
    metadata: Sequence[HasMetadata],
    labels: NDArray[np.integer],
    units: NDArray[np.str_],
) -> tuple[MetadataAdjustment, NDArray[np.float64]]:
    """Fit on the validation part.

    Args:
        logits: float ``(N, K)``.
        metadata: of the N images.
        labels: int ``(N,)`` in ``[0, K)``.
        units: str ``(N,)``, of ``splits.units_of``.
    Returns:
        The adjustment; and adjusted logits ``(N, K)`` by cross-fitting over units, from which calibration, sets and
        thresholds can be fitted without having seen the same image twice.
    """
    from sklearn.model_selection import GroupKFold

    sites = sites_of(metadata)
    features, values = encode_metadata(metadata, sites), np.asarray(logits, dtype=np.float64)
    held_out = np.empty_like(values)
    folds = GroupKFold(min(FOLDS, len(np.unique(units))), shuffle=True, random_state=0)
    for fitted, new in folds.split(values, labels, groups=units):
        held_out[new] = values[new] + features[new] @ fit_weights(values[fitted], features[fitted], labels[fitted])
    weights = fit_weights(values, features, labels)
    return MetadataAdjustment(sites=sites, weights=tuple(map(tuple, weights.tolist()))), held_out


def fit_weights(
    logits: NDArray[np.float64], features: NDArray[np.float64], labels: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Weights ``(M, K)`` on the scale of the logits, with the temperature of the logits fitted beside them.

    Minimises the mean negative log-likelihood plus ``PENALTY`` times the squared weights.
    """
    from scipy.optimize import minimize

    count, classes = logits.shape
    rows = np.arange(count)

    def objective(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights, temperature = values[:-1].reshape(features.shape[1], classes), np.exp(values[-1])
        log_probabilities = log_softmax(logits / temperature + features @ weights, axis=1)
        error = np.exp(log_probabilities)
        error[rows, labels] -= 1.0
        gradient = features.T @ error / count + 2 * PENALTY * weights
        of_temperature = -(error * logits).sum() / (count * temperature)
        loss = -log_probabilities[rows, labels].mean() + PENALTY * (weights**2).sum()
        return float(loss), np.append(gradient.ravel(), of_temperature)

    start = np.zeros(features.shape[1] * classes + 1)
    found = minimize(objective, start, jac=True, method="L-BFGS-B").x
    return np.asarray(found[:-1].reshape(features.shape[1], classes) * np.exp(found[-1]))
