"""What searches and proofs can take, said beforehand: bounds by arithmetic, as what a search tries follows from its answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from stillroom.engines import Engine
from stillroom.ledger import Budget
from stillroom.programs import Plan, scorable
from stillroom.programs.forecast import BASIS, Estimate, Forecast, Model, Standing, check_payable, with_limits, words
from stillroom.programs.forecast.arithmetic import plus
from stillroom.programs.forecast.bounds import UNSEEN, Asking, askings
from stillroom.signatures import Example, Task
from stillroom.store import Store

from .course import TRIED
from .moves import GUIDED
from .settings import Settings
from .task_subject import CALIBRATED, baseline_plan

if TYPE_CHECKING:
    from dspy.lm15 import Request

    from .recipe_subject import RecipeSubject

__all__ = ["foresee_compile", "foresee_proof", "foresee_search"]


SEARCHING = (
    "bounds: what is tried next follows from the answers; most candidates leave before they have seen all rows",
    "tokens have no upper bound but the budget's: demos and instructions are found on the way",
)


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
    found = _bounds("compile", engine, calls, tokens_in, None)
    return _within(found, _standing(engine, run, "compile", budget), SEARCHING)


def foresee_search(
    subject: RecipeSubject,
    engines: Sequence[Engine],
    settings: Settings,
    *,
    writer: Engine | None = None,
    budget: Budget | None = None,
    run: Path | str = "",
) -> Forecast:
    """Say what a search of one call of a recipe may take at the least and at the most. Nothing is asked.

    At the least the recipe's own call is scored, and its rows stop at the first gate; at the most as `foresee_compile`
    has it, each row with all that the recipe asks about it.

    Args:
        subject: What is searched.
        engines: The recipe's own, the teacher's first.
        settings: How.
        writer: Of proposals; the teacher by default.
        budget, run: As `foresee_compile` takes them.
    """
    rows, tried, writer = len(subject.search), min(TRIED, len(subject.demos)), writer or engines[0]
    begun = settings.trials * (rows + tried) + tried + 2 * len(subject.fresh)
    asked = askings(subject.flow(subject.declared, subject.search), engines)
    by_model = {engine.model: engine for engine in (writer, *engines)}
    proposals = {writer.model: settings.proposals * writer.calls_per_request}
    models = tuple(
        _searched(name, by_model.get(name), [each for each in asked if each.model == name], rows, begun, proposals)
        for name in dict.fromkeys([*(each.model for each in asked), writer.model])
    )
    endless = ", ".join(each.part for each in asked if each.most is None)
    notes = [
        *SEARCHING,
        *([f"{endless}: no upper bound but the budget's, as nobody knows how often"] if endless else []),
    ]
    calls = plus(0, [each.calls for each in models])
    assert calls is not None
    tokens_in, tokens_out, usd = (
        plus(0, [getattr(each, name) for each in models]) for name in ("tokens_in", "tokens_out", "usd")
    )
    found = Forecast("compile", BASIS, 1.0, calls, tokens_in, tokens_out, usd, None, None, models=models)
    return _within(found, _standing(engines[0], run, "compile", budget), notes)


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
    usd = _usd(engine, tokens_in, tokens_out)
    models = (Model(engine.model, calls, tokens_in, tokens_out, usd),)
    return Forecast(phase, BASIS, 1.0, calls, tokens_in, tokens_out, usd, None, None, models=models)


def _searched(
    name: str,
    engine: Engine | None,
    asked: Sequence[Asking],
    rows: int,
    begun: int,
    proposals: Mapping[str, int],
) -> Model:
    """What one model is asked while at least `rows` rows and at most `begun` are run; nobody tells where gates ask that hide it."""
    sure = [each for each in asked if each.always]
    most = [each.most for each in asked]
    high = None if None in most else begun * sum(each or 0 for each in most) + proposals.get(name, 0)
    calls = Estimate(rows * sum(each.least for each in sure), None, high)
    if engine is None:
        return Model(name, calls, None, None, None)
    tokens_in = Estimate(rows * sum(each.least * each.least_in for each in sure), None, None)
    tokens_out = Estimate(rows * sum(each.least * min(each.most_out, 1) for each in sure), None, None)
    return Model(name, calls, tokens_in, tokens_out, _usd(engine, tokens_in, tokens_out))


def _usd(engine: Engine, tokens_in: Estimate, tokens_out: Estimate) -> Estimate | None:
    price = engine.price
    if price is None:
        return None
    free = not (price.input or price.output)
    known = tokens_in.high is not None and tokens_out.high is not None
    most = price.usd(tokens_in.high or 0, tokens_out.high or 0) if known else None
    return Estimate(price.usd(tokens_in.low, tokens_out.low), None, 0.0 if free else most)


def _within(found: Forecast, standing: Standing, notes: Sequence[str]) -> Forecast:
    """With the limits that it may run into, and no more than they let it spend."""
    unpriced = [each.model for each in found.models if each.usd is None and each.model != UNSEEN]
    notes = [*notes, *(f"no price known for {model}" for model in unpriced)]
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
