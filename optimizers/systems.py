"""Things that answer a task: a plan on an engine, or a student's head. All prove the same way."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from stillroom.engines import Engine, Metered, as_lm, quick_adapters, unwrap
from stillroom.errors import BadConfig
from stillroom.evals import Metric
from stillroom.ledger import Ledger, Spent
from stillroom.programs import Evaluator, Outcome, Plan
from stillroom.signatures import Example, Shape, Task
from stillroom.store import Store
from stillroom.values import digest

if TYPE_CHECKING:
    import dspy

    from stillroom.evals import EmbeddingClassifier

__all__ = ["Cost", "HeadSystem", "ModuleSystem", "PlanSystem", "System", "answers"]


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

    @property
    def search_score(self) -> float | None:
        """Its mean score on the search rows, 0..1; `None` where it was not scored on any."""

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

    @property
    def search_score(self) -> float | None:
        """As the search noted it in the plan."""
        return self.plan.notes.get("search_score")

    def answer(
        self, task: Task, examples: Sequence[Example], store: Store, ledger: Ledger
    ) -> tuple[list[Outcome], Cost]:
        """Run the plan; its cost is remembered with the run, so a resume reports the whole."""
        before, started = ledger.spent, time.monotonic()
        engine = Metered(self.engine, ledger, store, "prove")
        outcomes = Evaluator(engine, store, task.metric, task.metric_name).run(self.plan, examples)
        return outcomes, _cost(f"{self.plan.digest}/{self.engine.model}", store, ledger, before, started)


@dataclass(frozen=True)
class ModuleSystem:
    """A DSPy module on an engine.

    Attributes:
        name: As tables name it.
        module: Run on a copy whose every predictor asks `engine`, so that nothing is paid unseen.
        engine: Where its text comes from.
        settings: Defaults of each call, as `as_lm` takes them.
        adapter: How DSPy writes its prompts; `None` for what DSPy is configured with.
    """

    name: str
    module: dspy.Module
    engine: Engine
    settings: Mapping[str, Any] = field(default_factory=dict)
    adapter: dspy.Adapter | None = None

    @property
    def search_score(self) -> float | None:
        """As a module that `stillroom.Compile` made carries it."""
        return getattr(getattr(self.module, "stillroom", None), "search_score", None)

    def answer(
        self, task: Task, examples: Sequence[Example], store: Store, ledger: Ledger
    ) -> tuple[list[Outcome], Cost]:
        """Run the module; its cost is remembered with the run, so a resume reports the whole."""
        before, started = ledger.spent, time.monotonic()
        outcomes = answers(self, task.metric, examples, Metered(self.engine, ledger, store, "prove"))
        decides = [type(self.module).__qualname__, self.module.dump_state(), dict(self.settings), self._adapter_name]
        return outcomes, _cost(f"{digest(decides)}/{self.engine.model}", store, ledger, before, started)

    @property
    def _adapter_name(self) -> str:
        return "" if self.adapter is None else type(self.adapter).__name__


@dataclass(frozen=True)
class HeadSystem:
    """An embedding classifier for a categorical output."""

    name: str
    head: EmbeddingClassifier
    shape: Shape

    @property
    def search_score(self) -> None:
        """It may have been trained on the search rows."""

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


def answers(system: ModuleSystem, metric: Metric, examples: Sequence[Example], engine: Engine) -> list[Outcome]:
    """Run the module of `system` on `engine` (metered) over `examples`; one outcome each, in order.

    An answer that DSPy's adapter cannot parse is `unparsed`, and so is a prompt that does not fit the model.

    Raises:
        EngineError, BudgetExceeded: After all other examples were tried, so that their calls are recorded.
    """
    from concurrent.futures import ThreadPoolExecutor

    import dspy
    from dspy.utils.exceptions import AdapterParseError, ContextWindowExceededError

    module = system.module.deepcopy()
    module.set_lm(as_lm(engine, **system.settings))
    context = {} if system.adapter is None else {"adapter": system.adapter}

    def answer(example: Example) -> Outcome:
        try:
            with dspy.context(**context):
                found = module(**example.inputs)
        except (AdapterParseError, ContextWindowExceededError) as error:
            return Outcome(example.id, "unparsed", 0.0, str(error).partition("\n")[0], {})
        except Exception as error:
            inner = unwrap(error)
            if inner is error:
                raise
            raise inner from error
        return judge(metric, example, plain_outputs(found, tuple(example.outputs)))

    workers = max(1, min(engine.max_concurrency, len(examples)))
    with quick_adapters(), ThreadPoolExecutor(workers) as pool:  # leaving it waits for all
        futures = [pool.submit(answer, example) for example in examples]
    return [future.result() for future in futures]


def plain_outputs(prediction: Any, names: Sequence[str]) -> dict[str, Any]:
    """The named fields of a `dspy.Prediction` as plain JSON values; what it does not have is left out."""
    from pydantic_core import to_jsonable_python

    return {name: to_jsonable_python(prediction[name], fallback=str) for name in names if name in prediction}


def _cost(key: str, store: Store, ledger: Ledger, before: Spent, started: float) -> Cost:
    """What the run has paid for this system, earlier sessions included; remembered under `key`."""
    spent = ledger.spent
    earlier = store.notes("cost").get(key, {"calls": 0, "tokens": 0, "seconds": 0.0})
    calls = spent.calls - before.calls
    seconds = time.monotonic() - started if calls else 0.0
    cost = Cost(
        earlier["calls"] + calls, earlier["tokens"] + spent.tokens - before.tokens, earlier["seconds"] + seconds
    )
    store.put_note("cost", key, {"calls": cost.calls, "tokens": cost.tokens, "seconds": cost.seconds})
    return cost


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
