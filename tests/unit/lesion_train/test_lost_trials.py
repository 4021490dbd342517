"""Trials of programs that are gone are tried again; those of programs that live are left alone."""

from __future__ import annotations

from pathlib import Path

import optuna
from optuna.trial import TrialState

from lesion_train.lost_trials import MOST_TRIES, join_search, mark_trial, retry_lost_trials


def lost_trial(study: optuna.Study, folder: Path) -> float:
    """Begin a trial, as a program does that is gone then: its lock is free. The value that it tried."""
    trial, searcher = study.ask(), join_search(folder)
    mark_trial(trial, searcher)
    value = trial.suggest_float("balance", 0, 1)
    searcher.release()
    return value


def states(study: optuna.Study) -> list[TrialState]:
    return [trial.state for trial in study.trials]


def test_the_next_trial_tries_what_a_lost_one_tried(tmp_path: Path) -> None:
    """Its lock goes with it."""
    study, folder = optuna.create_study(), tmp_path / "searchers"
    value = lost_trial(study, folder)

    retry_lost_trials(study, folder)

    assert states(study) == [TrialState.FAIL, TrialState.WAITING]
    assert study.ask().suggest_float("balance", 0, 1) == value
    assert list(folder.iterdir()) == []


def test_settings_that_were_queued_are_not_lost_before_they_are_taken(tmp_path: Path) -> None:
    """A program can be killed before its trial asks for its settings."""
    study, folder = optuna.create_study(), tmp_path / "searchers"
    study.enqueue_trial({"balance": 0.25})
    searcher = join_search(folder)
    mark_trial(study.ask(), searcher)
    searcher.release()

    retry_lost_trials(study, folder)

    assert study.ask().suggest_float("balance", 0, 1) == 0.25


def test_a_trial_that_is_lost_each_time_is_given_up(tmp_path: Path) -> None:
    """It may be what uses up the memory."""
    study = optuna.create_study()

    for _ in range(MOST_TRIES):
        lost_trial(study, tmp_path)
        retry_lost_trials(study, tmp_path)

    assert states(study) == [TrialState.FAIL] * MOST_TRIES
    assert len({trial.params["balance"] for trial in study.trials}) == 1


def test_a_trial_of_a_program_that_lives_is_left_alone(tmp_path: Path) -> None:
    """And one whose lock is nowhere: it is of another host, with a folder of its own."""
    study = optuna.create_study()
    living, elsewhere = join_search(tmp_path / "here"), join_search(tmp_path / "elsewhere")
    mark_trial(study.ask(), living)
    mark_trial(study.ask(), elsewhere)

    retry_lost_trials(study, tmp_path / "here")
    assert states(study) == [TrialState.RUNNING, TrialState.RUNNING]

    living.release()
    retry_lost_trials(study, tmp_path / "here")
    assert states(study) == [TrialState.FAIL, TrialState.RUNNING, TrialState.WAITING]


def test_a_trial_without_a_mark_is_lost_once_nobody_searches(tmp_path: Path) -> None:
    """Before that it may be of a program that is about to mark it."""
    study, living = optuna.create_study(), join_search(tmp_path)
    study.ask()

    retry_lost_trials(study, tmp_path)
    assert states(study) == [TrialState.RUNNING]

    living.release()
    retry_lost_trials(study, tmp_path)
    assert states(study) == [TrialState.FAIL, TrialState.WAITING]
