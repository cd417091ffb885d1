"""What is compiled: predictors whose instruction, demos, format and decoding may vary.

A task is one predictor asked through a `Plan`; a DSPy module may hold many. The
search sees both through `Subject`, so that there is one search.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from stillroom.programs import Decoding, Demo, Outcome
from stillroom.signatures import Example

__all__ = ["Candidate", "Choice", "Part", "Step", "Subject", "strata"]


@dataclass(frozen=True)
class Part:
    """One predictor, as declared.

    Attributes:
        name: Unique in its subject; "" for the one predictor of a task.
        instruction: As declared.
        inputs, outputs: Field names, in order.
        labels: The allowed values where the only output is categorical, else ().
        formats: Names of the formats that can ask for it, the default first.
        reasoning: The choices of reasoning that make sense here, the default first.
        scorable: Whether the engine can score its labels instead of writing one.
    """

    name: str
    instruction: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    labels: tuple[str, ...] = ()
    formats: tuple[str, ...] = ("json",)
    reasoning: tuple[bool, ...] = (False,)
    scorable: bool = False


@dataclass(frozen=True)
class Choice:
    """How one part is asked. `scored`: its labels are scored by log-probability, calibrated, not written."""

    instruction: str
    demos: tuple[Demo, ...] = ()
    format: str = "json"
    reasoning: bool = False
    decoding: Decoding = field(default_factory=Decoding)
    scored: bool = False

    def as_json(self) -> dict[str, Any]:
        """A plain JSON value."""
        return asdict(self)


@dataclass(frozen=True)
class Candidate:
    """A subject with all choices made.

    Attributes:
        choices: By name of part.
        digest: Content hash of everything that decides its answers.
        program: What `Subject.run` runs, a `Plan` or a module.
        calls: What making it took, where it had to be calibrated.
    """

    choices: Mapping[str, Choice]
    digest: str
    program: Any
    calls: int = 0

    @property
    def shown(self) -> set[str]:
        """Ids of the rows that its demos were made from."""
        return {demo.id.partition("#")[0] for choice in self.choices.values() for demo in choice.demos}

    @property
    def length(self) -> int:
        """Characters of instructions and demos: what each call costs beyond the row."""
        return sum(
            len(choice.instruction) + sum(len(str(demo.inputs)) + len(str(demo.outputs)) for demo in choice.demos)
            for choice in self.choices.values()
        )


@dataclass(frozen=True)
class Step:
    """One call of a part inside one answer: what demos are bootstrapped from and failures told by."""

    part: str
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]


class Subject(Protocol):
    """Something that can be compiled."""

    @property
    def name(self) -> str:
        """For notes and messages."""

    @property
    def parts(self) -> Sequence[Part]:
        """Its predictors, in a fixed order; at least one."""

    @property
    def code(self) -> str:
        """Source of the program that joins the parts, for grounded proposals; "" for a bare predictor."""

    @property
    def demos(self) -> Sequence[Example]:
        """Labelled rows that may be shown, tried and learnt from."""

    @property
    def fresh(self) -> Sequence[Example]:
        """Labelled rows kept from all that until the end; see `stillroom.optimizers.confirm.keep_fresh`."""

    @property
    def search(self) -> Sequence[Example]:
        """Labelled rows that candidates are scored on, in the shared order."""

    def default(self, part: Part) -> Choice:
        """How `part` is asked as declared."""

    def build(self, choices: Mapping[str, Choice]) -> Candidate:
        """Make a candidate. Equal choices give equal digests. May call the engine (to calibrate)."""

    def run(self, candidate: Candidate, examples: Sequence[Example]) -> list[Outcome]:
        """One outcome per example, in order; outcomes known to the store cost nothing.

        Raises:
            EngineError: If a call failed for good; all other outcomes were recorded first.
            BudgetExceeded: If the budget ends before the examples do; likewise.
        """

    def bootstrap(self, candidate: Candidate, examples: Sequence[Example]) -> list[tuple[Example, Outcome]]:
        """Answers that demos may be taken from: the candidate's own, or those of a better teacher."""

    def steps(self, example: Example, outcome: Outcome) -> Sequence[Step]:
        """The calls of parts behind `outcome`, in order."""

    def shown(self, part: Part, example: Example) -> Demo | None:
        """A labelled row as a demo of `part`; `None` where its labels do not tell the part's outputs."""


def strata(parts: Sequence[Part], rows: Sequence[Example]) -> list[str]:
    """What rows are balanced by: the labels of the last part that has some."""
    labelled = next((part.outputs[-1] for part in reversed(parts) if part.labels), None)
    return [str(row.outputs.get(labelled)) if labelled else "" for row in rows]
