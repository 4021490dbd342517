"""From a folder of images to a registered bundle: the steps of one run, in order."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import attrs
import numpy as np
import structlog
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray

from lesion_core.bundle import Bundle
from lesion_core.datasets import read_dataset
from lesion_core.decision.metadata import encode_metadata, metadata_features, sites_of
from lesion_core.decision.ood import NetworkOutput
from lesion_core.errors import LesionError
from lesion_core.frozen_split import write_parts
from lesion_core.interval import Interval
from lesion_core.preprocess_spec import PreprocessSpec
from lesion_core.records import Dataset, ImageRecord, labels_of
from lesion_core.splits import TRAIN, VALIDATION, Split, require_disjoint
from lesion_core.taxonomy_file import read_taxonomy
from lesion_core.workspace import REGISTERED_NAME, Workspace
from lesion_plugins.backbone import BackboneSpec
from lesion_plugins.classifier import build_classifier
from lesion_plugins.registry import BackboneRegistry
from lesion_plugins.weights import NONE
from lesion_train.bundling import make_bundle
from lesion_train.checkpoint import Checkpoints, has_checkpoints
from lesion_train.config import TrainConfig, preprocess_of, with_backbone_defaults
from lesion_train.config_file import to_toml, without_paths
from lesion_train.continuing import run_identity
from lesion_train.devices import make_fabric, resolve_precision
from lesion_train.disk import full_disk
from lesion_train.finishing import finish_run
from lesion_train.linear_probe import fit_linear_probe
from lesion_train.loop import DivergedError, Part, train_classifier
from lesion_train.parts import make_split, measured_parts
from lesion_train.progress import ProgressRecorder
from lesion_train.provenance import RunFacts
from lesion_train.record import RunRecord
from lesion_train.squares import CROP_MARGIN, SquareCache
from lesion_train.starting_weights import StartingWeights, describe_weights, require_unseen, splits_behind
from lesion_train.tracking import BackgroundMirror, Mirror, RegisteredVersion, SystemSampler, TrackingError

log = structlog.get_logger()

RESUME_HINT = "Free some, and go on from the last checkpoint: lesion-train fit --data DIR --resume {run}"


class RunStoppedError(LesionError):
    """Raised by ``watch`` to end a run that is not worth going on with; its checkpoints are removed."""

    code = "run_stopped"


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
            of it, one that a run can go on from. ``trained_on_before``: see ``require_unseen``; ``run_in_use``;
            ``other_settings``: an interrupted run started from other weights.
    """
    registry = BackboneRegistry.load()
    backbone = registry.get(config.backbone)
    fabric = make_fabric(config, backbone)
    dataset = read_dataset(config.data, read_taxonomy(config.taxonomy) if config.taxonomy else None)
    for note in dataset.notes:
        fabric.print(f"Note: {note}")
    split = make_split(dataset, config)
    require_disjoint(*split.parts.values())
    taxonomy = dataset.taxonomy
    config, spec = with_backbone_defaults(config, backbone), preprocess_of(config, backbone)
    config = attrs.evolve(config, precision=resolve_precision(config, backbone))
    cache = cache or workspace.squares
    if resume is not None and resume.bundle.exists():
        if not fabric.is_global_zero:
            raise SystemExit(0)
        with ExitStack() as run:
            run.callback(resume.lock().release)
            bundle = finish_run(resume, dataset, split, registry=registry, cache=cache, threads=config.threads)
        mirror = BackgroundMirror(Mirror(resume, tracking_uri or workspace.mlflow_database, workspace))
        return FitResult(record=resume, bundle=bundle, registered=_published(mirror, register))
    sites = sites_of(split.train) if config.metadata_fusion else None
    earlier = splits_behind(config.pretrained)
    require_unseen(earlier, split)
    begun = _weights_of(resume, backbone) if resume is not None and has_checkpoints(resume.checkpoints) else None
    torch.manual_seed(config.seed)
    model, weights_origin = build_classifier(
        backbone,
        classes=len(taxonomy.trained),
        input_size_px=spec.input_size_px,
        pretrained=NONE if begun is not None else config.pretrained,
        metadata_features=0 if sites is None else metadata_features(sites),
        dropout=config.dropout,
    )
    weights = begun or describe_weights(backbone, config.pretrained, weights_origin, stated=config.weights_license)
    if resume is not None:
        _require_same_weights(resume, weights)
    facts = RunFacts.of(dataset, split, weights=weights)
    record = resume or _new_record(fabric, config, workspace, facts, split, parent, earlier)
    identity = run_identity(config, facts, split, processes=fabric.world_size, device=fabric.device.type)
    checkpoints = Checkpoints(record.checkpoints, identity, every_s=60 * config.checkpoint_minutes)
    with ExitStack() as run:
        if fabric.is_global_zero:
            run.callback(record.lock().release)
        reached = checkpoints.reached()
        if fabric.is_global_zero:
            record.go_on()
        mirror = BackgroundMirror(Mirror(record, tracking_uri or workspace.mlflow_database, workspace))
        log.info(
            "run_started" if reached is None else "run_resumed",
            folder=str(record.folder),
            weights=weights.origin,
            step=0 if reached is None else reached.step,
            **{f"{name}_images": len(records) for name, records in split.parts.items()},
        )
        progress = ProgressRecorder(record, mirror, epochs=config.epochs) if fabric.is_global_zero else None

        def on_step(step: int, metrics: dict[str, float]) -> None:
            if progress is not None:
                progress.add_step(step, metrics)

        def on_epoch(epoch: int, metrics: dict[str, float]) -> None:
            if progress is not None:
                progress.add_epoch(epoch, metrics)
                watch(epoch, metrics)

        if fabric.is_global_zero:
            run.enter_context(_ending(record, mirror, checkpoints, data=config.data))
        records = measured_parts(split, record)
        parts = _decoded(fabric, dataset, records, spec, cache, facts.data_digest, config.threads)
        if sites is not None:
            parts = {name: attrs.evolve(part, metadata=_encoded(records[name], sites)) for name, part in parts.items()}
        with ExitStack() as during:
            if fabric.is_global_zero:
                during.enter_context(SystemSampler(record))
            known: dict[str, NetworkOutput] = {}
            if config.linear_probe:
                probe = fit_linear_probe(model, parts[TRAIN], parts[VALIDATION], spec, config)
                model, known = probe.model, {TRAIN: probe.train, VALIDATION: probe.validation}
            else:
                model = train_classifier(
                    model,
                    parts[TRAIN],
                    parts[VALIDATION],
                    spec,
                    backbone,
                    config,
                    fabric=fabric,
                    checkpoints=checkpoints,
                    on_step=on_step,
                    on_epoch=on_epoch,
                )
        if not fabric.is_global_zero:
            raise SystemExit(0)
        bundle = make_bundle(
            model,
            parts,
            split,
            spec=spec,
            taxonomy=taxonomy,
            metadata_sites=sites,
            detector=config.ood_detector or backbone.ood_detector,
            backbone=attrs.evolve(registry.identity(config.backbone, weights.origin), weights_license=weights.license),
            facts=facts,
            source=dataset.source.with_license(config.data_license),
            seed=config.seed,
            known=known,
            export=config.onnx and backbone.exports_onnx,
            record=record,
        )
    record.finish("FINISHED")
    checkpoints.remove()
    return FitResult(record=record, bundle=bundle, registered=_published(mirror, register))


@contextmanager
def _ending(record: RunRecord, mirror: BackgroundMirror, checkpoints: Checkpoints, *, data: Path) -> Iterator[None]:
    """Write down how a run ended that made no bundle; a full disk gets its name, and the way on from there."""
    try:
        yield
    except RunStoppedError:
        checkpoints.remove()
        _end(record, mirror, "KILLED")
        raise
    except DivergedError:
        checkpoints.remove()  # it would diverge again
        _end(record, mirror, "FAILED")
        raise
    except KeyboardInterrupt:
        log.warning("run_interrupted", resume=f"lesion-train fit --data {data} --resume {record.folder}")
        _end(record, mirror, "KILLED")
        raise
    except Exception as error:
        _end(record, mirror, "FAILED")
        if named := full_disk(error, record.folder, RESUME_HINT.format(run=record.folder)):
            raise named from error
        raise


def _published(mirror: BackgroundMirror, register: bool) -> RegisteredVersion | None:
    """Send the rest of the run, and register it if it is to be; a failure is logged, since nothing is lost."""
    try:
        if register:
            return mirror.register(REGISTERED_NAME)
        mirror.finish()
    except TrackingError as error:
        log.warning("registration_failed" if register else "tracking_failed", reason=error.message)
    return None


def _end(record: RunRecord, mirror: BackgroundMirror, status: str) -> None:
    try:
        record.finish(status)
    except OSError as error:  # on a full disk; what ended the run is told all the same
        log.warning("end_not_written", reason=str(error))
    _published(mirror, register=False)


def _new_record(
    fabric: Fabric,
    config: TrainConfig,
    workspace: Workspace,
    facts: RunFacts,
    split: Split,
    parent: RunRecord | None,
    earlier: Sequence[Path],
) -> RunRecord:
    folder = ""
    if fabric.is_global_zero:
        record = RunRecord.create(
            workspace.runs, config.backbone, without_paths(config), attrs.asdict(facts), parent=parent
        )
        record.config.write_text(to_toml(config), encoding="utf-8")
        if config.taxonomy is not None:
            shutil.copyfile(config.taxonomy, record.taxonomy)
        write_parts(split.parts, record.split)
        for number, path in enumerate(earlier, start=1):
            record.earlier.mkdir(exist_ok=True)
            shutil.copyfile(path, record.earlier / f"{number}.csv")
        folder = str(record.folder)
    return RunRecord(Path(fabric.broadcast(folder)))


def _weights_of(record: RunRecord, backbone: BackboneSpec) -> StartingWeights:
    """What an interrupted run started from, as it noted then."""
    facts = record.description["facts"]
    origin = facts["weights_origin"]
    return StartingWeights(origin=origin, license=facts.get("weights_license") or backbone.license_of(origin))


def _require_same_weights(record: RunRecord, weights: StartingWeights) -> None:
    """A run without a checkpoint starts again, from the weights that its record names; others may have their path."""
    noted = record.description["facts"]["weights_origin"]
    if weights.origin != noted:
        raise LesionError(
            f"{record.folder.name} started from other weights: {noted}; these are {weights.origin}. Give those, or "
            "begin a new run without --resume.",
            code="other_settings",
        )


def _encoded(records: Sequence[ImageRecord], sites: Sequence[str]) -> NDArray[np.float32]:
    return encode_metadata(records, sites).astype(np.float32)


def _decoded(
    fabric: Fabric,
    dataset: Dataset,
    parts: Mapping[str, Sequence[ImageRecord]],
    spec: PreprocessSpec,
    folder: Path,
    digest: str,
    threads: int,
) -> dict[str, Part]:
    """Parts, decoded; the first process of each host decodes for the others."""
    cache = SquareCache(folder, (*dataset.records, *dataset.test), threads=threads, digest=digest)
    with fabric.rank_zero_first(local=True):
        return {
            name: Part(
                squares=cache.squares(records, spec, margin=CROP_MARGIN if name == TRAIN else 1.0),
                labels=labels_of(records, dataset.taxonomy),
            )
            for name, records in parts.items()
        }
