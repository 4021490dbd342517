"""The commands that train more than once: ``cross-validate``, ``ensemble`` and ``tune``."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from cyclopts import App

from lesion_core.errors import LesionError
from lesion_core.logs import configure_logging
from lesion_core.workspace import Workspace
from lesion_train.config_cli import ConfigFile, Options, prepare_training, resolve_options, resolve_resumed

studies = App()


def _require_one_process() -> None:
    """``torchrun`` would start the whole study once in each of its processes."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise LesionError(
            "A study trains one run after another, in one process: start it without torchrun. To search with several "
            "processes or GPUs, start 'lesion-train tune' several times with the same --study.",
            code="several_processes",
        )


@studies.command
def cross_validate(
    options: Options = None,
    *,
    config: ConfigFile = None,
    folds: int | None = None,
    resume: Path | None = None,
    cache: Path | None = None,
    tracking_uri: str | None = None,
) -> None:
    """Train k times, each time with another fold of the lesions held out, and ask every image once.

    Example: lesion-train cross-validate --config configs/linear_probe.toml --data ISIC_2019 --folds 5

    Each fold is a run of its own, below this one in MLflow; none is registered. The folder of the run then holds what
    was said of each image (predictions/out-of-fold.csv), the scores with intervals (scores.json), and labels that are
    worth a second look (report/label_issues.csv). A test part of --test-fraction is set apart before, untouched.
    --split takes folds that 'lesion-train data split --folds' froze, so that several models are asked alike.

    The images of a fold also set its temperature and choose its epoch (--keep last does not) or, of a linear probe, the
    strength of its regularisation: scores are a little too good for that. The test part has no such fault.

    Parameters
    ----------
    folds
        How many, where no --split has them; 5 where not given.
    resume
        Folder of an interrupted cross-validation to go on with.
    cache
        Folder of decoded images; in .lesion by default.
    tracking_uri
        MLflow server or database; the local database by default.
    """
    from lesion_train.record import RunRecord

    _require_one_process()
    record = None if resume is None else RunRecord.open(resume)
    found = resolve_options(config, options) if record is None else resolve_resumed(record, config, options)
    settings = found.config()
    prepare_training(settings)
    from lesion_train.cross_validation import LABEL_ISSUES, OUT_OF_FOLD
    from lesion_train.cross_validation import cross_validate as run
    from lesion_train.label_quality import describe_label_issues

    configure_logging(as_json=False)
    done = run(
        settings,
        Workspace.default(),
        folds=folds,
        resume=record,
        tracking_uri=tracking_uri,
        cache=cache,
    )
    for number, bma in enumerate(done.fold_bma, start=1):
        print(f"  fold {number}: BMA {bma:.3f}")
    prefix = OUT_OF_FOLD.replace("-", "_")
    for name, label in (("bma", "BMA"), ("macro_auroc", "macro AUROC"), ("ece", "ECE")):
        print(f"  {label:12} {done.scores[f'{prefix}_{name}']}")
    print(
        "These are a little too good: on the images that it is asked about, each fold also chose "
        f"{' and '.join(done.chosen_on_held_out)}."
    )
    print(describe_label_issues(done.label_issues, len(done.predictions.labels)))
    print(f"Record: {done.record.folder}\n  labels to look at: {done.record.report / LABEL_ISSUES}")


@studies.command
def ensemble(studies: list[Path], /, *, tracking_uri: str | None = None) -> None:
    """Choose among cross-validated models those that are better together, by greedy selection.

    Example: lesion-train ensemble .lesion/runs/…-efficientnet_lite0-5-fold .lesion/runs/…-vit_tiny-5-fold

    Prints each model's weight, and the gain over the best single model on lesions that the weights were not chosen on.
    The choice is a run of its own, with the weights (ensemble.json) and the blended predictions.

    Parameters
    ----------
    studies
        Folders that 'lesion-train cross-validate' made, with the same data, folds and seed.
    tracking_uri
        MLflow server or database; the local database by default.
    """
    from lesion_core.metrics import balanced_multiclass_accuracy
    from lesion_train.ensemble import keep_ensemble, select_ensemble
    from lesion_train.predictions import OUT_OF_FOLD
    from lesion_train.record import RunRecord

    if len(studies) < 2:
        raise LesionError("An ensemble needs at least two cross-validations to choose from.", code="too_few_models")
    records = [RunRecord.open(folder) for folder in studies]
    models = []
    for record in records:
        predictions = record.read_predictions(OUT_OF_FOLD)
        if predictions is None:
            raise LesionError(
                f"{record.folder} has no out-of-fold predictions: it is no cross-validation, or an interrupted one. Go "
                f"on with it: lesion-train cross-validate --data DIR --resume {shlex.quote(str(record.folder))}",
                code="no_predictions",
            )
        models.append(predictions)
    chosen = select_ensemble(models)
    workspace = Workspace.default()
    kept, gain = keep_ensemble(chosen, models, records, workspace)
    from lesion_train.tracking import Mirror, send

    configure_logging(as_json=False)
    send(Mirror(kept, tracking_uri or workspace.mlflow_database, workspace))
    for record, weight, model in zip(records, chosen.weights, models, strict=True):
        score = balanced_multiclass_accuracy(model.probabilities, model.labels)
        print(f"  {weight:5.0%}  BMA {score:.3f}  {record.folder.name}")
    gap = gain.difference
    shown = f"{gap.value:+.3f} ({gap.confidence:.0%} CI {gap.low:+.3f} to {gap.high:+.3f})"
    print(f"Together, on lesions that the weights were not chosen on, against the best one: BMA {shown}")
    print(f"Record: {kept.folder}\n  weights: {kept.ensemble}")


@studies.command
def tune(
    space: Path,
    options: Options = None,
    *,
    config: ConfigFile = None,
    trials: int = 20,
    study: str = "tuning",
    storage: str | None = None,
    cache: Path | None = None,
    tracking_uri: str | None = None,
) -> None:
    """Search for settings with the best balanced accuracy on the validation part.

    Example: lesion-train tune space.toml --config configs/efficientnet_lite0.toml --data ISIC_2019 --trials 30

    The study is kept in .lesion/tuning.db: the same command goes on with it, and several at once share it. Bad trials
    are stopped early; one whose settings cannot be trained with counts as failed. The test part is not looked at. A
    study is of one data set, split and space: others are refused.

    Parameters
    ----------
    space
        TOML file: a list of choices or a table of low, high and perhaps log for each setting that is searched.
    trials
        How many the study shall have in the end.
    study
        Its name.
    storage
        SQLAlchemy address of Optuna's database.
    cache
        Folder of decoded images; in .lesion by default.
    tracking_uri
        MLflow server or database; the local database by default.
    """
    _require_one_process()
    settings = resolve_options(config, options).config()
    prepare_training(settings)
    from lesion_core.datasets import read_dataset
    from lesion_core.records import data_digest
    from lesion_core.taxonomy_file import read_taxonomy
    from lesion_train.config_file import option_of
    from lesion_train.parts import make_split
    from lesion_train.tune import read_space
    from lesion_train.tune import tune as run

    configure_logging(as_json=False)
    searched = read_space(space, settings)
    dataset = read_dataset(settings.data, read_taxonomy(settings.taxonomy) if settings.taxonomy else None)
    done = run(
        settings,
        searched,
        Workspace.default(),
        name=study,
        trials=trials,
        data_digest=data_digest((*dataset.records, *dataset.test)),
        split_digest=make_split(dataset, settings).digest,
        storage=storage,
        tracking_uri=tracking_uri,
        cache=cache,
    )
    options_line = " ".join(
        option_of(name, value) if isinstance(value, bool) else f"{option_of(name, value)} {value}"
        for name, value in done.best_settings.items()
    )
    print(f"{done.name}: {done.trials} trials, {done.pruned} of them stopped early, {done.failed} failed")
    print(f"  best: BMA {done.best_value:.3f} on the validation part, run {done.best_run}\n  {options_line}")
