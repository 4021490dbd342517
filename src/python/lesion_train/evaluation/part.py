"""The images that are measured, with the model's answers."""

# N images · K trained classes · R resamples

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np
from numpy.typing import NDArray

from lesion_core.bundle import BundleManifest
from lesion_core.decision.calibration import calibrated_probabilities
from lesion_core.decision.decide import Decisions, decide
from lesion_core.decision.metadata import adjusted_logits
from lesion_core.decision.ood import NetworkOutput, Reference
from lesion_core.interval import Interval
from lesion_core.records import ImageRecord, labels_of, lesions_of
from lesion_core.splits import units_of
from lesion_train.evaluation.resamples import Resamples


@attrs.frozen(kw_only=True, eq=False)
class AnsweredPart:
    """N images, the truth and the answers.

    Attributes:
        records: the images.
        labels: int ``(N,)`` in ``[0, K]``; K is *none of the above*.
        lesions: str ``(N,)``.
        units: str ``(N,)``, that are drawn together.
        logits: float ``(N, K)``, with what age, sex and site add where they are taken into account.
        probabilities: float64 ``(N, K)``, calibrated, before any share for *none of the above*.
        decisions: what an answer states.
        resamples: of the units.
    """

    records: tuple[ImageRecord, ...]
    labels: NDArray[np.int64]
    lesions: NDArray[np.str_]
    units: NDArray[np.str_]
    logits: NDArray[np.floating]
    probabilities: NDArray[np.float64]
    decisions: Decisions
    resamples: Resamples

    def only(self, rows: NDArray[np.bool_]) -> AnsweredPart:
        """Some of the images, with resamples of their own: bool ``(N,)``."""
        if rows.all():
            return self
        labels, units = self.labels[rows], self.units[rows]
        decisions = {name: values[rows] for name, values in attrs.asdict(self.decisions, recurse=False).items()}
        return AnsweredPart(
            records=tuple(record for record, kept in zip(self.records, rows, strict=True) if kept),
            labels=labels,
            lesions=self.lesions[rows],
            units=units,
            logits=self.logits[rows],
            probabilities=self.probabilities[rows],
            decisions=Decisions(**decisions),
            resamples=Resamples.draw(labels, units, self.resamples.number),
        )

    def of_trained_classes(self) -> AnsweredPart:
        """The images whose diagnosis the network can name."""
        return self.only(self.labels < self.probabilities.shape[1])

    def share(self, is_hit: NDArray[np.bool_], is_counted: NDArray[np.bool_] | None = None) -> Interval | None:
        """``Resamples.share`` of these images; of all of them where none are chosen."""
        everyone = np.ones(len(self.labels), dtype=bool)
        return self.resamples.share(is_hit, everyone if is_counted is None else is_counted)


def answer(
    output: NetworkOutput,
    records: Sequence[ImageRecord],
    *,
    manifest: BundleManifest,
    reference: Reference,
    resamples: int,
    with_metadata: bool = False,
) -> AnsweredPart:
    """Turn what a network says into what a bundle answers.

    Args:
        output: of the images.
        records: the images, with labels of the bundle's taxonomy.
        manifest: of the bundle.
        reference: of its detector of strange images.
        resamples: R.
        with_metadata: take age, sex and site into account; the bundle has to have parameters for it.
    """
    parameters = manifest.decision_with_metadata if with_metadata else manifest.decision
    assert parameters is not None
    logits = output.logits
    if parameters.metadata is not None:
        logits = adjusted_logits(logits, records, parameters.metadata)
    labels, units = labels_of(records, manifest.taxonomy), units_of(records)
    return AnsweredPart(
        records=tuple(records),
        labels=labels,
        lesions=lesions_of(records),
        units=units,
        logits=logits,
        probabilities=calibrated_probabilities(logits, parameters.temperature),
        decisions=decide(
            output,
            parameters=parameters,
            reference=reference,
            taxonomy=manifest.taxonomy,
            metadata=records if parameters.metadata is not None else None,
        ),
        resamples=Resamples.draw(labels, units, resamples),
    )
