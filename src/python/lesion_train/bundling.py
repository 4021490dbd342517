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
from lesion_core.decision.ood import LinearHead, NetworkOutput, Reference, fit_reference
from lesion_core.decision.parameters import DecisionParameters, OodDetector
from lesion_core.drift_reference import DRIFT
from lesion_core.interval import Interval
from lesion_core.preprocess_spec import PreprocessSpec
from lesion_core.splits import TEST, TRAIN, VALIDATION, Split, units_of
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
from lesion_train.export import Exported, export_checked
from lesion_train.inference import run_network
from lesion_train.loop import Part
from lesion_train.predictions import Predictions
from lesion_train.provenance import RunFacts
from lesion_train.record import RunRecord

PREFIXES = {VALIDATION: "val", TEST: "test"}
ROLES = {VALIDATION: Role.VALIDATION, TEST: Role.TEST}


@attrs.frozen(kw_only=True, eq=False)
class Trained:
    """A trained network, and all that a bundle says of how it came about.

    Attributes:
        model: trained.
        backbone: with the origin and the licence of the weights that it started from.
        spec: the network's preprocessing.
        taxonomy: of its classes.
        metadata_sites: that the network's own branch for metadata knows, where it has one.
        detector: of strange images.
        split: the records of the parts.
        parts: what it is run on, by the names of ``split.parts``; at the network's own size, but for training.
        known: what the network says of parts, where it has been asked already.
        source: where the images come from, for the card.
        facts: digests of the data and the code.
        seed: of the run.
    """

    model: Classifier
    backbone: BackboneIdentity
    spec: PreprocessSpec
    taxonomy: Taxonomy
    metadata_sites: tuple[str, ...] | None
    detector: OodDetector
    split: Split
    parts: Mapping[str, Part]
    known: Mapping[str, NetworkOutput]
    source: DataSource
    facts: RunFacts
    seed: int


def make_bundle(trained: Trained, record: RunRecord, *, export: bool) -> Bundle:
    """Fit the decision layer on the validation part, measure, and write bundle, predictions and report into the record.

    The report is of the test part, and of the validation part where there is no other.

    Args:
        trained: the network.
        record: of its run.
        export: also write the network as ONNX, where it then answers the same.
    """
    said = _ask(trained)
    rules = _fit_rules(trained, said)
    exported = _export(trained, said) if export else None
    manifest = _manifest(trained, rules, exported)
    evaluations: dict[str, Evaluation] = {}
    answers: dict[str, AnsweredPart] = {}
    metrics: dict[str, Interval] = {}
    for name in [name for name in ROLES if name in trained.parts]:
        evaluations[name], answers[name] = measure_outputs(
            said.plain[name],
            choice_of(name, trained.split, manifest.training),
            manifest=manifest,
            reference=rules.reference,
            output_with_metadata=said.told.get(name),
        )
        metrics |= headline_metrics(evaluations[name], prefix=PREFIXES[name])
        probabilities, codes = answers[name].probabilities, trained.taxonomy.trained_codes
        record.write_predictions(name, Predictions.of(trained.split.parts[name], probabilities, codes))
    manifest = attrs.evolve(manifest, training=attrs.evolve(manifest.training, metrics=metrics))
    card = CardFacts(
        manifest=manifest,
        parameters=sum(parameter.numel() for parameter in trained.model.parameters()),
        settings=record.description["settings"],
        split=trained.split,
        source=trained.source,
        evaluations=evaluations,
    )
    part = TEST if TEST in trained.parts else VALIDATION
    reported = evaluations[part]
    files = {
        WEIGHTS: weights_to_bytes(trained.model.cpu()),
        REFERENCE: safetensors.numpy.save(dict(rules.reference)),
        CARD: render_card(card).encode(),
        DRIFT: _drift(trained, said, rules),
        # Of images it has not seen, without their names: bundles travel further than images may.
        EVALUATION: to_json(attrs.evolve(reported, mistakes=(), missed=())).encode(),
    }
    if exported is not None and exported.data is not None:
        files[ONNX] = exported.data
    bundle = write_bundle(record.bundle, manifest, files)
    write_report(bundle, reported, answers[part], record)
    return bundle


@attrs.frozen(kw_only=True, eq=False)
class _Said:
    """What the network says, by part: ``plain``, and of held-out parts ``told`` the metadata, where it takes any."""

    plain: Mapping[str, NetworkOutput]
    told: Mapping[str, NetworkOutput]


@attrs.frozen(kw_only=True, eq=False)
class _Rules:
    """The decision layer, fitted on the validation part; ``with_metadata`` where there is any."""

    reference: Reference
    plain: DecisionParameters
    with_metadata: DecisionParameters | None


def _ask(trained: Trained) -> _Said:
    model, parts, spec = trained.model, trained.parts, trained.spec
    told = [] if trained.metadata_sites is None else [name for name in PREFIXES if name in parts]
    return _Said(
        plain={
            name: trained.known.get(name) or run_network(model, part.squares, spec, shown=f"{name} part")
            for name, part in parts.items()
        },
        told={
            name: run_network(model, parts[name].squares, spec, parts[name].metadata, shown=f"{name} part, metadata")
            for name in told
        },
    )


def _fit_rules(trained: Trained, said: _Said) -> _Rules:
    head = trained.model.head
    linear = LinearHead(weight=head.weight.numpy(force=True), bias=head.bias.numpy(force=True))
    reference = fit_reference(trained.detector, said.plain[TRAIN], trained.parts[TRAIN].labels, linear)
    held_out = trained.split.validation
    fit = partial(
        fit_decision,
        labels=trained.parts[VALIDATION].labels,
        units=units_of(held_out),
        detector=trained.detector,
        reference=reference,
        taxonomy=trained.taxonomy,
    )
    with_metadata = None
    if said.told:
        with_metadata = fit(said.told[VALIDATION])
    elif any(r.age_approx is not None or r.sex or r.anatom_site_general for r in held_out):
        with_metadata = fit(said.plain[VALIDATION], metadata=held_out)
    return _Rules(reference=reference, plain=fit(said.plain[VALIDATION]), with_metadata=with_metadata)


def _export(trained: Trained, said: _Said) -> Exported | None:
    held_out = trained.parts[VALIDATION]
    return export_checked(
        trained.model.cpu(),
        held_out.squares,
        said.plain[VALIDATION].logits,
        trained.spec,
        told=None if held_out.metadata is None else (held_out.metadata, said.told[VALIDATION].logits),
    )


def _manifest(trained: Trained, rules: _Rules, exported: Exported | None) -> BundleManifest:
    """All but the metrics, which are of the evaluations by it, and the files."""
    facts = trained.facts
    return BundleManifest(
        name=REGISTERED_NAME,
        backbone=trained.backbone,
        taxonomy=trained.taxonomy,
        preprocess=trained.spec,
        decision=rules.plain,
        training=TrainingFacts(
            dataset=facts.dataset,
            data_digest=facts.data_digest,
            split_digest=facts.split_digest,
            seed=trained.seed,
            git_revision=facts.git_revision,
            lock_digest=facts.lock_digest,
            created_at=now(),
            train_images=len(trained.split.train),
            validation_images=len(trained.split.validation),
            metrics={},
            data_licenses=tuple(license.name for license in trained.source.licenses),
        ),
        decision_with_metadata=rules.with_metadata,
        metadata_sites=trained.metadata_sites,
        onnx_parity=exported.parity if exported is not None else None,
    )


def _drift(trained: Trained, said: _Said, rules: _Rules) -> bytes:
    """What servers compare their images with: of a network that takes metadata, what it says where it is told some."""
    output, parameters = said.plain[VALIDATION], rules.plain
    if said.told and rules.with_metadata is not None:
        output, parameters = said.told[VALIDATION], rules.with_metadata
    decided = decide(output, parameters=parameters, reference=rules.reference, taxonomy=trained.taxonomy)
    held_out = trained.split.validation
    return make_drift_reference(said.plain[TRAIN].embeddings, output, decided, held_out, trained.spec).to_bytes()


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
