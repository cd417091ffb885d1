"""One search under way: what it has asked for, what it may still ask for, and what it keeps back."""

from __future__ import annotations

import math
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

TRIED = 16  # demos rows that a candidate is tried on, to learn from its answers


class Reserved(Exception):
    """The rest of the budget is kept for something else."""


@dataclass
class Course:
    """One search under way. Everything it asks for goes through here and is counted.

    Calls count whether they were recorded earlier or not: a course that is run again counts alike.

    Attributes:
        used: Calls asked for so far.
        kept: Rows whose calls are kept back, for the baseline at first and then for the end.
    """

    subject: Subject
    session: Session
    settings: Settings
    progress: Progress
    used: int = 0
    kept: int = 0
    _rows: int = 0
    _row_calls: int = 0
    _built: set[str] = field(default_factory=set)
    _tried: dict[str, list[tuple[Example, Outcome]]] = field(default_factory=dict)

    @property
    def each(self) -> float:
        """Calls that a row takes: as measured, and one for each part before anything was."""
        return self._row_calls / self._rows if self._rows else len(self.subject.parts)

    @property
    def room(self) -> int:
        """Rows that the rest of the budget pays for, those kept back among them."""
        calls = self.session.ledger.budget.calls
        return sys.maxsize if calls is None else int(max(0, calls - self.used) / self.each)

    def ask(self, calls: int) -> None:
        """Count calls that are about to be made outside of rows: proposals. Raises `Reserved`."""
        self._check(math.ceil(calls / self.each))
        self.used += calls

    def build(self, choices: Mapping[str, Choice]) -> Candidate:
        """Make a candidate; what that takes is counted once."""
        candidate = self.subject.build(choices)
        if candidate.digest not in self._built:
            self._built.add(candidate.digest)
            self.used += candidate.calls
        return candidate

    def run(self, candidate: Candidate, examples: Sequence[Example]) -> list[Outcome]:
        """Run a candidate. Raises `Reserved` where that would eat what is kept back."""
        self._check(len(examples))
        outcomes = self.subject.run(candidate, examples)
        calls = _calls(outcomes)
        self.used += calls
        self._rows, self._row_calls = self._rows + len(outcomes), self._row_calls + calls
        return outcomes

    def bootstrap(self, candidate: Candidate) -> list[tuple[Example, Outcome]]:
        """What the candidate, or a better teacher, makes of a fixed handful of demos rows. Raises `Reserved`."""
        rows = self.subject.demos[:TRIED]
        self._check(len(rows))
        found = self.subject.bootstrap(candidate, rows)
        self.used += _calls([outcome for _, outcome in found])  # a teacher's rows tell nothing of the candidates'
        return found

    def tries(self, candidate: Candidate) -> list[tuple[Example, Outcome]]:
        """What a candidate makes of a fixed handful of demos rows that it does not show. Raises `Reserved`."""
        if candidate.digest not in self._tried:
            rows = [row for row in self.subject.demos[: 2 * TRIED] if row.id not in candidate.shown][:TRIED]
            self._tried[candidate.digest] = list(zip(rows, self.run(candidate, rows), strict=True))
        return self._tried[candidate.digest]

    def _check(self, rows: int) -> None:
        if self.kept and self.room < rows + self.kept:
            raise Reserved


def _calls(outcomes: Sequence[Outcome]) -> int:
    """Calls behind outcomes; one each where an older record does not say."""
    return sum(max(1, round(outcome.cost.calls)) for outcome in outcomes)
