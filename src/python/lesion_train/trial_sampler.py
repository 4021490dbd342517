"""Which settings a trial of a search tries: the same ones whenever, and in whichever process, it is its turn."""

from __future__ import annotations

from typing import Any

import numpy as np
import optuna


class SeededByTrial(optuna.samplers.BaseSampler):
    """Optuna's TPE, seeded anew for each trial by its number, which a study gives once.

    So a study that was interrupted goes on with other values than it began with, and processes that share one search in
    different places. Trials that still run count as bad ones (constant liar), or all processes would try the same.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._tpe = optuna.samplers.TPESampler(seed=seed, constant_liar=True)

    def before_trial(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        """Take random numbers that are this trial's own."""
        own = int(np.random.SeedSequence(self._seed, spawn_key=(trial.number,)).generate_state(1)[0])
        self._tpe = optuna.samplers.TPESampler(seed=own, constant_liar=True)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: optuna.trial.FrozenTrial
    ) -> dict[str, optuna.distributions.BaseDistribution]:
        """As TPE does."""
        return self._tpe.infer_relative_search_space(study, trial)

    def sample_relative(
        self,
        study: optuna.Study,
        trial: optuna.trial.FrozenTrial,
        search_space: dict[str, optuna.distributions.BaseDistribution],
    ) -> dict[str, Any]:
        """As TPE does."""
        return self._tpe.sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: optuna.trial.FrozenTrial,
        param_name: str,
        param_distribution: optuna.distributions.BaseDistribution,
    ) -> Any:
        """As TPE does."""
        return self._tpe.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self,
        study: optuna.Study,
        trial: optuna.trial.FrozenTrial,
        state: optuna.trial.TrialState,
        values: Any,
    ) -> None:
        """As TPE does."""
        self._tpe.after_trial(study, trial, state, values)
