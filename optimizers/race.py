"""Race candidates against the incumbent on the same examples in the same order.

A candidate is scored rung by rung. It leaves the race when a one-sided exact
paired test says that it is worse (cf. F-Race, Birattari et al. 2002), or when it
is behind at a late rung; a survivor that ends ahead becomes the incumbent. The
order of everything is fixed, so a race that is run again from recorded calls
takes the same course.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from stillroom.errors import BudgetExceeded
from stillroom.evals.stats import exact_paired_p
from stillroom.programs import Evaluator, Outcome, Plan, mean_score
from stillroom.signatures import Example

from .space import Space

__all__ = ["Race", "Trial", "run_race"]

RUNGS = (0.15, 0.35, 0.6, 1.0)
WORSE = 0.15  # one-sided p below which a candidate is taken to be worse than the incumbent
ASKED = 3  # suggestions per trial at most: those tried before are no trials
LATE = 0.35  # share of the examples after which a candidate that is behind leaves


@dataclass(frozen=True)
class Trial:
    """One candidate and how far it came. `scores` follow the shared order of the examples."""

    number: int
    plan: Plan
    scores: tuple[float, ...]
    unparsed: int
    params: dict[str, Any]
    state: str

    @property
    def mean(self) -> float:
        """Mean score over the examples it saw, 0..1."""
        return sum(self.scores) / len(self.scores) if self.scores else 0.0


@dataclass
class Race:
    """All trials, the baseline's and the best one's full results, and why the race ended."""

    baseline: Trial
    best: Trial
    trials: list[Trial] = field(default_factory=list)
    ended: str = "all trials were run"


def run_race(
    study: Any,
    space: Space,
    evaluator: Evaluator,
    examples: Sequence[Example],
    trials: int,
    on_trial: Callable[[Trial, Race], None] | None = None,
) -> Race:
    """Race up to `trials` candidates; the first is the baseline, which is scored in full.

    Args:
        study: An Optuna study that maximises.
        space: Turns its trials into plans.
        evaluator: Scores plans.
        examples: In the shared order.
        trials: Different candidates to race, the baseline included; fewer where the space has no more.
        on_trial: Called after each.

    Raises:
        BudgetExceeded: If the budget ends before the baseline is scored.
    """
    for choice in space.first_tries():
        study.enqueue_trial(dict(choice), skip_if_exists=True)
    race: Race | None = None
    seen: dict[str, Trial] = {}
    for _ in range(ASKED * trials):
        if race is not None and len(race.trials) == trials:
            break
        asked = study.ask()
        plan = space.suggest(asked)
        if plan.digest in seen:  # the sampler likes to repeat what was good; it learns so for free
            _tell(study, asked, seen[plan.digest])
            continue
        try:
            trial = _run(asked, plan, evaluator, examples, race.best if race else None)
        except BudgetExceeded as error:
            if race is None:
                raise
            study.tell(asked, state=_states().FAIL)
            race.ended = str(error)
            return race
        _tell(study, asked, trial)
        seen[plan.digest] = trial
        race = race or Race(trial, trial)
        race.trials.append(trial)
        if trial.state == "complete" and _better(trial, race.best):
            race.best = trial
        if on_trial is not None:
            on_trial(trial, race)
    assert race is not None
    if len(race.trials) < trials:
        race.ended = f"only {len(race.trials)} different candidates were suggested"
    return race


def _run(asked: Any, plan: Plan, evaluator: Evaluator, examples: Sequence[Example], incumbent: Trial | None) -> Trial:
    outcomes: list[Outcome] = []
    state = "complete"
    for share in RUNGS if incumbent is not None else (1.0,):
        end = min(len(examples), max(8, math.ceil(share * len(examples))))
        if end == len(outcomes):
            continue  # few examples: this rung adds none
        outcomes += evaluator.run(plan, examples[len(outcomes) : end])
        asked.report(mean_score(outcomes), end)
        if incumbent is not None and end < len(examples) and _beaten(outcomes, incumbent, share):
            state = "pruned"
            break
    unparsed = sum(outcome.kind == "unparsed" for outcome in outcomes)
    return Trial(asked.number, plan, tuple(outcome.score for outcome in outcomes), unparsed, dict(asked.params), state)


def _beaten(outcomes: Sequence[Outcome], incumbent: Trial, share: float) -> bool:
    mine = [outcome.score for outcome in outcomes]
    theirs = incumbent.scores[: len(mine)]
    if share >= LATE and sum(mine) < sum(theirs):
        return True
    return exact_paired_p(mine, theirs, alternative="less") < WORSE


def _better(trial: Trial, best: Trial) -> bool:
    """Higher mean wins; at equal means the shorter prompt does."""
    return (trial.mean, -_length(trial.plan)) > (best.mean, -_length(best.plan))


def _length(plan: Plan) -> int:
    return len(plan.system) + sum(len(str(demo.inputs)) + len(str(demo.outputs)) for demo in plan.demos)


def _tell(study: Any, asked: Any, trial: Trial) -> None:
    if trial.state == "complete":
        study.tell(asked, trial.mean)
    else:
        study.tell(asked, state=_states().PRUNED)


def _states() -> Any:
    from optuna.trial import TrialState

    return TrialState
