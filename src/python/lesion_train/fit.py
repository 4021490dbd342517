"""From a folder of images to a registered bundle: the steps of one run, in order."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import subprocess
import tempfile
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import attrs
import safetensors.numpy
import structlog
import torch

from lesion_core.bootstrap import bootstrap_interval
from lesion_core.bundle import CARD, REFERENCE, WEIGHTS, Bundle, BundleManifest, TrainingFacts, write_bundle
from lesion_core.datasets import read_dataset
from lesion_core.decision.calibration import calibrated_probabilities
from lesion_core.decision.decide import decide, fit_decision
from lesion_core.decision.ood import LinearHead, NetworkOutput, fit_reference
from lesion_core.errors import SplitError
from lesion_core.interval import Interval
from lesion_core.metrics import balanced_multiclass_accuracy
from lesion_core.preprocess_spec import PreprocessSpec
from lesion_core.records import Dataset, ImageRecord, data_digest, labels_of, lesions_of
from lesion_core.splits import (
    FOLD,
    TEST,
    TRAIN,
    VALIDATION,
    Split,
    apply_parts,
    parts_digest,
    read_parts,
    require_disjoint,
    split_by_lesion,
    write_parts,
)
from lesion_core.taxonomy_file import read_taxonomy
from lesion_core.workspace import REGISTERED_NAME, Workspace
from lesion_plugins.classifier import build_classifier
from lesion_plugins.registry import BackboneRegistry
from lesion_plugins.weights import weights_to_bytes
from lesion_train.card import render_card
from lesion_train.config import TrainConfig, preprocess_of, with_backbone_defaults
from lesion_train.config_file import to_toml, without_paths
from lesion_train.data import CROP_MARGIN, decode_squares
from lesion_train.evaluate import measure
from lesion_train.loop import Part, resolve_device, run_network, train_classifier
from lesion_train.plots import plot_confusion, plot_learning_curves, plot_reliability, plot_roc
from lesion_train.record import RunRecord
from lesion_train.tracking import BackgroundMirror, Mirror, RegisteredVersion, TrackingError

log = structlog.get_logger()


@attrs.frozen(kw_only=True)
class FitResult:
    """What a run made. ``registered`` is ``None`` where MLflow could not be reached."""

    record: RunRecord
    bundle: Bundle
    metrics: dict[str, Interval]
    registered: RegisteredVersion | None


def fit(config: TrainConfig, workspace: Workspace, *, tracking_uri: str | None = None) -> FitResult:
    """Fine-tune a backbone and register the result.

    Args:
        config: the settings.
        workspace: where the run is recorded.
        tracking_uri: of MLflow; the workspace's own database where it is ``None``.
    Raises:
        LesionError: a named problem with the data, the backbone or the settings, before any training.
    """
    resolve_device(config.device)  # a missing GPU is named now
    dataset = read_dataset(config.data, read_taxonomy(config.taxonomy) if config.taxonomy else None)
    split = make_split(dataset, config)
    parts = {**split.parts, **({TEST: dataset.test} if dataset.test else {})}
    require_disjoint(*parts.values())
    registry = BackboneRegistry.load()
    backbone = registry.get(config.backbone)
    torch.manual_seed(config.seed)
    taxonomy = dataset.taxonomy
    config, spec = with_backbone_defaults(config, backbone), preprocess_of(config, backbone)
    model, weights_origin = build_classifier(
        backbone,
        classes=len(taxonomy.trained),
        input_size_px=spec.input_size_px,
        pretrained=config.pretrained,
        dropout=config.dropout,
    )
    facts = {
        "dataset": dataset.name,
        "data_digest": data_digest((*dataset.records, *dataset.test)),
        "split_digest": parts_digest(parts),
        "git_revision": _git_revision(),
        "lock_digest": _environment_digest(),
        "weights_origin": weights_origin,
    }
    record = RunRecord.create(workspace.runs, config.backbone, without_paths(config), facts)
    record.config.write_text(to_toml(config), encoding="utf-8")
    write_parts(parts, record.split)
    mirror = BackgroundMirror(Mirror(record, tracking_uri or workspace.mlflow_database, workspace))
    log.info(
        "run_started",
        folder=str(record.folder),
        weights=weights_origin,
        train_images=len(split.train),
        validation_images=len(split.validation),
        test_images=len(dataset.test),
    )

    def on_epoch(epoch: int, metrics: dict[str, float]) -> None:
        record.add_epoch(epoch, metrics)
        shown = {key: float(f"{value:.4g}") for key, value in metrics.items()}
        log.info("epoch_done", epoch=epoch, of=config.epochs, **shown)
        mirror.notify()

    with tempfile.TemporaryDirectory(prefix="lesion-squares-") as scratch:
        decoded = _decode_parts(dataset, split, spec, Path(scratch), config.threads)
        model = train_classifier(model, decoded["train"], decoded["val"], spec, backbone, config, on_epoch=on_epoch)
        outputs = {name: run_network(model, part.squares, spec) for name, part in decoded.items()}
    head = LinearHead(weight=model.head.weight.numpy(force=True), bias=model.head.bias.numpy(force=True))
    detector = config.ood_detector or backbone.ood_detector
    reference = fit_reference(detector, outputs["train"], decoded["train"].labels, head)
    fit_on_validation = partial(
        fit_decision,
        outputs["val"],
        decoded["val"].labels,
        lesions_of(split.validation),
        detector=detector,
        reference=reference,
        taxonomy=taxonomy,
    )
    decision = fit_on_validation()
    has_metadata = any(r.age_approx or r.sex or r.anatom_site_general for r in split.validation)
    metrics: dict[str, Interval] = {}
    for name, records in (("val", split.validation), ("test", dataset.test)):
        if records:
            probabilities = calibrated_probabilities(outputs[name].logits, decision.temperature)
            metrics |= measure(probabilities, decoded[name].labels, lesions_of(records), taxonomy, prefix=name)
            decisions = decide(outputs[name], parameters=decision, reference=reference, taxonomy=taxonomy)
            metrics[f"{name}_bma_with_none"] = bootstrap_interval(
                balanced_multiclass_accuracy, decisions.probabilities, decoded[name].labels, lesions_of(records)
            )
    _plot(record, outputs["val"], decoded["val"], decision.temperature, dataset)
    manifest = BundleManifest(
        name=REGISTERED_NAME,
        backbone=registry.identity(config.backbone, weights_origin),
        taxonomy=taxonomy,
        preprocess=spec,
        decision=decision,
        training=TrainingFacts(
            dataset=facts["dataset"],
            data_digest=facts["data_digest"],
            split_digest=facts["split_digest"],
            seed=config.seed,
            git_revision=facts["git_revision"],
            lock_digest=facts["lock_digest"],
            created_at=_created_at(),
            train_images=len(split.train),
            validation_images=len(split.validation),
            metrics=metrics,
        ),
        decision_with_metadata=fit_on_validation(metadata=split.validation) if has_metadata else None,
    )
    files = {
        WEIGHTS: weights_to_bytes(model.cpu()),
        REFERENCE: safetensors.numpy.save(reference),
        CARD: render_card(manifest).encode(),
    }
    bundle = write_bundle(record.bundle, manifest, files)
    registered = None
    try:
        registered = mirror.register(REGISTERED_NAME)
    except TrackingError as error:
        log.warning("registration_failed", reason=error.message)
    return FitResult(record=record, bundle=bundle, metrics=metrics, registered=registered)


def make_split(dataset: Dataset, config: TrainConfig) -> Split:
    """The frozen split that the settings name, or a new one.

    A frozen split of parts ``train`` and ``validation`` is taken as it is; of k folds, ``fold`` is held out and the
    others are trained on. Its part ``test``, where it has one, has to be the data set's own.

    Raises:
        SplitError: the frozen split is not for this data, or does not have these parts; or none can be made.
    """
    if config.split is None:
        if config.fold is not None:
            raise SplitError("A fold needs the frozen split that it is a fold of: give --split FILE too.")
        return split_by_lesion(
            dataset.records, dataset.taxonomy, validation_fraction=config.validation_fraction, seed=config.seed
        )
    has_test = TEST in read_parts(config.split).values()
    parts = apply_parts(config.split, (*dataset.records, *(dataset.test if has_test else ())))
    if has_test and parts.pop(TEST) != dataset.test:
        raise SplitError(f"Part '{TEST}' of {config.split} is not the test part of {dataset.name}.", code="other_data")
    held_out = VALIDATION if config.fold is None else f"{FOLD}{config.fold}"
    others = [name for name in parts if name != held_out]
    if held_out not in parts or not others or (config.fold is None and others != [TRAIN]):
        raise SplitError(
            f"{config.split} has the parts {', '.join(sorted(parts))}. A run needs '{TRAIN}' and '{VALIDATION}', or "
            f"'{FOLD}1', '{FOLD}2' … with --fold K."
        )
    train = [record for name in others for record in parts[name]]
    return Split(train=tuple(sorted(train, key=lambda record: record.isic_id)), validation=parts[held_out])


def _decode_parts(dataset: Dataset, split: Split, spec: PreprocessSpec, scratch: Path, threads: int) -> dict[str, Part]:
    parts: dict[str, tuple[ImageRecord, ...]] = {"train": split.train, "val": split.validation, "test": dataset.test}
    return {
        name: Part(
            squares=decode_squares(
                records, spec, scratch / f"{name}.npy", threads=threads, margin=CROP_MARGIN if name == "train" else 1.0
            ),
            labels=labels_of(records, dataset.taxonomy),
        )
        for name, records in parts.items()
        if records
    }


def _plot(record: RunRecord, outputs: NetworkOutput, part: Part, temperature: float, dataset: Dataset) -> None:
    probabilities = calibrated_probabilities(outputs.logits, temperature)
    plot_learning_curves(record.epochs, record.plots / "learning_curves.png")
    plot_confusion(probabilities, part.labels, dataset.taxonomy, record.plots / "confusion.png")
    plot_roc(probabilities, part.labels, dataset.taxonomy, record.plots / "roc.png")
    plot_reliability(probabilities, part.labels, record.plots / "reliability.png")


def _created_at() -> str:
    """Now, or what SOURCE_DATE_EPOCH says: https://reproducible-builds.org/specs/source-date-epoch/ ."""
    seconds = int(os.environ.get("SOURCE_DATE_EPOCH") or time.time())
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _git_revision() -> str:
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except OSError:
        return "unknown"
    return done.stdout.strip() or "unknown"


def _environment_digest() -> str:
    """sha256 over the names and versions of all installed distributions."""
    found = {f"{item.name.lower()}=={item.version}" for item in importlib.metadata.distributions() if item.name}
    return hashlib.sha256("\n".join(sorted(found)).encode()).hexdigest()
