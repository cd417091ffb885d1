"""Who decides whether a written row means what was wanted: somebody who did not see the wish."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from stillroom.engines import Engine
from stillroom.errors import EngineError
from stillroom.evals import Metric, Verdict
from stillroom.evals.gates import Candidate

from .answers import Answer, answer_many
from .plan import Plan

__all__ = ["blind", "either"]

Judge = Callable[[Sequence[Candidate]], list[Verdict]]


def blind(plan: Plan, engine: Engine, metric: Metric) -> Judge:
    """Let the compiled program answer the written inputs; its answer must score full marks against the wish."""

    def judge(batch: Sequence[Candidate]) -> list[Verdict]:
        answers = answer_many(plan, engine, [candidate.values for candidate in batch])
        return [_compare(plan, metric, candidate, answer) for candidate, answer in zip(batch, answers, strict=True)]

    return judge


def either(first: Judge, second: Judge) -> Judge:
    """Ask `first` (cheap) about all, and `second` about those that `first` does not agree with."""

    def judge(batch: Sequence[Candidate]) -> list[Verdict]:
        verdicts = first(batch)
        doubted = [place for place, verdict in enumerate(verdicts) if not verdict.passed]
        for place, verdict in zip(doubted, second([batch[place] for place in doubted]) if doubted else [], strict=True):
            verdicts[place] = verdict
        return verdicts

    return judge


def _compare(plan: Plan, metric: Metric, candidate: Candidate, answer: Answer | EngineError) -> Verdict:
    if isinstance(answer, EngineError):
        raise answer
    outputs = answer.outputs
    if outputs is None:
        return Verdict.fail(f"the program's own answer did not parse: {answer.problem}")
    verdict = metric({**candidate.values, **candidate.target}, outputs)
    return verdict if verdict.score == 1.0 else Verdict.fail(f"the program read it as {_short(plan, outputs)}")


def _short(plan: Plan, outputs: dict[str, object]) -> str:
    return ", ".join(f"{each.name}={outputs.get(each.name)!r}" for each in plan.shape.outputs)
