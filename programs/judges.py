"""Who decides whether a written row means what was wanted: somebody who did not see the wish."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

from stillroom.engines import Engine, Session
from stillroom.errors import EngineError
from stillroom.evals import Embedder, Metric, Verdict
from stillroom.evals.gates import Candidate, bound
from stillroom.signatures import Example, Task

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
    """A classifier trained on labelled rows reads the written inputs; its label must be the wanted one.

    Trained when it is first needed, and before a run asks anything: what is looked at beforehand needs no embedder.

    Attributes:
        embedder: Turns texts into vectors.
        rows: What it learns from.
        label: The output that it predicts.
    """

    embedder: Embedder
    rows: Sequence[Example]
    label: str

    @cached_property
    def head(self) -> EmbeddingClassifier:
        """The classifier. Raises `ModelMissing` if the embedding model is not on this machine."""
        from stillroom.evals import EmbeddingClassifier

        texts, labels = [row.text for row in self.rows], [row.outputs[self.label] for row in self.rows]
        return EmbeddingClassifier(embedder=self.embedder).fit(texts, labels)

    @property
    def name(self) -> str:
        """With the embedder's weights."""
        return f"head on {self.embedder.digest[:12]}"

    def within(self, session: Session) -> Head:
        """The same, trained: a run must not find at its first text that it cannot be."""
        _ = self.head
        return self

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
    second = blind(plan, engine, task.metric)
    label = task.shape.label_field
    return second if label is None else either(Head(embedder, task.demos + task.search, label.name), second)


async def _awaited(judge: Judge, batch: Sequence[Candidate]) -> list[Verdict | EngineError]:
    """Ask a judge; on a thread, if it cannot be awaited."""
    asked = getattr(judge, "ajudge", None)
    return list(await asyncio.to_thread(judge, batch) if asked is None else await asked(batch))


def _short(plan: Plan, outputs: dict[str, object]) -> str:
    return ", ".join(f"{each.name}={outputs.get(each.name)!r}" for each in plan.shape.outputs)
