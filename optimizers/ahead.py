"""What compile and prove can take, said beforehand: bounds by arithmetic, as what a search tries follows from its answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from stillroom.engines import Engine
from stillroom.ledger import Budget
from stillroom.programs import Plan, scorable
from stillroom.programs.forecast import BASIS, Estimate, Forecast, Model, Standing, check_payable, with_limits, words
from stillroom.signatures import Example, Task
from stillroom.store import Store

from .course import TRIED
from .moves import GUIDED
from .settings import Settings
from .task_subject import CALIBRATED, baseline_plan

if TYPE_CHECKING:
    from dspy.lm15 import Request

__all__ = ["foresee_compile", "foresee_proof"]


def foresee_compile(
    task: Task, engine: Engine, settings: Settings, *, budget: Budget | None = None, run: Path | str = ""
) -> Forecast:
    """Say what a search may take at the least and at the most. Nothing is asked.

    At the least the baseline is scored; at the most every candidate sees every row, each is tried out
    and calibrated, and what is picked is confirmed. No search goes beyond its budget.
    """
    rows, label = len(task.search), task.shape.label_field
    labels = 0 if label is None else len(label.labels)
    each = rows + TRIED + (CALIBRATED if labels and scorable(task.shape, engine) else 0)
    guides = labels if labels <= GUIDED else 0
    most = settings.trials * each + settings.proposals + guides + TRIED
    most += 2 * min(settings.confirm, len(task.demos) // 2)
    prompts = _prompts(baseline_plan(task, engine.model), task.search)
    calls = Estimate(rows, None, most * engine.calls_per_request)
    tokens_in = Estimate(rows * min(map(words, prompts)), None, None)
    notes = (
        "bounds: what is tried next follows from the answers; most candidates leave before they have seen all rows",
        "tokens have no upper bound but the budget's: demos and instructions are found on the way",
    )
    return _within(_bounds("compile", engine, calls, tokens_in, None), _standing(engine, run, "compile", budget), notes)


def foresee_proof(
    task: Task, engine: Engine, plans: Sequence[Plan], *, budget: Budget | None = None, run: Path | str = ""
) -> Forecast:
    """Say what proving takes: one call for each test row and plan. Nothing is asked.

    Args:
        plans: The baseline first, then the compiled program; where it is not known yet, it may be the baseline again.
    """
    rows = len(task.held_out)
    known = list({plan.digest: plan for plan in plans}.values())
    prompts = [_prompts(plan, task.held_out) for plan in known]
    most_in = sum(sum(map(engine.count_tokens, each)) for each in prompts)
    most_out = rows * sum(plan.decoding.max_tokens for plan in known if plan.scored is None)
    whole = len(plans) > 1
    calls = Estimate(rows * len(known), None, engine.calls_per_request * rows * (len(known) if whole else 2))
    tokens_in = Estimate(sum(sum(map(words, each)) for each in prompts), None, most_in if whole else None)
    notes = ("students that answer by scoring embeddings ask nobody",)
    found = _bounds("prove", engine, calls, tokens_in, most_out if whole else None)
    return _within(found, _standing(engine, run, "prove", budget), notes)


def _bounds(phase: str, engine: Engine, calls: Estimate, tokens_in: Estimate, most_out: int | None) -> Forecast:
    tokens_out = Estimate(calls.low, None, most_out)
    price = engine.price
    usd = None
    if price is not None:
        free = not (price.input or price.output)
        high = None if tokens_in.high is None or most_out is None else price.usd(tokens_in.high, most_out)
        usd = Estimate(price.usd(tokens_in.low, tokens_out.low), None, 0.0 if free else high)
    models = (Model(engine.model, calls, tokens_in, tokens_out, usd),)
    return Forecast(phase, BASIS, 1.0, calls, tokens_in, tokens_out, usd, None, None, models=models)


def _within(found: Forecast, standing: Standing, notes: Sequence[str]) -> Forecast:
    """With the limits that it may run into, and no more than they let it spend."""
    if found.usd is None:
        notes = [*notes, f"no price known for {found.models[0].model}"]
    found = with_limits(replace(found, spent=standing.spent, notes=tuple(notes)), standing)
    budget = standing.budget
    usd = None if found.usd is None else _capped(found.usd, budget.usd)
    return replace(found, calls=_capped(found.calls, budget.calls), usd=usd)


def _capped(estimate: Estimate, limit: float | None) -> Estimate:
    if limit is None:
        return estimate
    high = limit if estimate.high is None else min(estimate.high, limit)
    return Estimate(min(estimate.low, high), None, high)


def _standing(engine: Engine, run: Path | str, phase: str, budget: Budget | None) -> Standing:
    budget = budget or Budget()
    check_payable([engine], budget)
    if not run or not (Path(run) / "run.db").is_file():
        return Standing(budget=budget)
    with Store(run) as store:
        return Standing(spent=store.spent(phase), budget=budget)


def _prompts(plan: Plan, rows: Sequence[Example]) -> list[Request]:
    return [plan.render(row.inputs) for row in rows]
