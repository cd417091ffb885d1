"""A task as a subject: one part, asked through a plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from stillroom.engines import Engine
from stillroom.errors import BadConfig
from stillroom.programs import Decoding, Demo, Evaluator, Outcome, Plan
from stillroom.programs.answers import calibrated, scorable
from stillroom.signatures import FORMATS, Example, Task
from stillroom.store import Store

from .confirm import keep_fresh
from .settings import Settings
from .subject import Candidate, Choice, Part, Step

__all__ = ["TaskSubject", "baseline_plan"]

LABELS = 8  # scoring reads the prompt's end once a label
CALIBRATED = 8  # rows whose mean answer counts as saying nothing; a call each


@dataclass(frozen=True)
class TaskSubject:
    """What `stillroom.compile` searches.

    Args:
        task: Signature, rows and metric.
        engine: Metered; answers and scores.
        store: Remembers evaluations.
        settings: Which formats, reasoning and scoring may be tried.
    """

    task: Task
    engine: Engine
    store: Store
    settings: Settings

    @property
    def name(self) -> str:
        """The task's."""
        return self.task.name

    @property
    def code(self) -> str:
        """A bare predictor has no program around it."""
        return ""

    @property
    def demos(self) -> Sequence[Example]:
        """Rows of the demos split that may be learnt from."""
        return self._parted[0]

    @property
    def fresh(self) -> Sequence[Example]:
        """Rows of the demos split that are kept for the end."""
        return self._parted[1]

    @cached_property
    def _parted(self) -> tuple[list[Example], list[Example]]:
        return keep_fresh(self.task.demos, self.parts, self.settings.confirm, self.settings.seed)

    @property
    def search(self) -> Sequence[Example]:
        """The search split."""
        return self.task.search

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """The one predictor. Raises `BadConfig` for formats that cannot ask for it."""
        shape, settings = self.task.shape, self.settings
        fit = [name for name, format in FORMATS.items() if format.fits(shape)]
        unfit = [name for name in settings.formats or () if name not in fit]
        if unfit:
            raise BadConfig(f"formats for {self.task.name} may be {', '.join(fit)}, got {unfit}")
        label = shape.label_field
        labels = tuple(label.labels) if label is not None and len(shape.outputs) == 1 else ()
        tried = settings.scored if settings.scored is not None else len(labels) <= LABELS
        return (
            Part(
                "",
                shape.instruction,
                tuple(each.name for each in shape.inputs),
                tuple(each.name for each in shape.outputs),
                labels,
                tuple(settings.formats or fit),
                self._reasoning(),
                bool(labels) and tried and scorable(shape, self.engine),
            ),
        )

    def _reasoning(self) -> tuple[bool, ...]:
        tried = self.settings.reasoning
        if tried is None:
            tried = all(each.schema.get("type") in ("integer", "number") for each in self.task.shape.outputs)
        return (False, True) if tried else (False,)

    @cached_property
    def baseline(self) -> Plan:
        """The task as declared."""
        return baseline_plan(self.task, self.engine.model)

    def default(self, part: Part) -> Choice:
        """The docstring, no demos, JSON (or the first format wanted), greedy."""
        plan = self.baseline
        return Choice(plan.instruction, (), plan.format, plan.reasoning, plan.decoding)

    def build(self, choices: Mapping[str, Choice]) -> Candidate:
        """The plan of these choices; scored ones are calibrated on the inputs of a few demos rows."""
        choice = choices[""]
        plan = replace(
            self.baseline,
            instruction=choice.instruction,
            demos=choice.demos,
            format=choice.format,
            reasoning=choice.reasoning,
            decoding=choice.decoding,
        )
        if not (choice.scored and scorable(plan, self.engine)):  # a format that cannot tell labels apart writes them
            return Candidate(choices, plan.digest, plan)
        rows = [row.inputs for row in self.demos[:CALIBRATED]]
        plan = calibrated(plan, self.engine, rows)
        return Candidate(choices, plan.digest, plan, len(rows))

    def run(self, candidate: Candidate, examples: Sequence[Example]) -> list[Outcome]:
        """Score the candidate's plan."""
        evaluator = Evaluator(self.engine, self.store, self.task.metric, self.task.metric_name)
        return evaluator.run(candidate.program, examples)

    def bootstrap(self, candidate: Candidate, examples: Sequence[Example]) -> list[tuple[Example, Outcome]]:
        """The candidate's own answers."""
        return list(zip(examples, self.run(candidate, examples), strict=True))

    def steps(self, example: Example, outcome: Outcome) -> Sequence[Step]:
        """The one call."""
        return (Step("", example.inputs, outcome.outputs),)

    def shown(self, part: Part, example: Example) -> Demo | None:
        """The row as it is."""
        return Demo.of(example)


def baseline_plan(task: Task, model: str) -> Plan:
    """The task as declared: its docstring, no demos, JSON, greedy decoding."""
    plan = Plan(task.shape, model, task.shape.instruction)
    return replace(plan, decoding=Decoding(max_tokens=_answer_room(plan, task.demos)))


def _answer_room(plan: Plan, examples: Sequence[Example]) -> int:
    """Enough tokens for the longest right answer in any format: one token per two characters, and some."""
    longest = max(
        len(FORMATS[name].write(plan.shape, example.outputs)) for name in ("json", "chat") for example in examples
    )
    return 16 + longest // 2
