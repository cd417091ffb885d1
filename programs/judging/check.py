"""Whether something holds of a text: yes or no, by log-probability where the engine shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from stillroom.engines import Engine
from stillroom.evals import Verdict
from stillroom.programs.plan import Plan

from .asking import Asks, Reading, checked
from .opinion import Bill, Opinion, Row

__all__ = ["YesNo"]


@dataclass(frozen=True)
class YesNo(Asks):
    """Answer `question` about `text`, one asking a row; the score is P(yes), or 1 and 0 where the plan writes.

    Args:
        plan: Of the yes-no shape, scored or not.
        engine: Where answers come from.

    Raises:
        BadConfig: If the plan is of another shape or model.
    """

    plan: Plan
    engine: Engine
    bill: Bill = field(default_factory=Bill, compare=False)

    kind = "yes-no"
    subject = "text"
    askings = 1

    def __post_init__(self) -> None:
        checked(self.plan, self.engine, ("text",), ("yes", "no"))

    @property
    def name(self) -> str:
        """Stable, with the plan's digest."""
        return f"yes-no judge {self.plan.digest}"

    def _askings(self, row: Row) -> Sequence[tuple[Row, int | None]]:
        return [(row, None)]

    def _opinion(self, row: Row, readings: Sequence[Reading]) -> Opinion:
        (reading,) = readings
        return _opinion(reading)


def _opinion(reading: Reading) -> Opinion:
    feedback = (reading.feedback,) if reading.feedback else ()
    if not reading.shares:
        verdict = Verdict.unverified(f"the answer did not parse: {reading.problem}")
        return Opinion(verdict, feedback=feedback, cost=reading.cost, calls=1)
    p = min(reading.shares["yes"], 1.0)
    choice = "tie" if p == 0.5 else "yes" if p > 0.5 else "no"
    verdict = (
        Verdict.unverified("P(yes) is a half")
        if choice == "tie"
        else Verdict(p, "" if p == 1 else f"P(yes) is {p:.2f}")
    )
    return Opinion(verdict, choice, p, (p,), feedback, reading.cost, 1)
