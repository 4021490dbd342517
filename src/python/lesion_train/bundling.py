"""From a trained network to its bundle: what it says of each part, the decision layer, the scores, card and report."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import attrs
import safetensors.numpy

from lesion_core.bundle import (
    CARD,
    EVALUATION,
    ONNX,
    REFERENCE,
    WEIGHTS,
    BackboneIdentity,
    Bundle,
    BundleManifest,
    TrainingFacts,
    write_bundle,
)
from lesion_core.data_source import DataSource
from lesion_core.decision.decide import decide, fit_decision
from lesion_core.decision.ood import LinearHead, NetworkOutput, fit_reference
from lesion_core.decision.parameters import OodDetector
from lesion_core.drift_reference import DRIFT
from lesion_core.interval import Interval
from lesion_core.preprocess_spec import PreprocessSpec
from lesion_core.records import lesions_of
from lesion_core.splits import TEST, TRAIN, VALIDATION, Split
from lesion_core.taxonomy import Taxonomy
from lesion_core.workspace import REGISTERED_NAME
from lesion_plugins.classifier import Classifier
from lesion_plugins.weights import weights_to_bytes
from lesion_train.card import CardFacts, render_card
from lesion_train.drift import make_drift_reference
from lesion_train.evaluation.choice import Choice, Role
from lesion_train.evaluation.figures import learning_curves_picture, write_figure
from lesion_train.evaluation.headline import headline_metrics
from lesion_train.evaluation.measure import measure_outputs, now
from lesion_train.evaluation.part import AnsweredPart
from lesion_train.evaluation.run import write_evaluation
from lesion_train.evaluation.values import Evaluation, to_json
from lesion_train.export import export_checked
from lesion_train.loop import Part, run_network
from lesion_train.predictions import Predictions
from lesion_train.provenance import RunFacts
from lesion_train.record import RunRecord

PREFIXES = {VALIDATION: "val", TEST: "test"}
ROLES = {VALIDATION: Role.VALIDATION, TEST: Role.TEST}


def make_bundle(
    model: Classifier,
    parts: Mapping[str, Part],
    split: Split,
    *,
    spec: PreprocessSpec,
    taxonomy: Taxonomy,
    metadata_sites: tuple[str, ...] | None,
    detector: OodDetector,
    backbone: BackboneIdentity,
    facts: RunFacts,
    source: DataSource,
    seed: int,
    known: Mapping[str, NetworkOutput],
    export: bool,
    record: RunRecord,
) -> Bundle:
    """Fit the decision layer on the validation part, measure, and write bundle, predictions and report into the record.

    The report is of the test part, and of the validation part where there is no other.

    Args:
        model: trained.
        parts: what it is run on, by the names of ``split.parts``; at the network's own size, but for training.
        split: the records of the parts.
        metadata_sites: that the network's own branch for metadata knows, where it has one.
        source: where the images come from, for the card.
        known: what the network says of parts, where it has been asked already.
        export: also write the network as ONNX, where it then answers the same.
    """
    outputs = {name: known.get(name) or run_network(model, part.squares, spec) for name, part in parts.items()}
    told = (
        {}
        if metadata_sites is None
        else {
            name: run_network(model, parts[name].squares, spec, parts[name].metadata)
            for name in PREFIXES
            if name in parts
        }
    )
    head = LinearHead(weight=model.head.weight.numpy(force=True), bias=model.head.bias.numpy(force=True))
    reference = fit_reference(detector, outputs[TRAIN], parts[TRAIN].labels, head)
    fit_on_validation = partial(
        fit_decision,
        labels=parts[VALIDATION].labels,
        lesions=lesions_of(split.validation),
        detector=detector,
        reference=reference,
        taxonomy=taxonomy,
    )
    decision = fit_on_validation(outputs[VALIDATION])
    with_metadata = None
    if told:
        with_metadata = fit_on_validation(told[VALIDATION])
    elif any(r.age_approx is not None or r.sex or r.anatom_site_general for r in split.validation):
        with_metadata = fit_on_validation(outputs[VALIDATION], metadata=split.validation)
    exported = None
    if export:
        held_out = parts[VALIDATION]
        exported = export_checked(
            model.cpu(),
            held_out.squares,
            outputs[VALIDATION].logits,
            spec,
            told=None if held_out.metadata is None else (held_out.metadata, told[VALIDATION].logits),
        )
    manifest = BundleManifest(
        name=REGISTERED_NAME,
        backbone=backbone,
        taxonomy=taxonomy,
        preprocess=spec,
        decision=decision,
        training=TrainingFacts(
            dataset=facts.dataset,
            data_digest=facts.data_digest,
            split_digest=facts.split_digest,
            seed=seed,
            git_revision=facts.git_revision,
            lock_digest=facts.lock_digest,
            created_at=now(),
            train_images=len(split.train),
            validation_images=len(split.validation),
            metrics={},  # of the evaluations below
            data_licenses=tuple(license.name for license in source.licenses),
        ),
        decision_with_metadata=with_metadata,
        metadata_sites=metadata_sites,
        onnx_parity=exported.parity if exported is not None else None,
    )
    evaluations: dict[str, Evaluation] = {}
    answers: dict[str, AnsweredPart] = {}
    metrics: dict[str, Interval] = {}
    for name in [name for name in ROLES if name in parts]:
        evaluations[name], answers[name] = measure_outputs(
            outputs[name],
            choice_of(name, split, manifest.training),
            manifest=manifest,
            reference=reference,
            output_with_metadata=told.get(name),
        )
        metrics |= headline_metrics(evaluations[name], prefix=PREFIXES[name])
        probabilities = answers[name].probabilities
        record.write_predictions(name, Predictions.of(split.parts[name], probabilities, taxonomy.trained_codes))
    manifest = attrs.evolve(manifest, training=attrs.evolve(manifest.training, metrics=metrics))
    card = CardFacts(
        manifest=manifest,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        settings=record.description["settings"],
        split=split,
        source=source,
        evaluations=evaluations,
    )
    # A network with a branch for metadata is compared with what it says where it is told some, as servers tell it.
    said, rules = (told[VALIDATION], with_metadata) if told and with_metadata else (outputs[VALIDATION], decision)
    decided = decide(said, parameters=rules, reference=reference, taxonomy=taxonomy)
    drift = make_drift_reference(outputs[TRAIN].embeddings, said, decided, split.validation, spec)
    part = TEST if TEST in parts else VALIDATION
    reported = evaluations[part]
    files = {
        WEIGHTS: weights_to_bytes(model.cpu()),
        REFERENCE: safetensors.numpy.save(reference),
        CARD: render_card(card).encode(),
        DRIFT: drift.to_bytes(),
        # Of images it has not seen, without their names: bundles travel further than images may.
        EVALUATION: to_json(attrs.evolve(reported, mistakes=(), missed=())).encode(),
    }
    if exported is not None and exported.data is not None:
        files[ONNX] = exported.data
    bundle = write_bundle(record.bundle, manifest, files)
    write_report(bundle, reported, answers[part], record)
    return bundle


def choice_of(part: str, split: Split, facts: TrainingFacts) -> Choice:
    """The images of a held-out part of a run's own split."""
    return Choice(
        dataset=facts.dataset,
        records=split.parts[part],
        part=part,
        role=ROLES[part],
        data_digest=facts.data_digest,
        split_digest=facts.split_digest,
    )


def write_report(bundle: Bundle, evaluation: Evaluation, answers: AnsweredPart, record: RunRecord) -> None:
    """Write the report of a run: learning curves, then the evaluation, whose page comes last."""
    record.report.mkdir(exist_ok=True)
    if record.epochs:
        write_figure(learning_curves_picture(record.epochs), record.report / "learning_curves.svg")
    named = attrs.evolve(evaluation, model=attrs.evolve(evaluation.model, digest=bundle.digest))
    write_evaluation(named, answers, record.report)
