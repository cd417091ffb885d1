"""The Optuna side: a sampler over a space that grows, in whatever storage the user has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from .race import Trial

__all__ = ["Sampler"]


class Sampler:
    """Suggest parameters by TPE (Bergstra et al. 2011; Optuna's, multivariate) from what was measured.

    Optuna fixes the choices of a parameter when a study begins, and ours grow. So each
    growth begins a study, `<name>-<n>`, with the earlier trials under the new choices.
    """

    def __init__(self, storage: Any, name: str, seed: int) -> None:
        self._storage, self._name, self._seed = storage, name, seed
        self._choices: dict[str, tuple[Any, ...]] = {}
        self._study: Any = None
        self._grown = 0
        self._told: set[int] = set()

    def suggest(self, choices: Mapping[str, tuple[Any, ...]], trials: Sequence[Trial]) -> dict[str, Any]:
        """Parameters worth trying next, one of `choices` each.

        Args:
            choices: Every parameter that has several.
            trials: All trials at rest; their parameters are complete.
        """
        self.record(choices, trials)
        asked = self._study.ask(self._distributions)
        self._study.tell(asked, state=_states().FAIL)  # what becomes of it is told as a trial of its own
        return dict(asked.params)

    def record(self, choices: Mapping[str, tuple[Any, ...]], trials: Sequence[Trial]) -> None:
        """Leave all trials in the storage, whether or not any was suggested."""
        if self._study is None or dict(choices) != self._choices:
            self._begin(dict(choices))
        for trial in trials:
            if trial.number not in self._told:
                self._tell(trial)

    def _begin(self, choices: dict[str, tuple[Any, ...]]) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._choices, self._grown, self._told = choices, self._grown + 1, set()
        self._distributions = {
            name: optuna.distributions.CategoricalDistribution(values) for name, values in choices.items()
        }
        name = f"{self._name}-{self._grown}"
        with suppress(KeyError):
            optuna.delete_study(study_name=name, storage=self._storage)  # the course is replayed, never continued
        sampler = optuna.samplers.TPESampler(seed=self._seed + self._grown, n_startup_trials=6, multivariate=True)
        self._study = optuna.create_study(study_name=name, direction="maximize", sampler=sampler, storage=self._storage)

    def _tell(self, trial: Trial) -> None:
        import optuna

        params = {name: trial.params[name] for name in self._choices}
        complete = trial.state == "complete"
        self._study.add_trial(
            optuna.trial.create_trial(
                state=_states().COMPLETE if complete else _states().PRUNED,
                params=params,
                distributions=self._distributions,
                value=trial.mean if complete else None,
                intermediate_values={len(trial.outcomes): trial.mean},
                user_attrs={"number": trial.number, "origin": trial.origin, "program": trial.candidate.digest},
            )
        )
        self._told.add(trial.number)


def _states() -> Any:
    from optuna.trial import TrialState

    return TrialState
