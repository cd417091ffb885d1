"""A source that ends: each wanted row once, until enough of them were accepted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from stillroom.errors import BadConfig
from stillroom.evals import Verdict
from stillroom.evals.gates import Candidate
from stillroom.programs.flow.flow import BLOCK
from stillroom.programs.flow.wanted import INPUTS, Wanted
from stillroom.rows import By, EmittedRow, Status
from stillroom.values import digest

from .job import Job

__all__ = ["Enough", "Once", "made_from", "need", "span"]


def need(job: Job[Any], *names: str) -> None:
    """See that rows are given without which what is wanted cannot be made, although other kinds can do without.

    Raises:
        BadConfig: Naming those that are not, and their fields.
    """
    for name in names:
        if job.given.get(name) is None:
            wants = job.method.given[name]
            raise BadConfig(
                f"{job.preset.name} needs rows called {name!r} ({wants.about}), got none",
                mend=f"Give a file with the fields {', '.join(wants.fields)}.",
            )


def span(rows: int) -> int | None:
    """How many rows `Job.flow` begins together: no more than are wanted, where few are; None for as many as usual."""
    return rows if rows < BLOCK else None


def made_from(slot: int, row: Any, fields: dict[str, Any], **asked: Any) -> Wanted:
    """The wanted row that one of the user's rows gives rise to; its papers name that row by its hash."""
    return Wanted(INPUTS, slot, fields, asked=asked, parents=(digest(row),), key="")


@dataclass
class Once:
    """Wanted rows in their order, each begun once; none are begun any more when enough were accepted.

    What is under way then may pass too: `Enough` at the end of the line keeps the number exact. Of one run: a
    flow is built anew for each.

    Attributes:
        rows: Gives them, in the cell `INPUTS`, from the start.
        most: Accepted rows wanted.
        together: How many rows are best begun one after the other.
        accepted: How many there are.
    """

    rows: Callable[[], Iterable[Wanted]]
    most: int
    together: int = 1
    accepted: int = 0

    quotas: ClassVar[None] = None

    def wanted(self, cell: str) -> Iterator[Wanted]:
        """The rows, as long as they are needed."""
        for row in self.rows():
            if self.accepted >= self.most:
                return
            yield row

    def learn(self, rows: Sequence[EmittedRow]) -> None:
        """Count what was accepted."""
        self.accepted += sum(row.status == "accepted" for row in rows)


class Enough:
    """Let so many rows pass, and no more: what comes later is surplus."""

    by: By = "form"
    on_fail: Status = "surplus"

    def __init__(self, most: int) -> None:
        self._most, self._passed = most, 0
        self.name = f"enough({most})"

    def fresh(self) -> Enough:
        """The same with nothing passed."""
        return Enough(self._most)

    def check(self, batch: Sequence[Candidate]) -> list[Verdict]:
        """The first ones pass, in their order."""
        left = max(0, self._most - self._passed)
        return [Verdict.ok() if at < left else Verdict.fail(f"{self._most} are enough") for at in range(len(batch))]

    def keep(self, passed: Sequence[Candidate]) -> None:
        """Count rows that passed, of this session and of those before."""
        self._passed += len(passed)
