"""The rest of a run that was interrupted when its bundle was complete already: the report, and clearing up."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import numpy as np
import safetensors.numpy
import torch

from lesion_core.bundle import REFERENCE, Bundle, load_bundle
from lesion_core.decision.metadata import encode_metadata
from lesion_core.errors import LesionError
from lesion_core.records import Dataset, data_digest
from lesion_core.splits import TEST, VALIDATION, Split
from lesion_plugins.classifier import classifier_from_bundle
from lesion_plugins.registry import BackboneRegistry
from lesion_train.bundling import choice_of, write_report
from lesion_train.evaluation.measure import measure_outputs
from lesion_train.evaluation.values import REPORT
from lesion_train.inference import run_network
from lesion_train.parts import measured_parts
from lesion_train.record import RunRecord
from lesion_train.squares import SquareCache


def finish_run(
    record: RunRecord, dataset: Dataset, split: Split, *, registry: BackboneRegistry, cache: Path, threads: int
) -> Bundle:
    """Write what is missing beside the bundle, and note that the run has finished.

    Args:
        record: with a bundle.
        dataset: that it was trained on.
        split: of its own.
        registry: that has its backbone.
        cache: folder of decoded images.
        threads: that decode and calculate.
    Raises:
        LesionError: ``run_complete``: nothing is missing; ``other_data``: the data or the split is not the run's.
        BundleError: the bundle is not intact.
    """
    bundle = load_bundle(record.bundle)
    has_report = (record.report / REPORT).is_file()
    if has_report and not record.checkpoints.exists() and record.end is not None and record.end[0] == "FINISHED":
        raise LesionError(
            f"{record.folder} is complete (bundle {bundle.digest[:12]}): there is nothing left to train. To register "
            f"it: lesion-train register {shlex.quote(str(record.folder))}",
            code="run_complete",
        )
    if not has_report:
        _report(bundle, record, dataset, split, registry=registry, cache=cache, threads=threads)
    record.finish("FINISHED")
    if record.checkpoints.is_dir():
        shutil.rmtree(record.checkpoints)
    return bundle


def _report(
    bundle: Bundle,
    record: RunRecord,
    dataset: Dataset,
    split: Split,
    *,
    registry: BackboneRegistry,
    cache: Path,
    threads: int,
) -> None:
    manifest, everything = bundle.manifest, (*dataset.records, *dataset.test)
    digest = data_digest(everything)
    if (digest, split.digest) != (manifest.training.data_digest, manifest.training.split_digest):
        raise LesionError(
            f"This is not the data, or not the split, of {record.folder.name}: digests {digest[:12]} and "
            f"{split.digest[:12]}, then {manifest.training.data_digest[:12]} and "
            f"{manifest.training.split_digest[:12]}. Give its own, and the report that it lacks is written.",
            code="other_data",
        )
    parts = measured_parts(split, record)
    part = TEST if TEST in parts else VALIDATION
    records = parts[part]
    squares = SquareCache(cache, everything, threads=threads, digest=digest).squares(records, manifest.preprocess)
    torch.set_num_threads(threads)
    model, told = classifier_from_bundle(bundle, registry), None
    if manifest.metadata_sites is not None:
        known = encode_metadata(records, manifest.metadata_sites).astype(np.float32)
        told = run_network(model, squares, manifest.preprocess, known, shown=f"{part} part, metadata")
    evaluation, answers = measure_outputs(
        run_network(model, squares, manifest.preprocess, shown=f"{part} part"),
        choice_of(part, split, manifest.training),
        manifest=manifest,
        reference=safetensors.numpy.load(bundle.read(REFERENCE)),
        output_with_metadata=told,
    )
    write_report(bundle, evaluation, answers, record)
