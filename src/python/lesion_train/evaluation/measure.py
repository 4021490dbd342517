"""Measure what a network said of some images: every number of an evaluation, and nothing written."""

# N images

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime

import attrs
import numpy as np

from lesion_core.bundle import BundleManifest
from lesion_core.decision.ood import NetworkOutput, Reference
from lesion_core.records import ImageRecord, lesions_of
from lesion_core.taxonomy import Taxonomy
from lesion_train.evaluation.choice import Choice
from lesion_train.evaluation.decisions import band_results, conformal_result, operating_results, outside_result
from lesion_train.evaluation.errors import EvaluationError
from lesion_train.evaluation.groups import subgroup_results
from lesion_train.evaluation.mistakes import confident_mistakes, missed_malignant
from lesion_train.evaluation.part import AnsweredPart, answer
from lesion_train.evaluation.scores import class_results, confusion, headline, reliability
from lesion_train.evaluation.values import DataFacts, DecisionResult, Evaluation, ModelFacts, Robustness

RESAMPLES = 1000
NOTHING_STRANGE: Mapping[str, NetworkOutput] = {}


def measure_outputs(
    output: NetworkOutput,
    choice: Choice,
    *,
    manifest: BundleManifest,
    reference: Reference,
    output_with_metadata: NetworkOutput | None = None,
    bundle_digest: str | None = None,
    strange: Mapping[str, NetworkOutput] = NOTHING_STRANGE,
    robustness: Robustness | None = None,
    resamples: int = RESAMPLES,
) -> tuple[Evaluation, AnsweredPart]:
    """Measure what a network said; writes nothing.

    Args:
        output: of the chosen images.
        choice: the images, with their labels, and what they were to the model.
        manifest: of the bundle; its taxonomy and its decision parameters are those that count.
        reference: of its detector of strange images.
        output_with_metadata: of the same images, of a network that takes metadata itself.
        bundle_digest: of the bundle, where it was written already.
        strange: what the network says of each group of strange images.
        robustness: of ``measure_robustness``.
        resamples: of the bootstrap.
    Returns:
        The numbers, and the answers that they were taken from.
    Raises:
        EvaluationError: ``no_images``: no image is of a trained class.
    """
    records, taxonomy, decision = choice.records, manifest.taxonomy, manifest.decision
    part = answer(output, records, manifest=manifest, reference=reference, resamples=resamples)
    if not (part.labels < len(taxonomy.trained)).any():
        raise EvaluationError("No image is of a trained class: there is nothing to measure.", code="no_images")
    told = None
    if manifest.decision_with_metadata is not None and any(map(_is_told, records)):
        said = output_with_metadata or output
        told = answer(said, records, manifest=manifest, reference=reference, resamples=resamples, with_metadata=True)
    evaluation = Evaluation(
        model=_model_facts(manifest, bundle_digest),
        data=_data_facts(choice, taxonomy),
        created_at=now(),
        resamples=resamples,
        codes=taxonomy.trained_codes,
        headline=headline(part),
        with_metadata=headline(told) if told is not None else None,
        before_temperature=reliability(part, 1.0),
        after_temperature=reliability(part, decision.temperature),
        classes=class_results(part, taxonomy),
        confusion=confusion(part),
        conformal=conformal_result(part, decision.conformal),
        operating_points=operating_results(part, manifest),
        triage=band_results(part, manifest),
        outside=outside_result(part, strange, manifest=manifest, reference=reference),
        subgroups=subgroup_results(part, manifest),
        robustness=robustness,
        mistakes=confident_mistakes(part, manifest),
        missed=missed_malignant(part, manifest),
        decision_with_metadata=_decision_result(told, manifest) if told is not None else None,
    )
    return evaluation, part


def now() -> str:
    """Now (UTC), or what SOURCE_DATE_EPOCH says: https://reproducible-builds.org/specs/source-date-epoch/ ."""
    seconds = int(os.environ.get("SOURCE_DATE_EPOCH") or time.time())
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _is_told(record: ImageRecord) -> bool:
    return record.age_approx is not None or bool(record.sex or record.anatom_site_general)


def _decision_result(told: AnsweredPart, manifest: BundleManifest) -> DecisionResult:
    """Of answers that take age, sex and site into account."""
    parameters = manifest.decision_with_metadata
    assert parameters is not None
    known, second = told.of_trained_classes(), attrs.evolve(manifest, decision=parameters)
    return DecisionResult(
        reliability=reliability(told, parameters.temperature),
        conformal=conformal_result(told, parameters.conformal),
        coverage=tuple(
            known.share(known.decisions.conformal[:, index], known.labels == index)
            for index in range(len(manifest.taxonomy.trained))
        ),
        operating_points=operating_results(told, second),
        triage=band_results(told, second),
    )


def _model_facts(manifest: BundleManifest, digest: str | None) -> ModelFacts:
    facts = manifest.training
    return ModelFacts(
        name=manifest.name,
        digest=digest,
        backbone=manifest.backbone.name,
        created_at=facts.created_at,
        trained_on=facts.dataset,
        data_digest=facts.data_digest,
        train_images=facts.train_images,
        validation_images=facts.validation_images,
    )


def _data_facts(choice: Choice, taxonomy: Taxonomy) -> DataFacts:
    records = choice.records
    return DataFacts(
        dataset=choice.dataset,
        part=choice.part,
        role=choice.role,
        data_digest=choice.data_digest,
        split_digest=choice.split_digest,
        images=len(records),
        lesions=len(np.unique(lesions_of(records))),
        none_of_the_above=sum(record.diagnosis == taxonomy.none_of_the_above.code for record in records),
        left_out=choice.left_out,
        is_history_known=choice.is_history_known,
        dataset_images=choice.dataset_images,
    )
