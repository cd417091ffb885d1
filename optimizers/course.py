"""One search under way: what it may spend, what it keeps back, and which rows it has learnt from."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from stillroom.engines import Session
from stillroom.programs import Outcome
from stillroom.signatures import Example

from .settings import Settings
from .subject import Candidate, Choice, Subject

__all__ = ["TRIED", "Course", "Progress", "Reserved"]

Progress: TypeAlias = Callable[[str, int, int, str], None]
"""Called with (stage, done, of, remark)."""

TRIED = 16  # rows of the demos split that a candidate is tried on, to learn from its answers


class Reserved(Exception):
    """The rest of the budget is kept for the end."""


@dataclass
class Course:
    """One search under way."""

    subject: Subject
    session: Session
    settings: Settings
    progress: Progress
    used: int = 0  # calls that the course asked for, recorded earlier or not: what a resumed course counts alike
    reserve: int = 0
    learnt: set[str] = field(default_factory=set)
    built: set[str] = field(default_factory=set)
    tried: dict[str, list[tuple[Example, Outcome]]] = field(default_factory=dict)

    @property
    def left(self) -> int:
        """Calls left, as the course counts them."""
        calls = self.session.ledger.budget.calls
        return sys.maxsize if calls is None else max(0, calls - self.used)

    def count(self, calls: int) -> None:
        """Count calls that were asked for outside of rows: proposals."""
        self.used += calls

    def build(self, choices: Mapping[str, Choice]) -> Candidate:
        """Make a candidate; what that takes is counted once."""
        candidate = self.subject.build(choices)
        if candidate.digest not in self.built:
            self.built.add(candidate.digest)
            self.used += candidate.calls
        return candidate

    def run(self, candidate: Candidate, examples: Sequence[Example]) -> list[Outcome]:
        """Run a candidate; refused where it would eat what is kept for the end."""
        if self.reserve and self.left < len(self.subject.parts) * len(examples) + self.reserve:
            raise Reserved
        outcomes = self.subject.run(candidate, examples)
        steps = [self.subject.steps(row, outcome) for row, outcome in zip(examples, outcomes, strict=True)]
        self.used += sum(max(1, len(each)) for each in steps)
        return outcomes

    def tries(self, candidate: Candidate) -> list[tuple[Example, Outcome]]:
        """What a candidate makes of a fixed handful of demos rows that it does not show; to learn from."""
        if candidate.digest not in self.tried:
            shown = {demo.id for choice in candidate.choices.values() for demo in choice.demos}
            rows = [row for row in self.subject.demos[: 2 * TRIED] if row.id not in shown][:TRIED]
            self.learnt |= {row.id for row in rows}
            self.tried[candidate.digest] = list(zip(rows, self.run(candidate, rows), strict=True))
        return self.tried[candidate.digest]
