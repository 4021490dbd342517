"""Which images each resample draws, and the intervals that follow: of any metric, and of scores of few lesions."""

# N images · K trained classes · R resamples

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import attrs
import numpy as np
from numpy.typing import NDArray

from lesion_core.bootstrap import few_units, resampled_counts
from lesion_core.interval import FEWEST_FOR_A_BOOTSTRAP, Interval, reflected, share_interval, widened
from lesion_train.evaluation import weighted
from lesion_train.evaluation.weighted import PerResample, Weights

CONFIDENCE = 0.95
_BLOCK = 2_000_000  # weights at a time: 16 MB, and as much for each step of a metric


@attrs.frozen(kw_only=True, eq=False)
class Resamples:
    """How often each image counts: uint16 ``(1 + R, N)``; in the first row, which gives the value, once.

    A bootstrap never sees what did not happen, and of few units hardly what happens to others. Scores of classes of
    fewer than ``FEWEST_FOR_A_BOOTSTRAP`` units therefore have Wilson's interval, which counts each unit once.

    ``units``: str ``(N,)``, that were drawn: see ``lesion_core.splits.units_of``.
    """

    counts: NDArray[np.uint16]
    units: NDArray[np.str_]

    @classmethod
    def draw(cls, labels: NDArray[np.integer], units: NDArray[np.str_], resamples: int) -> Resamples:
        """Draw whole units within each class, as ``lesion_core.bootstrap.bootstrap_interval`` does."""
        once = np.ones((1, len(labels)), dtype=np.uint16)
        drawn = resampled_counts(labels, units, resamples=resamples)
        return cls(counts=np.concatenate([once, drawn]), units=units)

    @property
    def number(self) -> int:
        """R."""
        return len(self.counts) - 1

    def values(self, metric: Callable[[Weights], PerResample]) -> NDArray[np.float64]:
        """A metric of every resample, the value itself first: float64 ``(1 + R,)``."""
        rows = max(1, _BLOCK // max(1, self.counts.shape[1]))
        blocks = range(0, len(self.counts), rows)
        return np.concatenate([metric(self.counts[start : start + rows].astype(np.float64)) for start in blocks])

    def interval(self, metric: Callable[[Weights], PerResample]) -> Interval | None:
        """A metric with its percentile interval; ``None`` where it is not defined.

        Args:
            metric: takes weights ``(R, N)`` and gives a number a resample, NaN where it is not defined.
        """
        values = self.values(metric)
        if np.isnan(values[0]):
            return None
        drawn = values[1:] if self.number else values
        low, high = np.nanquantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
        return Interval(value=float(values[0]), low=float(low), high=float(high), confidence=CONFIDENCE)

    def gap(self, metric: Callable[[Weights], PerResample]) -> Interval | None:
        """A sum of absolute differences with its basic interval, see ``lesion_core.interval.reflected``."""
        found = self.interval(metric)
        return None if found is None else reflected(found)

    def share(self, is_hit: NDArray[np.bool_], is_counted: NDArray[np.bool_]) -> Interval | None:
        """Share of hits among the counted images: bool ``(N,)`` each. Of 0 and 1 too the interval is Wilson's."""
        found = self.interval(partial(weighted.share, is_hit=is_hit, is_counted=is_counted))
        units = self._units(is_counted)
        if found is None or (units >= FEWEST_FOR_A_BOOTSTRAP and found.low < found.high):
            return found
        return share_interval(found.value, units, confidence=CONFIDENCE)

    def mean(
        self, values: NDArray[np.floating], is_counted: NDArray[np.bool_], *, lowest: float, highest: float
    ) -> Interval | None:
        """Mean of a number between two bounds over the counted images: float ``(N,)``, bool ``(N,)``."""
        found = self.interval(partial(weighted.mean, values=values, is_counted=is_counted))
        units = self._units(is_counted)
        if found is None or units >= FEWEST_FOR_A_BOOTSTRAP:
            return found
        share = share_interval((found.value - lowest) / (highest - lowest), units, confidence=CONFIDENCE)
        low, high = (lowest + end * (highest - lowest) for end in (share.low, share.high))
        return attrs.evolve(found, low=low, high=high)

    def area(
        self, metric: Callable[..., PerResample], scores: NDArray[np.floating], is_positive: NDArray[np.bool_]
    ) -> Interval | None:
        """A mean over positives of what part of the negatives each is above, such as AUROC, or over negatives.

        Such a mean of numbers in [0, 1] varies at most as a share does, so Wilson's interval is on the safe side.

        Args:
            metric: takes ``weights``, ``scores`` and ``is_positive``; in [0, 1].
            scores: float ``(N,)``.
            is_positive: bool ``(N,)``.
        """
        found = self.interval(partial(metric, scores=scores, is_positive=is_positive))
        units = min(self._units(is_positive), self._units(~is_positive))
        if found is None or units >= FEWEST_FOR_A_BOOTSTRAP:
            return found
        return share_interval(found.value, units, confidence=CONFIDENCE)

    def balanced_accuracy(self, is_right: NDArray[np.bool_], labels: NDArray[np.integer]) -> Interval | None:
        """Mean over the classes that occur of the share that is right: bool ``(N,)``, int ``(N,)``."""
        found = self.interval(partial(weighted.balanced_accuracy, is_right=is_right, labels=labels))
        few = [self.share(is_right, labels == label) for label in few_units(labels, self.units)]
        return _widened(found, few, labels)

    def macro_area(
        self, metric: Callable[..., PerResample], probabilities: NDArray[np.floating], labels: NDArray[np.integer]
    ) -> Interval | None:
        """Mean over the classes that occur of each one's ``area`` against the rest: float ``(N, K)``, int ``(N,)``."""
        average = partial(weighted.macro_average, metric=metric, probabilities=probabilities, labels=labels)
        few = [self.area(metric, probabilities[:, label], labels == label) for label in few_units(labels, self.units)]
        return _widened(self.interval(average), few, labels)

    def _units(self, rows: NDArray[np.bool_]) -> int:
        return len(np.unique(self.units[rows]))


def _widened(mean: Interval | None, few: list[Interval | None], labels: NDArray[np.integer]) -> Interval | None:
    if mean is None:
        return None
    return widened(mean, [one for one in few if one is not None], terms=len(np.unique(labels)))
