"""A measured number with its uncertainty: no score is stored or shown without one. Imports no library of numbers."""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class Interval:
    """A measured number with its confidence interval."""

    value: float
    low: float
    high: float
    confidence: float = 0.95

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.confidence:.0%} CI {self.low:.3f}–{self.high:.3f})"


def proportion_interval(successes: int, trials: int, *, confidence: float = 0.95) -> Interval:
    """A proportion with its Wilson interval.

    Args:
        successes: at most ``trials``.
        trials: at least 1. Count lesions, not images, where several images show one lesion.
        confidence: in (0, 1).
    Source: Wilson 1927.
    """
    from scipy.stats import binomtest  # here, since it takes a second to import and most who read bundles never count

    bounds = binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    return Interval(value=successes / trials, low=float(bounds.low), high=float(bounds.high), confidence=confidence)
