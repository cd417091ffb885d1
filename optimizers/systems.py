"""Things that answer a task: a plan on an engine, or a student's head. All prove the same way."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from stillroom.engines import Engine, Metered
from stillroom.errors import BadConfig
from stillroom.evals import Metric
from stillroom.ledger import Ledger
from stillroom.programs import Evaluator, Outcome, Plan
from stillroom.signatures import Example, Shape, Task
from stillroom.store import Store

if TYPE_CHECKING:
    from stillroom.evals import EmbeddingClassifier

__all__ = ["Cost", "HeadSystem", "PlanSystem", "System"]


@dataclass(frozen=True)
class Cost:
    """What answering cost: model calls, tokens, wall-clock seconds."""

    calls: int = 0
    tokens: int = 0
    seconds: float = 0.0


class System(Protocol):
    """Something that answers a task."""

    @property
    def name(self) -> str:
        """As tables name it."""

    def answer(
        self, task: Task, examples: Sequence[Example], store: Store, ledger: Ledger
    ) -> tuple[list[Outcome], Cost]:
        """One outcome per example, in order, and what it cost."""


@dataclass(frozen=True)
class PlanSystem:
    """A plan on an engine: baseline, compiled program or text student."""

    name: str
    plan: Plan
    engine: Engine

    def answer(
        self, task: Task, examples: Sequence[Example], store: Store, ledger: Ledger
    ) -> tuple[list[Outcome], Cost]:
        """Run the plan; its cost is remembered with the run, so a resume reports the whole."""
        before, started = ledger.spent, time.monotonic()
        engine = Metered(self.engine, ledger, store, "prove")
        outcomes = Evaluator(engine, store, task.metric, task.metric_name).run(self.plan, examples)
        spent = ledger.spent
        key = f"{self.plan.digest}/{self.engine.model}"
        earlier = store.notes("cost").get(key, {"calls": 0, "tokens": 0, "seconds": 0.0})
        calls = spent.calls - before.calls
        seconds = time.monotonic() - started if calls else 0.0
        cost = Cost(
            earlier["calls"] + calls, earlier["tokens"] + spent.tokens - before.tokens, earlier["seconds"] + seconds
        )
        store.put_note("cost", key, {"calls": cost.calls, "tokens": cost.tokens, "seconds": cost.seconds})
        return outcomes, cost


@dataclass(frozen=True)
class HeadSystem:
    """An embedding classifier for a categorical output."""

    name: str
    head: EmbeddingClassifier
    shape: Shape

    def answer(
        self, task: Task, examples: Sequence[Example], store: Store, ledger: Ledger
    ) -> tuple[list[Outcome], Cost]:
        """Predict all examples at once; no model calls are made. Its time is that of fresh texts."""
        self.head.embedder_.forget([example.text for example in examples])
        self.head.predict([""])  # loading the embedder is no part of answering
        started = time.monotonic()
        labels = [str(label) for label in self.head.predict([example.text for example in examples])]
        outcomes = [
            judge(task.metric, example, {label_name(self.shape): label})
            for example, label in zip(examples, labels, strict=True)
        ]
        return outcomes, Cost(0, 0, time.monotonic() - started)


def judge(metric: Metric, example: Example, outputs: dict[str, object]) -> Outcome:
    """Score given outputs."""
    verdict = metric(example.values, outputs)
    return Outcome(
        example.id, "unverified" if verdict.score is None else "scored", verdict.score or 0.0, verdict.why, outputs
    )


def label_name(shape: Shape) -> str:
    """The name of the categorical output. Raises `BadConfig` if the task has none."""
    if shape.label_field is None:
        raise BadConfig(
            f"a classifier student needs one categorical output, got {[each.name for each in shape.outputs]}",
            mend="Use to='smollm2-135m+lora'.",
        )
    return shape.label_field.name
