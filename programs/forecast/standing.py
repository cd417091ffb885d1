"""Where a run stands before it goes on: what it has given so far, and what it has spent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from stillroom.engines import Engine
from stillroom.engines.prices import no_price
from stillroom.errors import BadConfig
from stillroom.ledger import Budget, Spent
from stillroom.programs.flow import Flow, Inputs, Split
from stillroom.programs.flow.wanted import INPUTS, most_of

from .seen import Cell, Seen

__all__ = ["Standing", "begun_at_most", "check_payable", "limits_of", "quotas_of"]

NOTHING = Seen("nothing", {}, {}, {})


@dataclass(frozen=True)
class Standing:
    """Where a run stands.

    Attributes:
        seen: Its rows and calls so far.
        spent: What all its sessions have spent.
        budget: What they may spend.
    """

    seen: Seen = NOTHING
    spent: Spent = field(default_factory=Spent)
    budget: Budget = field(default_factory=Budget)

    @property
    def cells(self) -> Mapping[str, Cell]:
        """Its rows so far."""
        return self.seen.cells

    @property
    def asked(self) -> float:
        """Calls that its rows so far have asked for."""
        return sum(moments.total for moments in self.seen.asked.values())

    @property
    def accepted(self) -> int:
        """Its accepted rows so far."""
        return sum(cell.accepted for cell in self.cells.values())


def check_payable(engines: Sequence[Engine], budget: Budget | None) -> None:
    """See that a budget in dollars can be kept. Raises `BadConfig` if a model has no price."""
    if budget is not None and budget.usd is not None:
        for engine in engines:
            if engine.price is None:
                raise no_price(engine.model)


def limits_of(standing: Standing, worst: Spent | None = None) -> list[tuple[str, str, float, float, float]]:
    """The limits of the budget that are set: (name, quantity of a forecast, limit and spent in its unit, limit as named).

    A call must fit at its worst case to be made, so that of tokens and dollars as much is left at the end as the
    `worst` call may take.
    """
    budget, spent, worst = standing.budget, standing.spent, worst or Spent()
    limits = (
        ("calls", "calls", budget.calls, spent.calls, 0, budget.calls),
        ("tokens", "tokens", budget.tokens, spent.tokens, worst.tokens, budget.tokens),
        ("minutes", "seconds", budget.seconds, spent.seconds, 0, budget.minutes),
        ("usd", "usd", budget.usd, spent.usd, worst.usd, budget.usd),
    )
    return [
        (name, quantity, max(limit - kept, used), used, told)
        for name, quantity, limit, used, kept, told in limits
        if limit is not None and told is not None
    ]


def quotas_of(flow: Flow) -> dict[str, int]:
    """Wanted rows by cell; of an input its rows, or as many as are enough of it.

    Raises:
        BadConfig: If the input can be read once only.
    """
    if flow.source.quotas is not None:
        return dict(flow.source.quotas)
    rows, most = _inputs(flow), most_of(flow.source)
    if most is not None and any(isinstance(part, Split) for part in flow.parts):
        return {INPUTS: most}  # one row of it may become many
    return {INPUTS: rows if most is None else min(rows, most)}


def begun_at_most(flow: Flow) -> dict[str, int]:
    """Rows that may be begun by cell, all tries of each among them."""
    found = {INPUTS: _inputs(flow)} if flow.source.quotas is None else flow.source.quotas
    return {cell: flow.attempts * rows for cell, rows in found.items()}


def _inputs(flow: Flow) -> int:
    if isinstance(flow.source, Inputs) and hasattr(flow.source.rows, "__next__"):
        raise BadConfig(
            "a forecast counts the rows of an input, got one that can be read once only", mend="Give a file or a list."
        )
    return sum(1 for _ in flow.source.wanted(INPUTS))
