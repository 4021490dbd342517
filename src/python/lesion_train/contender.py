"""Two models side by side: what each says of the same held-out images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import attrs
import numpy as np

from lesion_core.bootstrap import PairedDifference, few_units, paired_bootstrap_difference
from lesion_core.bundle import Bundle
from lesion_core.errors import LesionError
from lesion_core.interval import Interval, difference_interval, reflected, share_interval, widened
from lesion_core.metrics import area_under_roc, balanced_multiclass_accuracy, macro_auroc
from lesion_core.reliability import expected_calibration_error
from lesion_core.splits import TEST, VALIDATION
from lesion_train.evaluation.headline import sensitivity_of
from lesion_train.predictions import Predictions
from lesion_train.record import RunRecord

PARTS = (TEST, VALIDATION)  # the first that both have is compared
METRICS = {"BMA": balanced_multiclass_accuracy, "macro AUROC": macro_auroc, "ECE": expected_calibration_error}


class NotComparableError(LesionError):
    """Two models that were not measured on the same images."""

    code = "not_comparable"


@attrs.frozen(kw_only=True, eq=False)
class Contender:
    """A registered version or a run.

    Attributes:
        label: for messages: ``version 3`` or the run's name.
        version: ``None`` of a run.
        digest: of the bundle, as it was registered.
        split_digest: of the split that it was trained and measured on.
        bundle: ``None`` where it is not intact; ``problem`` says why.
        problem: see ``bundle``.
        predictions: by part.
        unreadable: why some of them could not be had; empty where all were.
    """

    label: str
    version: str | None = None
    digest: str
    split_digest: str
    bundle: Bundle | None
    problem: str = ""
    predictions: Mapping[str, Predictions]
    unreadable: str = ""

    @classmethod
    def from_run(cls, folder: Path) -> Contender:
        """A run on this machine.

        Raises:
            LesionError: not a recorded run, one without a bundle, or its files are damaged.
        """
        record = RunRecord.open(folder)
        bundle = record.read_bundle()
        found = {part: record.read_predictions(part) for part in PARTS}
        return cls(
            label=f"run {record.folder.name}",
            digest=bundle.digest,
            split_digest=bundle.manifest.training.split_digest,
            bundle=bundle,
            predictions={part: said for part, said in found.items() if said is not None},
        )


@attrs.frozen(kw_only=True, eq=False)
class Pair:
    """Predictions of two models on the same images of one part, row by row."""

    part: str
    first: Predictions
    second: Predictions

    def difference(self, metric: str) -> PairedDifference:
        """``second - first`` of a metric: a name of ``METRICS``, or ``sensitivity CODE``.

        What classes of few units leave open widens the intervals of the scores that are means over classes.
        """
        labels, units = self.first.labels, self.first.units
        code = metric.removeprefix("sensitivity ")
        measure = METRICS.get(metric) or sensitivity_of(self.first.codes.index(code))
        found = paired_bootstrap_difference(measure, self.first.probabilities, self.second.probabilities, labels, units)
        if metric == "ECE":
            return attrs.evolve(found, first=reflected(found.first), second=reflected(found.second))
        few = few_units(labels, units)
        if metric in METRICS:
            uncertain = [self._of_few(metric, label, count) for label, count in few.items()]
            return _widened(found, uncertain, terms=len(np.unique(labels)))
        label = self.first.codes.index(code)
        return self._of_few(metric, label, few[label]) if label in few else found

    def _of_few(self, metric: str, label: int, count: int) -> PairedDifference:
        """What one class of so few units contributes, with the intervals that these leave."""
        is_class = self.first.labels == label
        values = []
        for said in (self.first, self.second):
            if metric == "macro AUROC":
                values.append(area_under_roc(said.probabilities[:, label], is_class))
            else:
                values.append(float((said.probabilities[is_class].argmax(axis=1) == label).mean()))
        first, second = (share_interval(value, count) for value in values)
        return PairedDifference(first=first, second=second, difference=difference_interval(first, second))

    def metrics(self) -> Iterator[str]:
        """What can be compared: the scores, and the sensitivity of each class of which there are two lesions or more.

        A bootstrap of one has no spread, and would call every difference certain.
        """
        yield from METRICS
        for index in np.unique(self.first.labels):
            if len(np.unique(self.first.units[self.first.labels == index])) > 1:
                yield f"sensitivity {self.first.codes[index]}"


def pair(first: Contender, second: Contender) -> Pair:
    """Put two models side by side, on the test part where both have one, else on the validation part.

    Raises:
        NotComparableError: they were trained on different splits, so that one may have seen the images that the other
            was measured on; or there are no predictions of the same images; or some that there were cannot be had.
    """
    if first.split_digest != second.split_digest:
        raise NotComparableError(
            f"{first.label} and {second.label} are not comparable: they were trained on different splits "
            f"({first.split_digest[:12]}… and {second.split_digest[:12]}…), so that one may have seen the images that "
            "the other was measured on. Train one again with --split of the other's split.csv."
        )
    for contender in (first, second):
        if contender.unreadable:
            raise NotComparableError(
                f"{first.label} and {second.label} are not comparable: of {contender.label} {contender.unreadable}"
            )
    both = [part for part in PARTS if part in first.predictions and part in second.predictions]
    if not both:
        without = [one.label for one in (first, second) if not one.predictions] or [first.label, second.label]
        raise NotComparableError(
            f"{first.label} and {second.label} are not comparable: {' and '.join(without)} has no predictions of the "
            f"part {' or '.join(PARTS)} that the other has. Train again: a run keeps them."
        )
    one, two = first.predictions[both[0]], second.predictions[both[0]]
    is_same = (
        one.codes == two.codes and np.array_equal(one.isic_ids, two.isic_ids) and np.array_equal(one.labels, two.labels)
    )
    if not is_same:
        raise NotComparableError(
            f"{first.label} and {second.label} are not comparable: their part '{both[0]}' has different images, labels "
            f"or classes ({len(one.isic_ids):,} and {len(two.isic_ids):,} images)."
        )
    return Pair(part=both[0], first=one, second=two)


def _widened(found: PairedDifference, uncertain: Sequence[PairedDifference], *, terms: int) -> PairedDifference:
    def one(name: str, lowest: float) -> Interval:
        return widened(getattr(found, name), [getattr(part, name) for part in uncertain], terms, lowest=lowest)

    return PairedDifference(first=one("first", 0.0), second=one("second", 0.0), difference=one("difference", -1.0))
