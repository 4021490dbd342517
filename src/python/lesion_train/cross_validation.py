"""k-fold cross-validation: every image is asked about by a model that was not trained on its lesion."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import structlog

from lesion_core.address import without_password
from lesion_core.datasets import read_dataset
from lesion_core.errors import LesionError, SplitError
from lesion_core.frozen_split import parts_of_dataset, read_parts, write_parts
from lesion_core.interval import Interval
from lesion_core.metrics import balanced_multiclass_accuracy
from lesion_core.records import Dataset, ImageRecord, data_digest
from lesion_core.splits import FOLD, TEST, VALIDATION, parts_digest
from lesion_core.taxonomy_file import read_taxonomy
from lesion_core.workspace import Workspace
from lesion_train.config import Keep, TrainConfig
from lesion_train.config_file import to_toml, without_paths
from lesion_train.continuing import deciding_settings, pretrained_digest, require_same_study, study_identity
from lesion_train.ending import resume_command
from lesion_train.evaluation.headline import measure
from lesion_train.fit import fit
from lesion_train.label_quality import LabelIssue, find_label_issues, write_label_issues
from lesion_train.parts import parts_to_freeze
from lesion_train.predictions import OUT_OF_FOLD, Predictions
from lesion_train.record import RunRecord
from lesion_train.tracking import Mirror, send

log = structlog.get_logger()

LABEL_ISSUES = "label_issues.csv"
FOLDS = 5  # by default


@attrs.frozen(kw_only=True, eq=False)
class CrossValidation:
    """What k models say of images that they were not trained on.

    Attributes:
        record: of the whole; each fold has a record of its own, below it in MLflow.
        predictions: of all images, but for a test part that was set apart before.
        scores: over all of them, with intervals that resample whole lesions, or patients.
        fold_bma: balanced accuracy of each fold on its own images; their spread says how much one split tells.
        label_issues: labels to look at, the surest first.
        chosen_on_held_out: what each fold chose on the images that it is then asked about, in words: its scores are a
            little too good for that.
    """

    record: RunRecord
    predictions: Predictions
    scores: dict[str, Interval]
    fold_bma: tuple[float, ...]
    label_issues: list[LabelIssue]
    chosen_on_held_out: tuple[str, ...]


def cross_validate(
    config: TrainConfig,
    workspace: Workspace,
    *,
    folds: int | None = None,
    resume: RunRecord | None = None,
    tracking_uri: str | None = None,
    cache: Path | None = None,
    run: Callable[..., Any] = fit,
) -> CrossValidation:
    """Train ``folds`` times, each time with another fold held out.

    The images of a fold also are what ``fit`` calls its validation part: see ``chosen_on_held_out``.

    Args:
        config: settings of each fold. A test part of ``test_fraction`` is set apart before, and never looked at. With a
            frozen split of folds in it, these are taken.
        workspace: where the runs are recorded; models of folds are not registered.
        folds: how many; at least 2, ``FOLDS`` where not given. Those of the frozen split where there is one.
        resume: an interrupted cross-validation to go on with: finished folds stay, the interrupted one goes on.
        tracking_uri: of MLflow.
        cache: folder of decoded images, shared by all folds.
        run: trains; a parameter for tests.
    Raises:
        SplitError: a class has fewer lesions than there are folds; the frozen split has no folds, or is for other data.
        LesionError: ``other_data``, ``other_settings``: not those of the interrupted cross-validation; ``run_in_use``:
            another program goes on with it.
    """
    if config.fold is not None:
        raise SplitError("A cross-validation trains on every fold: leave --fold out, or take 'lesion-train fit'.")
    dataset = read_dataset(config.data, read_taxonomy(config.taxonomy) if config.taxonomy else None)
    digest = data_digest((*dataset.records, *dataset.test))
    record = _begin(config, workspace, dataset, digest, FOLDS if folds is None else folds) if resume is None else resume
    if resume is not None:
        _require_same(config, resume, digest, folds)
    status = "FAILED"
    with ExitStack() as alone:
        alone.callback(record.lock().release)
        record.go_on()
        try:
            made = _train_folds(config, workspace, record, dataset, tracking_uri=tracking_uri, cache=cache, run=run)
            status = "FINISHED"
        except KeyboardInterrupt:
            status = "KILLED"
            again = resume_command("cross-validate", config.data, record, tracking_uri=tracking_uri, cache=cache)
            log.warning("run_interrupted", resume=without_password(shlex.join(again)))
            raise
        finally:
            record.finish(status)
            send(Mirror(record, tracking_uri or workspace.mlflow_database, workspace))
    return made


def chosen_on_held_out(config: TrainConfig) -> tuple[str, ...]:
    """What a run chooses on its validation part, in words."""
    if config.linear_probe:
        return ("the strength of the regularisation", "the temperature")
    epoch = ("the epoch (not with --keep last)",) if config.keep is Keep.BEST else ()
    return (*epoch, *(("when to stop (--patience)",) if config.patience is not None else ()), "the temperature")


def _begin(config: TrainConfig, workspace: Workspace, dataset: Dataset, digest: str, folds: int) -> RunRecord:
    if config.split is None:
        parts = parts_to_freeze(
            dataset,
            folds=folds,
            validation_fraction=config.validation_fraction,
            test_fraction=config.test_fraction,
            seed=config.seed,
        )
    else:
        parts = _frozen_folds(config.split, dataset)
        folds = sum(part.startswith(FOLD) for part in parts)
    facts = {
        "dataset": dataset.name,
        "data_digest": digest,
        "pretrained_digest": pretrained_digest(config),
        "split_digest": parts_digest(parts),
        "chosen_on_held_out": "; ".join(chosen_on_held_out(config)),
    }
    record = RunRecord.create(workspace.runs, f"{config.backbone}-{folds}-fold", without_paths(config), facts)
    record.config.write_text(to_toml(config), encoding="utf-8")
    if config.taxonomy is not None:
        shutil.copyfile(config.taxonomy, record.taxonomy)
    write_parts(parts, record.split)
    return record


def _frozen_folds(path: Path, dataset: Dataset) -> dict[str, tuple[ImageRecord, ...]]:
    parts = parts_of_dataset(path, dataset)
    folds = [part for part in parts if part.startswith(FOLD)]
    if len(folds) < 2 or set(parts) - {*folds, TEST}:
        raise SplitError(
            f"{path} has the parts {', '.join(sorted(parts))}. A cross-validation needs '{FOLD}1', '{FOLD}2' … and "
            f"perhaps '{TEST}': 'lesion-train data split DIR --folds K --out FILE' makes them. Or leave --split out."
        )
    return parts


def _require_same(config: TrainConfig, record: RunRecord, digest: str, folds: int | None) -> None:
    """What was begun goes on as it was, or the folds would be of different models."""
    begun = _number_of_folds(record)
    if folds not in (None, begun):
        raise LesionError(
            f"{record.folder.name} has {begun} folds, not {folds}. Leave --folds out, or begin a new cross-validation.",
            code="other_settings",
        )
    content = record.description
    noted = {name: str(content["facts"].get(name, "")) for name in ("data_digest", "pretrained_digest")}
    before = {**deciding_settings(content["settings"]), **noted}
    now = study_identity(config, data_digest=digest)
    for identity in (before, now):
        identity.pop("taxonomy", None)  # a resumed study takes its own copy of the file
    require_same_study(record.folder.name, before, now, instead="begin a new cross-validation")


def _number_of_folds(record: RunRecord) -> int:
    return len({part for part in read_parts(record.split).values() if part.startswith(FOLD)})


def _train_folds(
    config: TrainConfig,
    workspace: Workspace,
    record: RunRecord,
    dataset: Dataset,
    *,
    tracking_uri: str | None,
    cache: Path | None,
    run: Callable[..., Any],
) -> CrossValidation:
    folds = _number_of_folds(record)
    found: list[Predictions] = []
    fold_bma: list[float] = []
    for fold in range(1, folds + 1):
        child = _record_of(fold, record)
        if child is None or not child.bundle.is_dir():
            own = attrs.evolve(config, split=record.split, fold=fold, onnx=False)  # nobody serves it
            result = run(
                own, workspace, tracking_uri=tracking_uri, cache=cache, resume=child, parent=record, register=False
            )
            child = result.record
        predictions = child.read_predictions(VALIDATION)
        assert predictions is not None, child.folder
        found.append(predictions)
        fold_bma.append(balanced_multiclass_accuracy(predictions.probabilities, predictions.labels))
        log.info("fold_done", fold=fold, of=folds, bma=round(fold_bma[-1], 4), run=child.folder.name)
    together = _joined(found)
    record.write_predictions(OUT_OF_FOLD, together)
    scores = measure(
        together.probabilities,
        together.labels,
        together.units,
        dataset.taxonomy,
        prefix=OUT_OF_FOLD.replace("-", "_"),
    )
    record.write_scores(scores)
    issues = find_label_issues(together)
    record.report.mkdir(exist_ok=True)
    write_label_issues(issues, record.report / LABEL_ISSUES)
    if not record.steps:
        for fold, bma in enumerate(fold_bma, start=1):
            record.add_step(fold, {"fold_bma": bma})
    return CrossValidation(
        record=record,
        predictions=together,
        scores=scores,
        fold_bma=tuple(fold_bma),
        label_issues=issues,
        chosen_on_held_out=chosen_on_held_out(config),
    )


def _record_of(fold: int, parent: RunRecord) -> RunRecord | None:
    """The newest record of a fold, finished or not."""
    return next((child for child in parent.children() if child.description["settings"].get("fold") == fold), None)


def _joined(folds: list[Predictions]) -> Predictions:
    ids = np.concatenate([fold.isic_ids for fold in folds])
    order = np.argsort(ids)
    return Predictions(
        isic_ids=ids[order],
        lesions=np.concatenate([fold.lesions for fold in folds])[order],
        units=np.concatenate([fold.units for fold in folds])[order],
        labels=np.concatenate([fold.labels for fold in folds])[order],
        probabilities=np.concatenate([fold.probabilities for fold in folds])[order],
        codes=folds[0].codes,
    )
