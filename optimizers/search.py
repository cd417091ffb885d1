"""Compile a task: propose, race, confirm, and give the winner or the baseline."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from stillroom.engines import Session
from stillroom.errors import BadConfig
from stillroom.evals.stats import exact_paired_p, p_words, paired_bootstrap
from stillroom.programs import Evaluator, Outcome, Plan
from stillroom.signatures import Task

from .demos import demo_sets, trace_sets
from .propose import proposals
from .race import Race, Trial, run_race
from .space import Space, baseline_plan, fitting_formats

__all__ = ["Compiled", "Progress", "Settings", "search_plan"]

Progress = Callable[[str, int, int, str], None]
"""Called with (stage, done, of, remark)."""

TRIED = 48  # rows of the demos split that the baseline is tried on, for mistakes to learn from


@dataclass(frozen=True)
class Settings:
    """How to search.

    Attributes:
        trials: Candidates to race, the baseline included.
        proposals: Rewritten instructions to ask for.
        formats: Formats to try; `None` for all that fit the task.
        reasoning: Whether to try answers with reasoning; `None` tries it where every output is a number.
        temperatures: Sampling temperatures to try.
        alpha: Largest one-sided p at which a winner is announced.
        seed: Of demo draws, proposals and the sampler.
    """

    trials: int = 20
    proposals: int = 4
    formats: Sequence[str] | None = None
    reasoning: bool | None = None
    temperatures: Sequence[float] = (0.0,)
    alpha: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise BadConfig(f"trials must be at least 1, got {self.trials}")
        if not 0 < self.alpha < 1:
            raise BadConfig(f"alpha must be between 0 and 1, got {self.alpha}")


@dataclass(frozen=True)
class Compiled:
    """What a search found.

    Attributes:
        plan: The winner when one was established, else the baseline.
        baseline: The task as declared.
        best: The trial with the highest search score, established or not.
        established: Whether the paired test let the winner be announced.
        p: One-sided exact paired p of best against baseline on the search split.
        verdict: The same in words.
        race: All trials.
    """

    plan: Plan
    baseline: Plan
    best: Trial
    established: bool
    p: float
    verdict: str
    race: Race


def search_plan(task: Task, session: Session, settings: Settings, on_progress: Progress | None = None) -> Compiled:
    """Search the task's space inside the session's budget.

    Resuming runs the same course again from recorded calls, so the result is a
    function of task, settings and engine digest, whenever the process was killed.

    Raises:
        BadConfig: If the budget cannot even score the baseline.
        BudgetExceeded: If it ended before the baseline was scored.
        EngineError: If the engine failed for good; finished calls are kept.
    """
    _check_budget(task, session)
    progress = on_progress or (lambda stage, done, of, remark: None)
    evaluator = Evaluator(session.engine, session.store, task.metric, task.metric_name)
    baseline = baseline_plan(task, session.engine.model)
    space = _space(task, session, settings, baseline, evaluator, progress)
    race = run_race(
        _study(session.store.folder, settings),
        space,
        evaluator,
        task.search,
        settings.trials,
        lambda trial, race: _record(session, trial, race, settings, progress),
    )
    return _confirm(task, race, settings)


def _space(
    task: Task, session: Session, settings: Settings, baseline: Plan, evaluator: Evaluator, progress: Progress
) -> Space:
    """Everything that a candidate may be. Without room in the budget for proposals there are none."""
    rows = task.demos[:TRIED]
    formats = fitting_formats(task, settings.formats)
    calls = session.ledger.budget.calls
    generous = calls is None or calls >= 2 * (len(rows) + len(task.search))
    progress("propose", 0, 1, "trying the baseline on the demos split")
    tried: dict[str, Outcome] = {}
    instructions = [task.shape.instruction]
    if generous:
        tried = {outcome.example: outcome for outcome in evaluator.run(baseline, rows)}
        instructions = proposals(task, session.engine, tried, settings.proposals, settings.seed)
    reasoning = _reasoning(task, settings)
    traced: dict[str, Outcome] = {}
    if True in reasoning and generous:
        plan = replace(
            baseline, reasoning=True, decoding=replace(baseline.decoding, max_tokens=baseline.decoding.max_tokens + 256)
        )
        traced = {outcome.example: outcome for outcome in evaluator.run(plan, rows[: TRIED // 4])}
    progress("propose", 1, 1, f"{len(instructions)} instructions")
    rng = random.Random(settings.seed)
    return Space(
        baseline,
        instructions,
        demo_sets(task, tried, rng),
        trace_sets(task, traced, rng),
        formats,
        reasoning,
        settings.temperatures,
    )


def _reasoning(task: Task, settings: Settings) -> tuple[bool, ...]:
    if settings.reasoning is None:
        numbers = all(each.schema.get("type") in ("integer", "number") for each in task.shape.outputs)
        return (False, True) if numbers else (False,)
    return (False, True) if settings.reasoning else (False,)


def _check_budget(task: Task, session: Session) -> None:
    calls = session.ledger.budget.calls
    if calls is not None and calls < len(task.search):
        raise BadConfig(
            f"a search needs a call for each of the {len(task.search)} search rows to score the baseline, got a budget of {calls} calls",
            mend="Raise the budget.",
        )


def _study(folder: Path, settings: Settings) -> Any:
    """A fresh study in the run's journal file: the course is replayed from the store, never continued from here."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    journal = folder / "study.log"
    journal.unlink(missing_ok=True)
    sampler = optuna.samplers.TPESampler(seed=settings.seed, n_startup_trials=8)
    return optuna.create_study(
        study_name="compile",
        direction="maximize",
        sampler=sampler,
        storage=JournalStorage(JournalFileBackend(str(journal))),
    )


def _record(session: Session, trial: Trial, race: Race, settings: Settings, progress: Progress) -> None:
    note = {
        "params": trial.params,
        "plan": trial.plan.digest,
        "mean": trial.mean,
        "rows": len(trial.scores),
        "unparsed": trial.unparsed,
        "state": trial.state,
        "demos": len(trial.plan.demos),
        "format": trial.plan.format,
        "instruction": trial.plan.instruction,
    }
    session.store.put_note("trial", f"{len(race.trials):04d}", note)
    progress("race", len(race.trials), settings.trials, f"best {race.best.mean:.3f}, baseline {race.baseline.mean:.3f}")


def _confirm(task: Task, race: Race, settings: Settings) -> Compiled:
    """Announce the best trial only when the paired test on the search split says so."""
    best, baseline = race.best, race.baseline
    if best is baseline:
        verdict = f"no candidate scored above the baseline ({baseline.mean:.3f} on {len(baseline.scores)} search rows); the baseline is kept"
        return Compiled(_noted(baseline.plan, race, 1.0, False), baseline.plan, best, False, 1.0, verdict, race)
    p = exact_paired_p(best.scores, baseline.scores, alternative="greater")
    gain = paired_bootstrap(best.scores, baseline.scores, seed=settings.seed)
    facts = (
        f"{best.mean:.3f} against {baseline.mean:.3f} on {len(best.scores)} search rows, difference {gain.mean:+.3f} "
        f"(95% interval {gain.low:+.3f} to {gain.high:+.3f}, one-sided exact {p_words(p)}, best of {len(race.trials)} candidates)"
    )
    established = p <= settings.alpha
    verdict = (
        f"winner confirmed: {facts}"
        if established
        else f"not established at p <= {settings.alpha}: {facts}; the baseline is kept"
    )
    chosen = best.plan if established else baseline.plan
    return Compiled(_noted(chosen, race, p, established), baseline.plan, best, established, p, verdict, race)


def _noted(plan: Plan, race: Race, p: float, established: bool) -> Plan:
    notes = {
        "search_score": round(race.best.mean if established else race.baseline.mean, 6),
        "baseline_score": round(race.baseline.mean, 6),
        "search_rows": len(race.baseline.scores),
        "trials": len(race.trials),
        "established": established,
        "p": round(p, 6),
    }
    return replace(plan, notes=notes)


def settings_value(settings: Settings) -> dict[str, Any]:
    """The settings as a plain JSON value, for fingerprints."""
    value = asdict(settings)
    return {
        **value,
        "temperatures": list(settings.temperatures),
        "formats": None if settings.formats is None else list(settings.formats),
    }
