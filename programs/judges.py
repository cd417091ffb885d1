"""Who decides whether a written row means what was wanted: somebody who did not see the wish."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from stillroom.engines import Engine, Session
from stillroom.errors import EngineError
from stillroom.evals import Embedder, Metric, Verdict
from stillroom.evals.gates import Candidate, bound
from stillroom.signatures import Task

from .answers import Answer, aanswer_many, answer_many
from .plan import Plan

if TYPE_CHECKING:
    from stillroom.evals import EmbeddingClassifier

__all__ = ["Blind", "Either", "Head", "agreement", "blind", "either"]

Judge: TypeAlias = Callable[[Sequence[Candidate]], list[Verdict]]


@dataclass(frozen=True)
class Blind:
    """The compiled program answers the written inputs; its answer must score full marks against the wish."""

    plan: Plan
    engine: Engine
    metric: Metric

    @property
    def name(self) -> str:
        """With the plan and the model behind it."""
        return f"plan {self.plan.digest} on {self.engine.model}"

    def within(self, session: Session) -> Blind:
        """The same with its calls on the session's store and budget."""
        return replace(self, engine=session.beside(self.engine))

    def __call__(self, batch: Sequence[Candidate]) -> list[Verdict]:
        """One verdict per candidate. Raises `EngineError` if a call failed for good."""
        answers = answer_many(self.plan, self.engine, [candidate.values for candidate in batch])
        verdicts = []
        for candidate, answer in zip(batch, answers, strict=True):
            if isinstance(answer, EngineError):
                raise answer
            verdicts.append(self._compare(candidate, answer))
        return verdicts

    async def ajudge(self, batch: Sequence[Candidate]) -> list[Verdict | EngineError]:
        """One verdict per candidate, or the error of its call; what each has cost goes on the candidate's bill."""
        answers = await aanswer_many(self.plan, self.engine, [candidate.values for candidate in batch])
        return [
            answer if isinstance(answer, EngineError) else self._compare(candidate, answer)
            for candidate, answer in zip(batch, answers, strict=True)
        ]

    def _compare(self, candidate: Candidate, answer: Answer) -> Verdict:
        candidate.spent.append(answer.cost.spent)
        outputs = answer.outputs
        if outputs is None:
            return Verdict.fail(f"the program's own answer did not parse: {answer.problem}")
        verdict = self.metric({**candidate.values, **candidate.target}, outputs)
        return verdict if verdict.score == 1.0 else Verdict.fail(f"the program read it as {_short(self.plan, outputs)}")


@dataclass(frozen=True)
class Head:
    """A classifier trained on the labelled rows reads the written inputs; its label must be the wanted one."""

    head: EmbeddingClassifier
    label: str
    name: str

    def __call__(self, batch: Sequence[Candidate]) -> list[Verdict]:
        """One verdict per candidate."""
        found = self.head.predict([candidate.text for candidate in batch])
        return [
            Verdict.ok() if str(got) == candidate.target[self.label] else Verdict.fail(f"the head read it as {got}")
            for got, candidate in zip(found, batch, strict=True)
        ]

    async def ajudge(self, batch: Sequence[Candidate]) -> list[Verdict | EngineError]:
        """The same. It asks nobody, so there is nothing to wait for."""
        return list(self(batch))


@dataclass(frozen=True)
class Either:
    """Ask `first` (cheap) about all, and `second` about those that `first` does not agree with."""

    first: Judge
    second: Judge

    @property
    def name(self) -> str:
        """Both names."""
        return " or ".join(getattr(each, "name", "judge") for each in (self.first, self.second))

    def within(self, session: Session) -> Either:
        """The same with the calls of both on the session's store and budget."""
        return Either(bound(self.first, session), bound(self.second, session))

    def __call__(self, batch: Sequence[Candidate]) -> list[Verdict]:
        """One verdict per candidate."""
        verdicts = list(self.first(batch))
        doubted = [place for place, verdict in enumerate(verdicts) if not verdict.passed]
        asked = self.second([batch[place] for place in doubted]) if doubted else []
        for place, verdict in zip(doubted, asked, strict=True):
            verdicts[place] = verdict
        return verdicts

    async def ajudge(self, batch: Sequence[Candidate]) -> list[Verdict | EngineError]:
        """As `__call__`, without blocking where the two can be awaited."""
        verdicts = await _awaited(self.first, batch)
        doubted = [
            place for place, verdict in enumerate(verdicts) if isinstance(verdict, Verdict) and not verdict.passed
        ]
        asked = await _awaited(self.second, [batch[place] for place in doubted]) if doubted else []
        for place, verdict in zip(doubted, asked, strict=True):
            verdicts[place] = verdict
        return verdicts


def blind(plan: Plan, engine: Engine, metric: Metric) -> Blind:
    """Let the compiled program answer the written inputs; its answer must score full marks against the wish."""
    return Blind(plan, engine, metric)


def either(first: Judge, second: Judge) -> Either:
    """Ask `first` (cheap) about all, and `second` about those that `first` does not agree with."""
    return Either(first, second)


def agreement(task: Task, plan: Plan, engine: Engine, embedder: Embedder) -> Blind | Either:
    """Make the judge of agreement. For labels: a head trained on labelled rows, the program where it disagrees.

    Else the program alone. The test split trains nothing.
    """
    from stillroom.evals import EmbeddingClassifier

    second = blind(plan, engine, task.metric)
    label = task.shape.label_field
    if label is None:
        return second
    rows = task.demos + task.search
    head = EmbeddingClassifier(embedder=embedder).fit(
        [row.text for row in rows], [row.outputs[label.name] for row in rows]
    )
    return either(Head(head, label.name, f"head on {embedder.digest[:12]}"), second)


async def _awaited(judge: Judge, batch: Sequence[Candidate]) -> list[Verdict | EngineError]:
    """Ask a judge; on a thread, if it cannot be awaited."""
    asked = getattr(judge, "ajudge", None)
    return list(await asyncio.to_thread(judge, batch) if asked is None else await asked(batch))


def _short(plan: Plan, outputs: dict[str, object]) -> str:
    return ", ".join(f"{each.name}={outputs.get(each.name)!r}" for each in plan.shape.outputs)
