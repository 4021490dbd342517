"""From a folder of images to a registered bundle: the steps of one run, in order."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from functools import partial
from pathlib import Path

import attrs
import numpy as np
import structlog
import torch
from lightning_fabric import Fabric

from lesion_core.bundle import Bundle
from lesion_core.datasets import read_dataset
from lesion_core.decision.metadata import encode_metadata, metadata_features, sites_of
from lesion_core.decision.ood import NetworkOutput
from lesion_core.frozen_split import write_parts
from lesion_core.interval import Interval
from lesion_core.preprocess_spec import PreprocessSpec
from lesion_core.records import Dataset, labels_of
from lesion_core.splits import TRAIN, VALIDATION, Split, require_disjoint
from lesion_core.taxonomy_file import read_taxonomy
from lesion_core.workspace import Workspace
from lesion_plugins.backbone import BackboneSpec
from lesion_plugins.classifier import Classifier, build_classifier
from lesion_plugins.registry import BackboneRegistry
from lesion_plugins.weights import NONE
from lesion_train.bundling import Trained, make_bundle
from lesion_train.checkpoint import Checkpoints, has_checkpoints
from lesion_train.config import TrainConfig, preprocess_of, with_backbone_defaults
from lesion_train.config_file import to_toml, without_paths
from lesion_train.continuing import require_same_run, run_identity
from lesion_train.devices import make_fabric, resolve_precision
from lesion_train.ending import ending, published, resume_command
from lesion_train.finishing import finish_run
from lesion_train.linear_probe import fit_linear_probe
from lesion_train.loop import Part, train_classifier
from lesion_train.losses import require_true_optimum
from lesion_train.parts import make_split, measured_parts
from lesion_train.progress import ProgressRecorder
from lesion_train.provenance import RunFacts
from lesion_train.record import RunRecord
from lesion_train.squares import CROP_MARGIN, SquareCache
from lesion_train.starting_weights import (
    StartingWeights,
    describe_weights,
    noted_weights,
    require_same_weights,
    require_unseen,
    splits_behind,
)
from lesion_train.tracking import BackgroundMirror, Mirror, RegisteredVersion, SystemSampler

log = structlog.get_logger()


@attrs.frozen(kw_only=True)
class FitResult:
    """What a run made. ``registered`` is ``None`` where MLflow could not be reached, or was not to be asked."""

    record: RunRecord
    bundle: Bundle
    registered: RegisteredVersion | None

    @property
    def metrics(self) -> Mapping[str, Interval]:
        """Scores of the validation and, where it was measured, the test part."""
        return self.bundle.manifest.training.metrics


def fit(
    config: TrainConfig,
    workspace: Workspace,
    *,
    tracking_uri: str | None = None,
    resume: RunRecord | None = None,
    cache: Path | None = None,
    parent: RunRecord | None = None,
    register: bool = True,
    watch: Callable[[int, dict[str, float]], None] = lambda epoch, metrics: None,
) -> FitResult:
    """Fine-tune a backbone and register the result.

    Args:
        config: the settings.
        workspace: where the run is recorded.
        tracking_uri: of MLflow; the workspace's own database where it is ``None``.
        resume: an interrupted run of the same settings and data to go on with, instead of a new one. Once it has a
            checkpoint, it does not need the weights that it started from.
        cache: folder of decoded images; the workspace's own where it is ``None``.
        parent: the run that this one is a part of; such a run leaves the test part alone, which is looked at once.
        register: whether the bundle becomes a version of the registered model.
        watch: called with each epoch, counted from 1, and its metrics; may raise ``RunStoppedError``.
    Raises:
        SystemExit: with 0, in all processes of a run but the first, when the training is over.
        LesionError: a named problem with the data, the backbone or the settings, before any training; or, in the midst
            of it, one that a run can go on from. ``trained_on_before``: see ``require_unseen``;
            ``imbalance``: see ``require_true_optimum``; ``run_in_use``;
            ``other_settings``, ``other_data``: an interrupted run was begun with others, or from other weights.
    """
    registry = BackboneRegistry.load()
    job = _job_of(config, registry, cache or workspace.squares)
    is_first, uri = job.fabric.is_global_zero, tracking_uri or workspace.mlflow_database
    if resume is not None and resume.bundle.exists():
        if not is_first:
            raise SystemExit(0)
        with ExitStack() as run:
            run.callback(resume.lock().release)
            bundle = finish_run(
                resume, job.dataset, job.split, registry=registry, cache=job.cache, threads=job.config.threads
            )
        mirror = BackgroundMirror(Mirror(resume, uri, workspace))
        return FitResult(record=resume, bundle=bundle, registered=published(mirror, register))
    earlier = splits_behind(config.pretrained)
    require_unseen(earlier, job.split)
    require_true_optimum(config, Counter(record.diagnosis for record in job.split.train))
    model, weights = _starting_model(job, resume)
    facts = RunFacts.of(job.dataset, job.split, weights=weights)
    identity = run_identity(
        job.config, facts, job.split, processes=job.fabric.world_size, device=job.fabric.device.type
    )
    if resume is not None and resume.identity is not None:
        require_same_run(resume.folder.name, resume.identity, identity)
    record = resume or _new_record(job, workspace, facts, identity, parent, earlier)
    checkpoints = Checkpoints(record.checkpoints, identity, every_s=60 * config.checkpoint_minutes)
    with ExitStack() as run:
        if is_first:
            run.callback(record.lock().release)
        reached = checkpoints.reached()
        mirror = BackgroundMirror(Mirror(record, uri, workspace))
        if is_first:
            record.go_on()
            again = resume_command("fit", config.data, record, tracking_uri=tracking_uri, cache=cache)
            run.enter_context(ending(record, mirror, checkpoints, again=again))
        log.info(
            "run_started" if reached is None else "run_resumed",
            folder=str(record.folder),
            weights=weights.origin,
            step=0 if reached is None else reached.step,
            **{f"{name}_images": len(records) for name, records in job.split.parts.items()},
        )
        parts = _decoded(job, record, facts.data_digest)
        model, known = _train(job, model, parts, record, mirror, checkpoints, watch)
        if not is_first:
            raise SystemExit(0)
        trained = Trained(
            model=model,
            backbone=attrs.evolve(registry.identity(config.backbone, weights.origin), weights_license=weights.license),
            spec=job.spec,
            taxonomy=job.dataset.taxonomy,
            metadata_sites=job.sites,
            detector=config.ood_detector or job.backbone.ood_detector,
            split=job.split,
            parts=parts,
            known=known,
            source=job.dataset.source.with_license(config.data_license),
            facts=facts,
            seed=config.seed,
        )
        bundle = make_bundle(trained, record, export=config.onnx and job.backbone.exports_onnx)
    record.finish("FINISHED")
    checkpoints.remove()
    return FitResult(record=record, bundle=bundle, registered=published(mirror, register))


@attrs.frozen(kw_only=True, eq=False)
class _Job:
    """What is trained on what: the settings with all that the backbone decides, the data, and the processes.

    ``sites``: that the network's branch for metadata knows, where it has one; ``cache``: folder of decoded images.
    """

    config: TrainConfig
    backbone: BackboneSpec
    fabric: Fabric
    dataset: Dataset
    split: Split
    spec: PreprocessSpec
    sites: tuple[str, ...] | None
    cache: Path


def _job_of(config: TrainConfig, registry: BackboneRegistry, cache: Path) -> _Job:
    backbone = registry.get(config.backbone)
    fabric = make_fabric(config, backbone)
    dataset = read_dataset(config.data, read_taxonomy(config.taxonomy) if config.taxonomy else None)
    for note in dataset.notes:
        fabric.print(f"Note: {note}")
    split = make_split(dataset, config)
    require_disjoint(*split.parts.values())
    config = with_backbone_defaults(config, backbone)
    return _Job(
        config=attrs.evolve(config, precision=resolve_precision(config, backbone)),
        backbone=backbone,
        fabric=fabric,
        dataset=dataset,
        split=split,
        spec=preprocess_of(config, backbone),
        sites=sites_of(split.train) if config.metadata_fusion else None,
        cache=cache,
    )


def _starting_model(job: _Job, resume: RunRecord | None) -> tuple[Classifier, StartingWeights]:
    """The network before its first step; with random weights where a checkpoint is going to replace them."""
    config, backbone = job.config, job.backbone
    begun = resume is not None and has_checkpoints(resume.checkpoints)
    torch.manual_seed(config.seed)
    model, origin = build_classifier(
        backbone,
        classes=len(job.dataset.taxonomy.trained),
        input_size_px=job.spec.input_size_px,
        pretrained=NONE if begun else config.pretrained,
        metadata_features=0 if job.sites is None else metadata_features(job.sites),
        dropout=config.dropout,
    )
    if resume is not None and begun:
        return model, noted_weights(resume, backbone)
    weights = describe_weights(backbone, config.pretrained, origin, stated=config.weights_license)
    if resume is not None:
        require_same_weights(resume, weights)
    return model, weights


def _train(
    job: _Job,
    model: Classifier,
    parts: Mapping[str, Part],
    record: RunRecord,
    mirror: BackgroundMirror,
    checkpoints: Checkpoints,
    watch: Callable[[int, dict[str, float]], None],
) -> tuple[Classifier, dict[str, NetworkOutput]]:
    """The network after its last step, and what it says of parts, as far as that was asked on the way."""
    is_first = job.fabric.is_global_zero
    with SystemSampler(record) if is_first else nullcontext():
        if job.config.linear_probe:
            probe = fit_linear_probe(model, parts[TRAIN], parts[VALIDATION], job.spec, job.config)
            return probe.model, {TRAIN: probe.train, VALIDATION: probe.validation}
        train = partial(
            train_classifier,
            model,
            parts[TRAIN],
            parts[VALIDATION],
            job.spec,
            job.backbone,
            job.config,
            fabric=job.fabric,
            checkpoints=checkpoints,
        )
        if not is_first:
            return train(), {}
        progress = ProgressRecorder(record, mirror, epochs=job.config.epochs)

        def on_epoch(epoch: int, metrics: dict[str, float]) -> None:
            progress.add_epoch(epoch, metrics)
            watch(epoch, metrics)

        return train(on_step=progress.add_step, on_epoch=on_epoch), {}


def _new_record(
    job: _Job,
    workspace: Workspace,
    facts: RunFacts,
    identity: Mapping[str, str],
    parent: RunRecord | None,
    earlier: Sequence[Path],
) -> RunRecord:
    config, folder = job.config, ""
    if job.fabric.is_global_zero:
        record = RunRecord.create(
            workspace.runs,
            config.backbone,
            without_paths(config),
            attrs.asdict(facts),
            identity=identity,
            parent=parent,
        )
        record.config.write_text(to_toml(config), encoding="utf-8")
        if config.taxonomy is not None:
            shutil.copyfile(config.taxonomy, record.taxonomy)
        write_parts(job.split.parts, record.split)
        for number, path in enumerate(earlier, start=1):
            record.earlier.mkdir(exist_ok=True)
            shutil.copyfile(path, record.earlier / f"{number}.csv")
        folder = str(record.folder)
    return RunRecord(Path(job.fabric.broadcast(folder)))


def _decoded(job: _Job, record: RunRecord, digest: str) -> dict[str, Part]:
    """The measured parts, decoded, with what is known of the patients where the network takes it.

    The first process of each host decodes for the others.
    """
    everything = (*job.dataset.records, *job.dataset.test)
    cache = SquareCache(job.cache, everything, threads=job.config.threads, digest=digest)
    with job.fabric.rank_zero_first(local=True):
        return {
            name: Part(
                squares=cache.squares(records, job.spec, margin=CROP_MARGIN if name == TRAIN else 1.0),
                labels=labels_of(records, job.dataset.taxonomy),
                metadata=None if job.sites is None else encode_metadata(records, job.sites).astype(np.float32),
            )
            for name, records in measured_parts(job.split, record).items()
        }
