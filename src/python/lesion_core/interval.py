"""A measured number with its uncertainty: no score is stored or shown without one. Imports no library of numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import attrs

FEWEST_FOR_A_BOOTSTRAP = 10  # units: of fewer, resamples hardly show what others would have been like


@attrs.frozen(kw_only=True)
class Interval:
    """A measured number with its confidence interval."""

    value: float
    low: float
    high: float
    confidence: float = 0.95

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.confidence:.0%} CI {self.low:.3f}–{self.high:.3f})"


def reflected(interval: Interval) -> Interval:
    """The basic bootstrap interval of a gap, such as ECE, out of its percentile interval; the value stays within it.

    A sum of absolute differences is above 0 by chance alone, and every resample adds as much again. The percentile
    interval of a well calibrated model therefore lies above its true gap; reflected about the value, it takes off what
    resampling added.

    Source: Davison & Hinkley 1997, section 5.2.
    """
    value = interval.value
    low, high = 2 * value - interval.high, 2 * value - interval.low
    return attrs.evolve(interval, low=max(0.0, min(value, low)), high=max(value, high))


def proportion_interval(successes: int, trials: int, *, confidence: float = 0.95) -> Interval:
    """A proportion with its Wilson interval.

    Args:
        successes: at most ``trials``.
        trials: at least 1. Where several images show one lesion: ``share_interval``.
        confidence: in (0, 1).
    """
    return share_interval(successes / trials, trials, confidence=confidence)


def share_interval(share: float, observations: int, *, confidence: float = 0.95) -> Interval:
    """A share as it is, with the Wilson interval that so many independent observations leave.

    Args:
        share: in [0, 1], of images for example; need not be a multiple of ``1 / observations``.
        observations: at least 1. Count lesions where several images show one lesion: images of one lesion are hardly
            more than one observation.
        confidence: in (0, 1).
    Source: Wilson 1927.
    """
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    spread = z**2 / observations
    centre = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / observations + spread / (4 * observations)) / (1 + spread)
    # Rounding may put an end a little beyond a share of 0 or 1.
    low, high = max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))
    return Interval(value=share, low=low, high=high, confidence=confidence)


def difference_interval(first: Interval, second: Interval) -> Interval:
    """``second - first`` of two measurements, by their intervals, as if they were independent.

    Of two measurements of the same lesions it is rather too wide. Source: Newcombe 1998, "Interval estimation for the
    difference between independent proportions", method 10 (square and add).
    """
    value = second.value - first.value
    below = math.hypot(second.value - second.low, first.high - first.value)
    above = math.hypot(second.high - second.value, first.value - first.low)
    return Interval(value=value, low=value - below, high=value + above, confidence=first.confidence)


def widened(mean: Interval, uncertain: Sequence[Interval], terms: int, *, lowest: float = 0.0) -> Interval:
    """A mean whose interval takes some of its terms for certain, wider by what is not known of them.

    Args:
        mean: of ``terms`` numbers.
        uncertain: these numbers, each with its own interval.
        terms: at least 1.
        lowest: that the mean can be; the highest is 1.
    Source: Zou & Donner 2008, "Construction of confidence limits about effect measures" (square and add).
    """
    below = [(one.value - one.low) / terms for one in uncertain]
    above = [(one.high - one.value) / terms for one in uncertain]
    return attrs.evolve(
        mean,
        low=max(lowest, mean.value - math.hypot(mean.value - mean.low, *below)) if below else mean.low,
        high=min(1.0, mean.value + math.hypot(mean.high - mean.value, *above)) if above else mean.high,
    )
