"""Run a plan over examples and score it, keeping apart what must be kept apart.

An infrastructure failure raises and is never a score. An answer that does not
parse scores 0 and is counted as `unparsed`. Only a parsed answer is judged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field
from typing import Any, Literal

from stillroom.engines import Engine
from stillroom.errors import EngineError
from stillroom.evals import Metric
from stillroom.signatures import Example
from stillroom.store import Store
from stillroom.values import digest

from .answers import Answer, Cost, answer_many
from .plan import Plan

__all__ = ["Evaluator", "Outcome", "mean_cost", "mean_score", "remembered"]


@dataclass(frozen=True)
class Outcome:
    """What became of one example.

    Attributes:
        example: Its id.
        kind: `scored`, or `unparsed` when the answer did not fit the format.
        score: 0..1, higher is better; 0 for `unparsed`, and for `unverified`, which no table counts.
        why: The metric's or parser's reason for less than full marks.
        outputs: The parsed answer, reasoning included; empty for `unparsed`.
        cost: What answering it cost, also where the answer was found in the store.
    """

    example: str
    kind: Literal["scored", "unparsed", "unverified"]
    score: float
    why: str
    outputs: Mapping[str, Any]
    cost: Cost = field(default_factory=Cost)


@dataclass(frozen=True)
class Evaluator:
    """Score plans with `metric` on `engine`, remembering every score in `store`."""

    engine: Engine
    store: Store
    metric: Metric
    metric_name: str

    def run(self, plan: Plan, examples: Sequence[Example]) -> list[Outcome]:
        """One outcome per example, in order. Known outcomes cost nothing.

        Raises:
            EngineError: If a call failed for good; all other outcomes were recorded first.
            BudgetExceeded: If the budget ends before the examples do.
        """
        keys = self._keys(plan, examples)

        def answer(missing: Sequence[Example]) -> list[Outcome | EngineError]:
            inputs, seeds = [each.inputs for each in missing], [_seed(plan, each) for each in missing]
            answers = answer_many(plan, self.engine, inputs, seeds)
            return [
                found if isinstance(found, EngineError) else self._judge(example, found)
                for example, found in zip(missing, answers, strict=True)
            ]

        return remembered(self.store, plan.digest, keys, examples, answer)

    def known(self, plan: Plan, examples: Sequence[Example]) -> list[Outcome]:
        """The outcomes that are on record, of those examples that have one. Asks nothing."""
        found = map(self.store.find_eval, self._keys(plan, examples))
        return [_recorded(each.id, one) for each, one in zip(examples, found, strict=True) if one is not None]

    def _keys(self, plan: Plan, examples: Sequence[Example]) -> list[str]:
        return [
            digest([plan.digest, example.id, digest(example.values), self.engine.model, self.metric_name])
            for example in examples
        ]

    def _judge(self, example: Example, answer: Answer) -> Outcome:
        if answer.outputs is None:
            return Outcome(example.id, "unparsed", 0.0, answer.problem, {}, answer.cost)
        verdict = self.metric(example.values, answer.outputs)
        kind: Literal["scored", "unverified"] = "unverified" if verdict.score is None else "scored"
        return Outcome(example.id, kind, verdict.score or 0.0, verdict.why, answer.outputs, answer.cost)


def remembered(
    store: Store,
    program: str,
    keys: Sequence[str],
    examples: Sequence[Example],
    answer: Callable[[Sequence[Example]], Sequence[Outcome | BaseException]],
) -> list[Outcome]:
    """One outcome per example, in order: those that `store` knows, and those of `answer` for the rest.

    Args:
        store: Remembers every outcome under its key, before anything is raised.
        program: Digest of what answers.
        keys: One for each example: what its outcome is a function of.
        examples: What is answered.
        answer: Gives an outcome, or what failed, for each of the examples that are not known.

    Raises:
        BaseException: The first failure that `answer` gave, and whatever it raised.
    """
    known = {key: store.find_eval(key) for key in keys}
    missing = {key: example for key, example in zip(keys, examples, strict=True) if known[key] is None}
    found = dict(zip(missing, answer(list(missing.values())), strict=True))
    fresh = {key: each for key, each in found.items() if isinstance(each, Outcome)}
    store.put_evals(
        (key, program, each.example, each.kind, each.score, each.why, [dict(each.outputs), asdict(each.cost)])
        for key, each in fresh.items()
    )
    for failure in found.values():
        if isinstance(failure, BaseException):
            raise failure
    return [
        fresh[key] if key in fresh else _recorded(example.id, known[key])
        for key, example in zip(keys, examples, strict=True)
    ]


def _seed(plan: Plan, example: Example) -> int | None:
    """A sampled answer gets a seed of its own, so that it is the same when it is asked for again."""
    return None if plan.decoding.temperature == 0 else int(digest(example.id, 7), 16)


def mean_score(outcomes: Sequence[Outcome]) -> float:
    """Mean score, 0..1; 0 for no outcomes."""
    return sum(outcome.score for outcome in outcomes) / len(outcomes) if outcomes else 0.0


def mean_cost(outcomes: Sequence[Outcome]) -> Cost:
    """Mean cost of an answer; all 0 for no outcomes."""
    total, rows = sum((outcome.cost for outcome in outcomes), Cost()), max(len(outcomes), 1)
    return Cost(*(amount / rows for amount in astuple(total)))


def _recorded(example: str, found: Any) -> Outcome:
    kind, score, why, output = found
    # a record is [outputs, cost]; older ones are the outputs alone
    outputs, cost = output if isinstance(output, list) else (output, {})
    return Outcome(example, kind, score or 0.0, why, outputs, Cost(**cost))
