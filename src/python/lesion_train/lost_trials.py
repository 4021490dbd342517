"""Trials of a search whose program was killed: it is known by its lock, and they are tried again.

Each program that takes part in a search holds a lock in the study's folder, and marks its trials with the lock's name.
A lock that is free is of a program that is gone. Programs on other hosts are seen where they see the same folder.
"""

from __future__ import annotations

import uuid
from pathlib import Path

import optuna
import structlog
from filelock import BaseFileLock, FileLock, Timeout
from optuna.trial import TrialState

log = structlog.get_logger()

SEARCHER, TRIES = "searcher", "tries"
MOST_TRIES = 4  # of one trial: where its program is killed each time, it may be what uses up the memory


def join_search(folder: Path) -> BaseFileLock:
    """Take part in a search, until the lock is released or this program ends."""
    folder.mkdir(exist_ok=True)
    lock = FileLock(folder / f"{uuid.uuid4().hex}.lock")
    lock.acquire(timeout=0)
    return lock


def mark_trial(trial: optuna.Trial, searcher: BaseFileLock) -> None:
    """Note who trains it."""
    trial.set_user_attr(SEARCHER, Path(searcher.lock_file).stem)


def retry_lost_trials(study: optuna.Study, folder: Path) -> None:
    """End the trials of programs that are gone, and put their settings at the head of the queue.

    A trial that has no mark, since its program was killed before it could set one, counts as lost once nobody takes
    part in the search.

    Args:
        study: of the search.
        folder: of its locks; only one program at a time may look at it.
    """
    is_held = {path.stem: _is_held(path) for path in folder.glob("*.lock")}
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        searcher = trial.user_attrs.get(SEARCHER)
        # A lock that is not here is of a host with another folder: nothing is known of that program.
        if any(is_held.values()) if searcher is None else is_held.get(searcher, True):
            continue
        tries = trial.user_attrs.get(TRIES, 1)
        if tries < MOST_TRIES:
            study.add_trial(
                optuna.create_trial(
                    state=TrialState.WAITING,
                    params=trial.params,
                    distributions=trial.distributions,
                    user_attrs={TRIES: tries + 1},
                    system_attrs=trial.system_attrs,  # with the settings that it was to take, where it was queued
                )
            )
        study.tell(trial.number, state=TrialState.FAIL)
        log.warning("trial_lost", trial=trial.number, tries=tries, is_tried_again=tries < MOST_TRIES)
    for name in [name for name, held in is_held.items() if not held]:
        (folder / f"{name}.lock").unlink()


def _is_held(path: Path) -> bool:
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False
