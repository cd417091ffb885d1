"""Ask a plan of a judge, by log-probability or in writing, and read what it makes of the labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from stillroom.engines import Engine, Score
from stillroom.errors import BadConfig, EngineError
from stillroom.evals import Verdict
from stillroom.programs.answers import Answer, Cost, answer_many, scorable, score_cost
from stillroom.programs.plan import Plan

from .opinion import Opinion, Row, nothing_to_judge

__all__ = ["Reading", "ask", "by_scores", "checked", "plain", "rest"]


@dataclass(frozen=True)
class Reading:
    """What one asking gave.

    Attributes:
        shares: Probability of each label: from log-probabilities, or 1 for the one that was written.
            Empty where the answer did not parse, or where the plan has no labels.
        outputs: What was written; empty for a scored plan.
        problem: Why the answer did not parse, or "".
        cost: Of this asking.
    """

    shares: Mapping[str, float]
    outputs: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""
    cost: Cost = field(default_factory=Cost)

    @property
    def feedback(self) -> str:
        """The reasoning written before the answer, or ""."""
        return str(self.outputs.get("reasoning") or "")


def ask(plan: Plan, engine: Engine, rows: Sequence[Row], seeds: Sequence[int | None] | None = None) -> list[Reading]:
    """Ask once for each of `rows`, in one batch.

    A scored plan gives the probabilities of its labels among themselves, less its calibration.

    Raises:
        EngineError: If a call failed for good; the others were made first.
        BadConfig: If the plan scores labels and the engine cannot.
    """
    inputs = [{each.name: plain(row[each.name], each.schema) for each in plan.shape.inputs} for row in rows]
    if plan.scored is not None:
        return _scored(plan, engine, inputs)
    answers = answer_many(plan, engine, inputs, seeds)
    for answer in answers:
        if isinstance(answer, EngineError):
            raise answer
    return [_written(plan, answer) for answer in answers if isinstance(answer, Answer)]


def by_scores(plan: Plan, engine: Engine) -> Plan:
    """`plan` with its labels scored by log-probability where plan and engine allow it, else as it is.

    The scores are not calibrated: a judge of pairs asks in both orders, which cancels what
    the model finds likely whatever is asked.
    """
    label = plan.shape.label_field
    if plan.scored is not None or label is None or not scorable(plan, engine):
        return plan
    return replace(plan, scored=dict.fromkeys(label.labels, 0.0))


def checked(plan: Plan, engine: Engine, inputs: Sequence[str], labels: Sequence[str] = ()) -> None:
    """Refuse a plan that lacks inputs or labels of its judge, or was made for another model.

    Raises:
        BadConfig: Saying which.
    """
    names = {each.name for each in plan.shape.inputs}
    if not names.issuperset(inputs):
        raise BadConfig(f"this judge needs the inputs {', '.join(inputs)}, got {', '.join(sorted(names))}")
    known = plan.shape.label_field.labels if plan.shape.label_field else ()
    if not set(labels) <= set(known):
        raise BadConfig(f"this judge needs the labels {', '.join(labels)}, got {', '.join(known) or 'none'}")
    if plan.model != engine.model:
        raise BadConfig(
            f"the judge's plan was made for {plan.model}, got {engine.model}",
            mend="Open the model it was made for, or compile it for this one.",
        )


def plain(value: Any, schema: Mapping[str, Any]) -> Any:
    """Spell what stands where a text should, so that no value of a row breaks a prompt."""
    if schema.get("type") == "array":
        return [plain(each, {}) for each in (value if isinstance(value, (list, tuple)) else [value])]
    return value if isinstance(value, str) else str(value)


def rest(plan: Plan, rows: Sequence[Row]) -> tuple[dict[int, Opinion], list[int]]:
    """Settle rows that lack an input as unverified; give those by place, and the places of the rest."""
    lacks = {at: nothing_to_judge(plan, row) for at, row in enumerate(rows)}
    settled = {at: Opinion(Verdict.unverified(why)) for at, why in lacks.items() if why}
    return settled, [at for at, why in lacks.items() if not why]


def _scored(plan: Plan, engine: Engine, inputs: Sequence[Mapping[str, Any]]) -> list[Reading]:
    requests = [plan.render(each) for each in inputs]
    try:
        found = engine.score_many(requests, list(plan.continuations.values()))
    except NotImplementedError as error:
        raise BadConfig(
            f"a plan that scores labels needs an engine that can, got {engine.model}",
            mend="Use a local model, or a plan that writes its answers.",
        ) from error
    readings = []
    for request, scores in zip(requests, found, strict=True):
        if isinstance(scores, EngineError):
            raise scores
        readings.append(Reading(_shares(plan, scores), cost=score_cost(engine, request, scores)))
    return readings


def _shares(plan: Plan, scores: Sequence[Score]) -> dict[str, float]:
    """Softmax of log-probabilities less calibration."""
    calibration = plan.scored or {}
    logs = {name: score.total - calibration[name] for name, score in zip(plan.continuations, scores, strict=True)}
    highest = max(logs.values())
    weights = {name: math.exp(value - highest) for name, value in logs.items()}
    whole = sum(weights.values())
    return {name: weight / whole for name, weight in weights.items()}


def _written(plan: Plan, answer: Answer) -> Reading:
    if answer.outputs is None:
        return Reading({}, problem=answer.problem, cost=answer.cost)
    label = plan.shape.label_field
    shares = {} if label is None else {name: float(answer.outputs[label.name] == name) for name in label.labels}
    return Reading(shares, answer.outputs, "", answer.cost)
