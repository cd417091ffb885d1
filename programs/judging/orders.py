"""In which order several answers stand: all of them in one asking, shuffled anew for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from stillroom.engines import Engine
from stillroom.errors import BadConfig
from stillroom.evals import Verdict
from stillroom.programs.plan import Plan
from stillroom.values import digest

from .asking import Asks, Reading, checked, plain
from .opinion import Bill, Opinion, Row
from .shapes import order_of

__all__ = ["Ranking"]


@dataclass(frozen=True)
class Ranking(Asks):
    """Rank `answers`, K at once, in several shuffled orders; mean places decide (Borda).

    The verdict is on the first of the answers: 1 where it is best, 0 where it is last. The
    `choice` is the order of all, their numbers from 1, best first, such as "2,1,3"; `readings`
    hold the mean place of each answer, 0 the best. Rows with under two answers are unverified. Shuffles follow from the row's content.

    Args:
        plan: Of the ranking shape.
        engine: Where answers come from.
        orders: Askings a row, each with the answers shuffled anew; the second is the first reversed.

    Raises:
        BadConfig: If the plan is of another shape or model, or `orders` under 1.
    """

    plan: Plan
    engine: Engine
    orders: int = 2
    bill: Bill = field(default_factory=Bill, compare=False)

    kind = "ranking"
    subject = "answers"

    def __post_init__(self) -> None:
        checked(self.plan, self.engine, ("answers",))
        if [each.name for each in self.plan.shape.outputs] != ["order"]:
            raise BadConfig(f"a ranking judge gives `order`, got {[each.name for each in self.plan.shape.outputs]}")
        if self.orders < 1:
            raise BadConfig(f"orders must be at least 1, got {self.orders}")

    @property
    def name(self) -> str:
        """Stable, with the plan's digest and the number of orders."""
        return f"ranking judge {self.plan.digest} x{self.orders}"

    @property
    def askings(self) -> int:
        """Calls that a row takes."""
        return self.orders

    def _askings(self, row: Row) -> Sequence[tuple[Row, int | None]]:
        answers = plain(row["answers"], {"type": "array"})
        if len(answers) < 2:
            return []
        return [({**row, "answers": [answers[n] for n in order]}, None) for order in self._shuffles(answers)]

    def _opinion(self, row: Row, readings: Sequence[Reading]) -> Opinion:
        answers = plain(row["answers"], {"type": "array"})
        if not readings:
            return Opinion(Verdict.unverified(f"a ranking needs two answers, got {len(answers)}"))
        return _opinion(self._shuffles(answers), readings)

    def _shuffles(self, answers: Sequence[str]) -> list[list[int]]:
        rng = Random(digest(list(answers)))
        found: list[list[int]] = []
        for number in range(self.orders):
            order = list(range(len(answers)))
            rng.shuffle(order)
            found.append(found[-1][::-1] if number % 2 else order)  # each answer early once and late once
        return found


def _opinion(shown: Sequence[Sequence[int]], readings: Sequence[Reading]) -> Opinion:
    count = len(shown[0])
    cost = sum((each.cost for each in readings[1:]), readings[0].cost)
    feedback = tuple(each.feedback for each in readings if each.feedback)
    places: list[list[int]] = []
    for order, reading in zip(shown, readings, strict=True):
        said = order_of(reading.outputs.get("order"), count)
        if said is not None:
            ranked = [order[number - 1] for number in said]
            places.append([ranked.index(at) for at in range(count)])
    if not places:
        why = next((each.problem for each in readings if each.problem), "no order names every answer once")
        return Opinion(Verdict.unverified(why), feedback=feedback, cost=cost, calls=len(readings))
    means = tuple(sum(column) / len(places) for column in zip(*places, strict=True))
    score = 1 - means[0] / (count - 1)
    if len(set(means)) == 1:
        return Opinion(Verdict.unverified("the orders cancel out"), "tie", None, means, feedback, cost, len(readings))
    best = sorted(range(count), key=lambda at: means[at])
    why = "" if score == 1.0 else f"mean place {means[0] + 1:.1f} of {count}"
    return Opinion(
        Verdict(score, why), ",".join(str(at + 1) for at in best), None, means, feedback, cost, len(readings)
    )
