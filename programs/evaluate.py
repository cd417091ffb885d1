"""Run a plan over examples and score it, keeping apart what must be kept apart.

An infrastructure failure raises and is never a score. An answer that does not
parse scores 0 and is counted as `unparsed`. Only a parsed answer is judged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from stillroom.engines import Engine
from stillroom.errors import EngineError
from stillroom.evals import Metric
from stillroom.signatures import Example, Unparsed
from stillroom.store import Store
from stillroom.values import digest

from .plan import Plan

if TYPE_CHECKING:
    from dspy.lm15 import Request

__all__ = ["Evaluator", "Outcome", "mean_score"]


@dataclass(frozen=True)
class Outcome:
    """What became of one example.

    Attributes:
        example: Its id.
        kind: `scored`, or `unparsed` when the answer did not fit the format.
        score: 0..1, higher is better; 0 for `unparsed`, and for `unverified`, which no table counts.
        why: The metric's or parser's reason for less than full marks.
        outputs: The parsed answer, reasoning included; empty for `unparsed`.
    """

    example: str
    kind: Literal["scored", "unparsed", "unverified"]
    score: float
    why: str
    outputs: Mapping[str, Any]


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
        keys = [
            digest([plan.digest, example.id, digest(example.values), self.engine.model, self.metric_name])
            for example in examples
        ]
        known = {key: self.store.find_eval(key) for key in keys}
        missing = [(key, example) for key, example in zip(keys, examples, strict=True) if known[key] is None]
        responses = self.engine.complete_many([_request(plan, example) for _, example in missing])
        fresh: dict[str, Outcome] = {}
        failure: EngineError | None = None
        for (key, example), response in zip(missing, responses, strict=True):
            if isinstance(response, EngineError):
                failure = failure or response
            else:
                fresh[key] = self._judge(plan, example, response)
        self.store.put_evals(
            (key, plan.digest, each.example, each.kind, each.score, each.why, dict(each.outputs))
            for key, each in fresh.items()
        )
        if failure is not None:
            raise failure
        return [
            fresh[key] if key in fresh else _recorded(example.id, known[key])
            for key, example in zip(keys, examples, strict=True)
        ]

    def _judge(self, plan: Plan, example: Example, response: Any) -> Outcome:
        try:
            outputs = plan.read(response)
        except Unparsed as error:
            return Outcome(example.id, "unparsed", 0.0, str(error), {})
        verdict = self.metric(example.values, outputs)
        kind: Literal["scored", "unverified"] = "unverified" if verdict.score is None else "scored"
        return Outcome(example.id, kind, verdict.score or 0.0, verdict.why, outputs)


def _request(plan: Plan, example: Example) -> Request:
    """A sampled answer gets a seed of its own, so that it is the same when it is asked for again."""
    seed = None if plan.decoding.temperature == 0 else int(digest(example.id, 7), 16)
    return plan.render(example.inputs, seed=seed)


def mean_score(outcomes: Sequence[Outcome]) -> float:
    """Mean score, 0..1; 0 for no outcomes."""
    return sum(outcome.score for outcome in outcomes) / len(outcomes) if outcomes else 0.0


def _recorded(example: str, found: Any) -> Outcome:
    outcome, score, why, outputs = found
    return Outcome(example, outcome, score or 0.0, why, outputs)
