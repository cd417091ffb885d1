"""Ask a plan of a judge, by log-probability or in writing, and read what it makes of the labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from stillroom.engines import Engine
from stillroom.errors import BadConfig, EngineError
from stillroom.evals import Verdict
from stillroom.programs.answers import Answer, Cost, aanswer_many, answer_many, scorable
from stillroom.programs.plan import Plan

from .opinion import Bill, Opinion, Row, nothing_to_judge

__all__ = ["Asks", "Reading", "by_scores", "checked", "plain"]


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


class Asks:
    """How every judge asks: some askings a row, in one batch, and an opinion of what they gave.

    A judge says which askings a row takes (`_askings`) and what it makes of their readings (`_opinion`).
    """

    plan: Plan
    engine: Engine
    bill: Bill

    def judge(self, rows: Sequence[Row]) -> list[Opinion]:
        """One opinion a row, in order. A row that lacks an input is unverified and costs nothing.

        Raises:
            EngineError: If a call failed for good; the others were made first.
            BudgetExceeded: From a metered engine.
            BadConfig: If the plan scores labels and the engine cannot.
        """
        many, inputs, seeds = self._asked(rows)
        opinions: list[Opinion] = []
        for opinion in self._told(rows, many, answer_many(self.plan, self.engine, inputs, seeds)):
            if isinstance(opinion, EngineError):
                raise opinion
            opinions.append(opinion)
        return opinions

    async def ajudge(self, rows: Sequence[Row]) -> list[Opinion | EngineError]:
        """The same without blocking the event loop, with the engine's error in the place of a row whose call failed."""
        many, inputs, seeds = self._asked(rows)
        return self._told(rows, many, await aanswer_many(self.plan, self.engine, inputs, seeds))

    def _askings(self, row: Row) -> Sequence[tuple[Row, int | None]]:
        """What is shown for one row, with the seed of each asking. A plan that scores takes no notice of seeds."""
        raise NotImplementedError

    def _opinion(self, row: Row, readings: Sequence[Reading]) -> Opinion:
        """What the readings of a row come to, in the order of its askings."""
        raise NotImplementedError

    def _asked(self, rows: Sequence[Row]) -> tuple[list[int], list[dict[str, Any]], list[int | None]]:
        """How many askings each row takes, and all of them: inputs and seeds."""
        shown = [() if nothing_to_judge(self.plan, row) else self._askings(row) for row in rows]
        fields = self.plan.shape.inputs
        inputs = [
            {each.name: plain(row[each.name], each.schema) for each in fields} for some in shown for row, _ in some
        ]
        return [len(some) for some in shown], inputs, [seed for some in shown for _, seed in some]

    def _told(
        self, rows: Sequence[Row], many: Sequence[int], answers: Sequence[Answer | EngineError]
    ) -> list[Opinion | EngineError]:
        """Put the answers of each row together; what was answered is on the bill, whatever failed."""
        left = iter(answers)
        found = [self._of(row, list(islice(left, count))) for row, count in zip(rows, many, strict=True)]
        self.bill.add([opinion for opinion in found if isinstance(opinion, Opinion)])
        return found

    def _of(self, row: Row, answers: Sequence[Answer | EngineError]) -> Opinion | EngineError:
        if why := nothing_to_judge(self.plan, row):
            return Opinion(Verdict.unverified(why))
        failed = next((each for each in answers if isinstance(each, EngineError)), None)
        return failed or self._opinion(row, [_reading(self.plan, each) for each in answers if isinstance(each, Answer)])


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


def _reading(plan: Plan, answer: Answer) -> Reading:
    if plan.scored is not None:  # the probabilities of its labels among themselves, less its calibration
        return Reading(answer.shares, cost=answer.cost)
    if answer.outputs is None:
        return Reading({}, problem=answer.problem, cost=answer.cost)
    label = plan.shape.label_field
    shares = {} if label is None else {name: float(answer.outputs[label.name] == name) for name in label.labels}
    return Reading(shares, answer.outputs, "", answer.cost)
