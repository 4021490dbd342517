"""Decision parameters as a run would have fitted them, for tests that need some."""

from __future__ import annotations

from lesion_core.decision.parameters import (
    ConformalParameters,
    DecisionParameters,
    OodDetector,
    OodParameters,
    OperatingPoint,
    TriageBand,
)
from lesion_core.interval import Interval

DECISION = DecisionParameters(
    temperature=1.1,
    conformal=ConformalParameters(
        coverage=0.9,
        temperature=1.2,
        quantiles=(0.8, 0.7, 0.8, 0.9, 0.8, 1.0, 0.6, 0.9),
        measured={"MEL": Interval(value=0.91, low=0.8, high=0.97)},
    ),
    ood=OodParameters(detector=OodDetector.MAHALANOBIS, median=1.0, threshold=2.0, quantile=0.99),
    operating_points=(
        OperatingPoint(
            target="malignant",
            wanted_sensitivity=0.95,
            threshold=Interval(value=0.2, low=0.1, high=0.3),
            sensitivity=Interval(value=0.95, low=0.9, high=0.98),
            specificity=Interval(value=0.6, low=0.5, high=0.7),
        ),
    ),
    triage=(
        TriageBand(name="low", lower=0.0, malignant=5, not_malignant=60),
        TriageBand(name="intermediate", lower=0.2, malignant=30, not_malignant=30),
        TriageBand(name="high", lower=0.6, malignant=65, not_malignant=10),
    ),
)
