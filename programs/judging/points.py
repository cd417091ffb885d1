"""How good one answer is, in points: feedback first, and the mean of several samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean

from stillroom.engines import Engine
from stillroom.errors import BadConfig
from stillroom.evals import Verdict
from stillroom.programs.plan import Plan
from stillroom.values import digest

from .asking import Asks, Reading, checked
from .opinion import Bill, Opinion, Row
from .shapes import POINTS

__all__ = ["Rubric"]


@dataclass(frozen=True)
class Rubric(Asks):
    """Give `response` 1 to 5 points, with or without a reference.

    A plan that writes is sampled: its feedback, then its points; the mean of three samples is
    the default (one sample of a noisy judge correlates less with the truth, 0.81 against 0.93
    in a simulation). A scored plan is asked once and gives the expected points over the
    probabilities of 1 to 5 (Liu et al. 2023, G-Eval, arXiv:2303.16634, section 2). An opinion's
    `readings` hold the points of each sample, its `choice` their rounded mean.

    Args:
        plan: Of the rubric or reference shape.
        engine: Where answers come from.
        samples: Askings a row, for a plan that writes. Each row's seeds follow from its content.
        least: How many samples must parse; the row is unverified otherwise.

    Raises:
        BadConfig: If the plan is of another shape or model, or several samples would be at temperature 0.
    """

    plan: Plan
    engine: Engine
    samples: int = 3
    least: int = 1
    bill: Bill = field(default_factory=Bill, compare=False)

    subject = "response"

    def __post_init__(self) -> None:
        checked(self.plan, self.engine, ("response",), POINTS)
        if not 1 <= self.least <= self.samples:
            raise BadConfig(f"samples and least need 1 <= least <= samples, got {self.least} and {self.samples}")
        if self.plan.scored is None and self.samples > 1 and self.plan.decoding.temperature == 0:
            raise BadConfig(
                f"{self.samples} samples at temperature 0 are one sample, so they measure nothing",
                mend="Give the plan a temperature above 0, or ask for samples=1.",
            )

    @property
    def kind(self) -> str:
        """Whether it is shown a reference."""
        return "reference" if any(each.name == "reference" for each in self.plan.shape.inputs) else "rubric"

    @property
    def name(self) -> str:
        """Stable, with the plan's digest and the number of samples."""
        return f"{self.kind} judge {self.plan.digest} x{self.askings}, {self.least} needed"

    @property
    def askings(self) -> int:
        """Calls that a row takes."""
        return 1 if self.plan.scored is not None else self.samples

    def _askings(self, row: Row) -> Sequence[tuple[Row, int | None]]:
        return [(row, self._seed(row, number)) for number in range(self.askings)]

    def _seed(self, row: Row, number: int) -> int | None:
        if self.plan.decoding.temperature == 0:
            return None
        shown = {each.name: str(row[each.name]) for each in self.plan.shape.inputs}
        return int(digest([shown, number], 7), 16)

    def _opinion(self, row: Row, readings: Sequence[Reading]) -> Opinion:
        points = [sum(float(name) * share for name, share in each.shares.items()) for each in readings if each.shares]
        cost = sum((each.cost for each in readings[1:]), readings[0].cost)
        feedback = tuple(each.feedback for each in readings if each.feedback)
        if len(points) < (1 if self.plan.scored is not None else self.least):
            why = "; ".join(dict.fromkeys(each.problem for each in readings if each.problem))
            verdict = Verdict.unverified(f"{len(points)} of {len(readings)} samples parsed: {why}")
            return Opinion(verdict, readings=tuple(points), feedback=feedback, cost=cost, calls=len(readings))
        low, high = float(POINTS[0]), float(POINTS[-1])
        mean = min(max(fmean(points), low), high)
        score = (mean - low) / (high - low)
        why = "" if score == 1.0 else "; ".join([f"{mean:.2f} of {high:g} points", *feedback[:1]])
        # half a point goes up, as people round
        choice = str(int(mean + 0.5))
        return Opinion(Verdict(score, why), choice, None, tuple(points), feedback, cost, len(readings))
