"""Search for settings, with Optuna: in its own database, resumable, each trial a run of its own.

The space is a TOML file. Keys are settings; a list is a choice, a table with ``low`` and ``high`` a range::

    augmentation = ["light", "medium", "heavy"]
    balance = { low = 0.0, high = 1.0 }
    learning_rate = { low = 1e-4, high = 3e-3, log = true }
"""

from __future__ import annotations

import math
import tomllib
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import optuna
import structlog
import torch
from filelock import FileLock

from lesion_core.address import sqlite_address
from lesion_core.errors import LesionError
from lesion_core.workspace import Workspace
from lesion_train.checkpoint import has_checkpoints
from lesion_train.config import NOT_OF_A_PROBE, TrainConfig
from lesion_train.config_file import FIELDS, TYPES, ConfigError, resolve_config, without_paths
from lesion_train.continuing import require_same_study, study_identity
from lesion_train.ending import RunStoppedError
from lesion_train.fit import fit
from lesion_train.lost_trials import join_search, mark_trial, retry_lost_trials
from lesion_train.record import RunRecord
from lesion_train.tracking import Mirror, send
from lesion_train.trial_sampler import SeededByTrial

log = structlog.get_logger()

IDENTITY, PARENT, FAILURE = "identity", "parent_run", "failure"
GOAL = "val_bma"
# Errors that settings of one trial cause, so that others may do better.
FAULTS_OF_SETTINGS = (
    "bad_config",
    "diverged",
    "imbalance",
    "too_few_images",
    "uneven_batch",
    "bad_input_size",
    "no_such_weights",
)
# Settings that decide which images a trial is measured on: the best of several would be the luckiest.
MEASURED_ON = ("data", "taxonomy", "split", "fold", "validation_fraction", "test_fraction")


@attrs.frozen(kw_only=True)
class Study:
    """A finished search: how many trials there were, the best one's value of ``val_bma``, and its settings.

    ``trials`` counts all that ended: those that were ``pruned`` (stopped early) and those that ``failed`` too.
    """

    name: str
    trials: int
    pruned: int
    failed: int
    best_value: float
    best_settings: dict[str, Any]
    best_run: str


def read_space(path: Path, base: TrainConfig) -> dict[str, optuna.distributions.BaseDistribution]:
    """What each setting may be.

    Args:
        path: TOML file of the space.
        base: settings that every trial shares; those in the space replace them.
    Raises:
        ConfigError: lists everything that is wrong: unknown settings, empty ranges, values that a setting cannot have,
            settings that decide what a trial is measured on, and settings that a linear probe does not have.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError((f"{path} is not a TOML file of a search space ({error})",)) from error
    problems: list[str] = []
    space: dict[str, optuna.distributions.BaseDistribution] = {}
    for name, wanted in content.items():
        if name in MEASURED_ON or (name == "seed" and base.split is None):
            problems.append(
                f"{path}: {name} decides which images a trial is measured on, so trials could not be compared"
                + (": freeze a split ('lesion-train data split') and give --split" if name == "seed" else "")
            )
            continue
        if base.linear_probe and name in NOT_OF_A_PROBE:
            problems.append(f"{path}: {name} changes nothing of a linear probe: leave it out, or --linear-probe")
            continue
        try:
            ends = [wanted["low"], wanted["high"]] if isinstance(wanted, Mapping) else list(wanted)
            if not ends:
                raise ValueError("an empty list")
            for value in ends:
                resolve_config(None, {"data": base.data, name: value})
            space[name] = _distribution(name, wanted)
        except ConfigError as error:
            problems += [f"{path}: {problem}" for problem in error.problems]
        except (KeyError, TypeError, ValueError, ArithmeticError) as error:
            problems.append(
                f"{path}: {name} must be a list of choices, or a table of low, high and perhaps log or step ({error})"
            )
    if not content:
        problems.append(f"{path} names no setting. Known: {', '.join(FIELDS)}")
    if problems:
        raise ConfigError(tuple(problems))
    return space


def _distribution(name: str, wanted: Any) -> optuna.distributions.BaseDistribution:
    if not isinstance(wanted, Mapping):
        return optuna.distributions.CategoricalDistribution(tuple(wanted))
    options = {key: value for key, value in wanted.items() if key not in ("low", "high")}
    if not math.isfinite(options.get("step", 1)):
        raise ValueError("step is no finite number")
    if TYPES[name] in (int, int | None):
        if not isinstance(options.get("step", 1), int):
            raise ValueError("step is no whole number")
        return optuna.distributions.IntDistribution(wanted["low"], wanted["high"], **options)
    return optuna.distributions.FloatDistribution(float(wanted["low"]), float(wanted["high"]), **options)


def tune(
    base: TrainConfig,
    space: Mapping[str, optuna.distributions.BaseDistribution],
    workspace: Workspace,
    *,
    name: str,
    trials: int,
    data_digest: str,
    split_digest: str,
    storage: str | None = None,
    tracking_uri: str | None = None,
    cache: Path | None = None,
    run: Callable[..., Any] = fit,
) -> Study:
    """Search until the study has ``trials`` finished trials, those of earlier calls and other processes counted.

    A trial's value is the balanced accuracy of its model on the validation part; the test part plays no role. A trial
    that is worse than the median of the others after the same epoch is stopped, but none after its first epoch, which
    warm-up, a frozen backbone and the moving average of the weights decide. One whose settings cannot be trained
    with (``FAULTS_OF_SETTINGS``, or a GPU without room) counts as failed, and the search goes on; any other error ends
    it. A trial that was interrupted, or whose program was killed, is the next one that is tried, and goes on from its
    run's last checkpoint; see ``lost_trials``. Trials are recorded, and are children of the study in MLflow, but not
    registered.

    Of a network with ``metadata_fusion``, epochs are compared by what it says where it is told the metadata, and the
    value is, as every run's ``val_bma``, that of images of whose patients nothing is known.

    Args:
        base: settings that every trial shares.
        space: what is searched, by setting.
        workspace: where the runs are recorded.
        name: of the study; one of the same name is continued.
        trials: how many there shall be.
        data_digest: of the images.
        split_digest: of the split that every trial trains on.
        storage: SQLAlchemy address of Optuna's database; ``tuning.db`` in the workspace where it is ``None``.
        tracking_uri: of MLflow.
        cache: folder of decoded images.
        run: trains; a parameter for tests.
    Raises:
        LesionError: ``no_finished_trial``: every trial was stopped early, or failed; ``other_data``,
            ``other_settings``: the study of this name is of others; or what ended the search.
    """
    warnings.filterwarnings("ignore", message=r"The reported value is ignored")  # of an epoch that is trained again
    workspace.root.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    identity = study_identity(base, data_digest=data_digest, split_digest=split_digest, space=space)
    alone = FileLock(workspace.root / "tuning.lock")  # several may begin a study, and its database, at once
    with alone:
        study = optuna.create_study(
            study_name=name,
            storage=storage or sqlite_address(workspace.root / "tuning.db"),
            direction="maximize",
            sampler=SeededByTrial(base.seed),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=2),  # from epoch 2 on
            load_if_exists=True,
        )
        _require_same(study, identity)
        parent = _parent_record(study, base, space, workspace)
        parent.go_on()
        retry_lost_trials(study, parent.searchers)
        searcher = join_search(parent.searchers)

    def objective(trial: optuna.Trial) -> float:
        mark_trial(trial, searcher)
        values = {key: _suggested(trial, key, distribution) for key, distribution in space.items()}
        begun = _interrupted(parent, values)
        for row in begun.epochs if begun is not None else ():
            trial.report(row[GOAL], int(row["epoch"]))

        def watch(epoch: int, metrics: Mapping[str, float]) -> None:
            trial.report(metrics[GOAL], epoch)
            if trial.should_prune():
                raise RunStoppedError(f"Worse than the median of the other trials after epoch {epoch}.")

        try:
            result = run(
                resolve_config(None, {**attrs.asdict(base, recurse=False), "onnx": False, **values}).config(),
                workspace,
                tracking_uri=tracking_uri,
                cache=cache,
                resume=begun,
                parent=parent,
                register=False,
                watch=watch,
            )
        except RunStoppedError as stopped:
            log.info("trial_pruned", trial=trial.number, **values)
            raise optuna.TrialPruned from stopped
        except KeyboardInterrupt:
            study.enqueue_trial(trial.params)
            raise
        except (LesionError, torch.OutOfMemoryError) as error:
            if isinstance(error, LesionError) and error.code not in FAULTS_OF_SETTINGS:
                study.enqueue_trial(trial.params)
                raise
            log.warning("trial_failed", trial=trial.number, reason=str(error), **values)
            trial.set_user_attr(FAILURE, str(error))
            raise optuna.TrialPruned from error  # which the sampler learns from; it forgets what failed
        value = float(result.metrics[GOAL].value)
        trial.set_user_attr("run", result.record.folder.name)
        parent.add_step(trial.number + 1, {GOAL: value})
        log.info("trial_done", trial=trial.number, val_bma=round(value, 4), **values)
        return value

    def retry_lost(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        with alone:
            retry_lost_trials(study, parent.searchers)

    done = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    status = "FAILED"
    try:
        if len(study.get_trials(deepcopy=False, states=done)) < trials:  # the callback counts after a trial only
            study.optimize(objective, callbacks=[retry_lost, optuna.study.MaxTrialsCallback(trials, states=done)])
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        log.warning("search_interrupted", resume="repeat the command: trials are kept, and this one goes on")
        raise
    finally:
        with alone:
            searcher.release()
            retry_lost_trials(study, parent.searchers)
            if not study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):  # of other processes
                parent.finish(status)
        send(Mirror(parent, tracking_uri or workspace.mlflow_database, workspace))
    finished = study.get_trials(deepcopy=False, states=done)
    failures = [str(trial.user_attrs[FAILURE]) for trial in finished if FAILURE in trial.user_attrs]
    if not any(trial.state is optuna.trial.TrialState.COMPLETE for trial in finished):
        raise LesionError(
            f"Of {len(finished)} trials of study {name!r}, {len(finished) - len(failures)} were stopped early and "
            f"{len(failures)} failed{f' (the last: {failures[-1]})' if failures else ''}. Ask for more with --trials, "
            "or change the space under another --study.",
            code="no_finished_trial",
        )
    return Study(
        name=name,
        trials=len(finished),
        pruned=sum(trial.state is optuna.trial.TrialState.PRUNED for trial in finished) - len(failures),
        failed=len(failures),
        best_value=float(study.best_value),
        best_settings=dict(study.best_params),
        best_run=str(study.best_trial.user_attrs["run"]),
    )


def _suggested(trial: optuna.Trial, name: str, distribution: optuna.distributions.BaseDistribution) -> Any:
    match distribution:
        case optuna.distributions.CategoricalDistribution():
            return trial.suggest_categorical(name, distribution.choices)
        case optuna.distributions.IntDistribution():
            return trial.suggest_int(
                name, distribution.low, distribution.high, step=distribution.step, log=distribution.log
            )
        case optuna.distributions.FloatDistribution():
            return trial.suggest_float(
                name, distribution.low, distribution.high, step=distribution.step, log=distribution.log
            )
    raise TypeError(f"{name}: {distribution}")


def _interrupted(parent: RunRecord, values: Mapping[str, Any]) -> RunRecord | None:
    """The run of an earlier trial of the study with these values that did not come to its end, and has a checkpoint."""
    for child in parent.children():
        settings = child.description["settings"]
        is_same = all(settings.get(name) == value for name, value in values.items())
        if is_same and has_checkpoints(child.checkpoints) and (child.end is not None or child.was_killed):
            return child
    return None


def _require_same(study: optuna.Study, identity: Mapping[str, str]) -> None:
    before = study.user_attrs.get(IDENTITY)
    if before is None:
        study.set_user_attr(IDENTITY, dict(identity))
    else:
        require_same_study(f"Study {study.study_name!r}", before, identity, instead="take another --study")


def _parent_record(
    study: optuna.Study,
    base: TrainConfig,
    space: Mapping[str, optuna.distributions.BaseDistribution],
    workspace: Workspace,
) -> RunRecord:
    """The study's own record, under which its trials stand in MLflow: made by the first call, found by the others."""
    known = study.user_attrs.get(PARENT)
    if known is not None and (workspace.runs / known / "run.json").is_file():
        return RunRecord(workspace.runs / known)
    facts = {"study": study.study_name, **{f"space_{name}": str(value) for name, value in space.items()}}
    record = RunRecord.create(workspace.runs, f"tune-{study.study_name}", without_paths(base), facts)
    study.set_user_attr(PARENT, record.folder.name)
    return record
