"""Sources that end: what rows are begun from is given, and each of it is begun once, until enough rows were accepted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from stillroom.programs.flow import INPUTS, Wanted
from stillroom.rows import EmittedRow
from stillroom.values import digest

__all__ = ["Once", "OnceEach", "made_from"]


def made_from(row: Any, fields: Mapping[str, Any], *, fault: str = "", **asked: Any) -> Wanted:
    """The wanted row that one of the user's rows gives rise to; its papers name that row by its hash.

    Args:
        row: The user's.
        fields: What its steps start from; equal fields give equal requests, wherever they stand.
        fault: Why nothing can be asked about it, or "".
        asked: What its passport says it was asked to be.
    """
    return Wanted(INPUTS, 0, fields, asked=asked, parents=(digest(row),), key="", fault=fault)


@dataclass(frozen=True)
class Once:
    """Wanted rows in their order; the run ends when enough rows were accepted, or there are no more to begin.

    Begun are no more than are still needed, as far as those under way are expected to pass. For methods that make
    rows, one or several, of each thing given.

    Attributes:
        starts: Gives them, from the first; `wanted` numbers them.
        most: Accepted rows that are enough; None to begin all of them, where gates choose from the whole set.
        together: How many are best begun one after the other.
    """

    starts: Callable[[], Iterable[Wanted]]
    most: int | None
    together: int = 1

    quotas: ClassVar[None] = None

    def wanted(self, cell: str) -> Iterator[Wanted]:
        """Each of them once."""
        return (replace(each, slot=slot) for slot, each in enumerate(self.starts()))

    def learn(self, rows: Sequence[EmittedRow]) -> None:
        """Nothing to learn."""


@dataclass(frozen=True)
class OnceEach:
    """The same of several cells: so many accepted rows of each, as far as what is given of it goes.

    Attributes:
        quotas: Accepted rows that are enough of each cell.
        starts: Gives the wanted rows of a cell, from the first; `wanted` numbers them.
        together: How many of a cell are best begun one after the other.
    """

    quotas: Mapping[str, int]
    starts: Callable[[str], Iterable[Wanted]]
    together: int = 1

    def wanted(self, cell: str) -> Iterator[Wanted]:
        """Each row of the cell once."""
        return (replace(each, cell=cell, slot=slot) for slot, each in enumerate(self.starts(cell)))

    def learn(self, rows: Sequence[EmittedRow]) -> None:
        """Nothing to learn."""
