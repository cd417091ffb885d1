"""Which of two answers is better: asked in both orders, because models favour a place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from stillroom.engines import Engine
from stillroom.errors import BadConfig
from stillroom.evals import Verdict
from stillroom.programs.plan import Plan

from .asking import Asks, Reading, checked
from .opinion import Bill, Opinion, Row
from .shapes import swapped

__all__ = ["Pairwise"]


@dataclass(frozen=True)
class Pairwise(Asks):
    """Compare `first` with `second`, in both orders.

    A scored plan gives P(first is better) in each order; their mean is the opinion, so that a
    judge with no view but a favourite place says exactly a half (swap and average: Zheng et al.
    2023, arXiv:2306.05685, section 3.4, on probabilities in place of votes). A plan that writes
    gives two answers: where they name different answers the row is unverified, and a tie. An
    opinion's `readings` hold P(the answer shown first) of each order.

    Args:
        plan: Of the pairwise shape, scored or not.
        engine: Where answers come from.
        margin: Of a scored plan: a mean P(first) no farther than this from a half is a tie, and unverified.

    Raises:
        BadConfig: If the plan is of another shape or model, or the margin not in 0..0.5.
    """

    plan: Plan
    engine: Engine
    margin: float = 0.0
    bill: Bill = field(default_factory=Bill, compare=False)

    kind = "pairwise"
    subject = "first"
    askings = 2

    def __post_init__(self) -> None:
        checked(self.plan, self.engine, ("first", "second"), ("first", "second"))
        if not 0 <= self.margin < 0.5:
            raise BadConfig(f"margin must be in 0..0.5, got {self.margin!r}")

    @property
    def name(self) -> str:
        """Stable, with the plan's digest."""
        margin = f" margin {self.margin:g}" if self.margin else ""
        return f"pairwise judge {self.plan.digest}{margin}"

    def _askings(self, row: Row) -> Sequence[tuple[Row, int | None]]:
        return [(row, None), (swapped(row), None)]

    def _opinion(self, row: Row, readings: Sequence[Reading]) -> Opinion:
        straight, turned = readings
        read = [_first(each) for each in (straight, turned)]
        cost = straight.cost + turned.cost
        feedback = tuple(each.feedback for each in (straight, turned) if each.feedback)
        if read[0] is None or read[1] is None:
            why = "; ".join(each.problem for each in (straight, turned) if each.problem)
            return Opinion(Verdict.unverified(f"an answer did not parse: {why}"), feedback=feedback, cost=cost, calls=2)
        p = (read[0] + 1 - read[1]) / 2
        verdict, choice = self._choice(p, read[0], read[1])
        return Opinion(verdict, choice, p, (read[0], read[1]), feedback, cost, 2)

    def _choice(self, p: float, straight: float, turned: float) -> tuple[Verdict, str]:
        if abs(p - 0.5) <= self.margin + 1e-12:
            if self.plan.scored is None:
                return Verdict.unverified(f"a tie: {_said(straight, turned)}"), "tie"
            return Verdict.unverified(f"a tie: P(first) is {p:.2f} over both orders"), "tie"
        why = (
            "" if p == 1.0 else f"P(first is better) is {p:.2f}" if self.plan.scored is not None else "second is better"
        )
        return Verdict(p, why), "first" if p > 0.5 else "second"


def _first(reading: Reading) -> float | None:
    """P(first) of the two places; a written tie is a half, an answer that did not parse None."""
    first, second = reading.shares.get("first", 0.0), reading.shares.get("second", 0.0)
    if not reading.shares:
        return None
    return first / (first + second) if first + second > 0 else 0.5


def _said(straight: float, turned: float) -> str:
    if straight == turned == 0.5:
        return "both orders say so"
    return "the two orders disagree" if straight == turned else "one order says so"
