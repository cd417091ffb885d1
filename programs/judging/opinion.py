"""What a judge says of a row, what it cost, and what every judge can do."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass, replace
from typing import Any, Protocol, TypeAlias

from stillroom.engines import Engine
from stillroom.errors import BadConfig, EngineError
from stillroom.evals import Verdict
from stillroom.programs.answers import Cost
from stillroom.programs.plan import Plan

__all__ = ["Bill", "Judge", "Opinion", "Row", "nothing_to_judge", "with_engine"]

Row: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Opinion:
    """What a judge says of one row.

    Attributes:
        verdict: 0..1, higher is better for the answer judged (of a pair or a ranking: the first); or unverified.
        choice: The judge's label: "first", "yes", "4", an order such as "2,1,3"; "tie" where its own
            readings contradict each other; "" where none could be read.
        p: Probability of "first" or "yes" where the judge has one; 1, 0.5 or 0 where it writes.
        readings: What each asking gave, in order: of a pair P(the answer shown first), of a rubric points.
        feedback: What the judge wrote before its answers, an entry an asking; empty where it wrote none.
        cost: Of all askings.
        calls: How many askings there were.
    """

    verdict: Verdict
    choice: str = ""
    p: float | None = None
    readings: tuple[float, ...] = ()
    feedback: tuple[str, ...] = ()
    cost: Cost = field(default_factory=Cost)
    calls: int = 0


@dataclass
class Bill:
    """What a judge has cost since it was made, all its askings together."""

    calls: int = 0
    cost: Cost = field(default_factory=Cost)
    _guard: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def add(self, opinions: Sequence[Opinion]) -> None:
        """Put opinions on the bill. Threads may."""
        with self._guard:
            for opinion in opinions:
                self.calls += opinion.calls
                self.cost += opinion.cost


class Judge(Protocol):
    """A program that judges rows.

    Implementations are frozen dataclasses: `dataclasses.replace(judge, engine=...)` asks elsewhere.

    Attributes of each:
        kind: "rubric", "reference", "pairwise", "ranking" or "yes-no".
        subject: The input field that holds the answer judged.
        askings: Calls that a row takes.
        bill: What it has cost.
    """

    @property
    def plan(self) -> Plan:
        """How it asks."""

    @property
    def engine(self) -> Engine:
        """Where its answers come from."""

    @property
    def kind(self) -> str:
        """Which judge this is."""

    @property
    def subject(self) -> str:
        """The input field that holds the answer judged."""

    @property
    def askings(self) -> int:
        """Calls that a row takes."""

    @property
    def bill(self) -> Bill:
        """What it has cost."""

    @property
    def name(self) -> str:
        """Stable, with the plan's digest and every setting: it enters fingerprints."""

    def judge(self, rows: Sequence[Row]) -> list[Opinion]:
        """One opinion a row, in order. A row that lacks an input is unverified and costs nothing.

        Raises:
            EngineError: If a call failed for good: an outage is no opinion.
            BudgetExceeded: From a metered engine.
        """

    async def ajudge(self, rows: Sequence[Row]) -> list[Opinion | EngineError]:
        """The same without blocking the event loop, with the engine's error in the place of a row whose call failed."""


def with_engine(judge: Judge, engine: Engine) -> Judge:
    """The same judge asking elsewhere."""
    if not is_dataclass(judge):
        raise BadConfig(f"a judge must be a dataclass to be moved, got {type(judge).__name__}")
    moved: Judge = replace(judge, engine=engine)  # type: ignore[type-var]
    return moved


def nothing_to_judge(plan: Plan, row: Row) -> str:
    """Say what `row` lacks of the plan's inputs; "" where it lacks nothing."""
    lacks = [each.name for each in plan.shape.inputs if _blank(row.get(each.name))]
    return f"nothing to judge: {', '.join(lacks)} missing or empty" if lacks else ""


def _blank(value: Any) -> bool:
    return (
        value is None
        or (isinstance(value, str) and not value.strip())
        or (isinstance(value, (list, dict)) and not value)
    )
