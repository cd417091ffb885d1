"""A source that grows: what is drawn next sees what was accepted before."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from stillroom.programs.flow import Wanted
from stillroom.rows import EmittedRow

__all__ = ["Draw", "Growing"]

Draw = Callable[[str, int, Sequence[EmittedRow]], Wanted]
"""The wanted row of a (cell, slot), given the accepted rows so far, in the order they were committed."""


@dataclass
class Growing:
    """So many accepted rows of each cell, drawn by a function that sees the pool.

    Rows are learnt block by block, so what is drawn does not depend on who answered first. Of one run: a
    flow is built anew for each.

    Attributes:
        quotas: Accepted rows wanted of each cell.
        draw: Draws one.
        pool: The accepted rows so far.
        together: How many rows of a cell are best begun one after the other.
    """

    quotas: Mapping[str, int]
    draw: Draw
    pool: list[EmittedRow] = field(default_factory=list)
    together: int = 1

    def wanted(self, cell: str) -> Iterator[Wanted]:
        """Endless: a cell is drawn from until its quota is met."""
        return (self.draw(cell, slot, self.pool) for slot in itertools.count())

    def learn(self, rows: Sequence[EmittedRow]) -> None:
        """Take accepted rows into the pool."""
        self.pool += [row for row in rows if row.status == "accepted"]
