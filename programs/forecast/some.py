"""A few of the rows that a flow wants, spread over its cells: to look at, or to run before all others."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from stillroom.programs.flow import Source, Wanted
from stillroom.programs.flow.wanted import INPUTS
from stillroom.rows import EmittedRow

__all__ = ["Few", "share_out"]


@dataclass(frozen=True)
class Few:
    """The first wanted rows of each cell of `source`, as many as `quotas` says, each just as the source gives it."""

    source: Source
    quotas: Mapping[str, int]
    together: int = 1

    @classmethod
    def of(cls, source: Source, rows: int) -> Few:
        """So many rows, as even as the quotas allow; of an input, its first ones."""
        return cls(source, {INPUTS: rows} if source.quotas is None else share_out(source.quotas, rows))

    def wanted(self, cell: str) -> Iterator[Wanted]:
        """The first rows of a cell."""
        return islice(self.source.wanted(cell), self.quotas[cell])

    def learn(self, rows: Sequence[EmittedRow]) -> None:
        """Nothing to learn: the source learns from its own run."""

    @property
    def rows(self) -> Iterator[Wanted]:
        """The rows of all cells."""
        for cell in self.quotas:
            yield from self.wanted(cell)


def share_out(quotas: Mapping[str, int], rows: int) -> dict[str, int]:
    """How many of `rows` each cell gets: as even as the quotas allow, and what does not go round at even distances.

    >>> share_out({"a": 50, "b": 1, "c": 50, "d": 0}, 8)
    {'a': 4, 'b': 1, 'c': 3}
    >>> share_out(dict.fromkeys("abcdef", 9), 3)
    {'a': 1, 'c': 1, 'e': 1}
    """
    given = dict.fromkeys(quotas, 0)
    left = min(rows, sum(quotas.values()))
    while left:
        hungry = [cell for cell, quota in quotas.items() if given[cell] < quota]
        each = left // len(hungry)
        if each:
            portion = min(each, *(quotas[cell] - given[cell] for cell in hungry), math.inf)
            for cell in hungry:
                given[cell] += int(portion)
            left -= int(portion) * len(hungry)
        else:
            for at in range(left):
                given[hungry[at * len(hungry) // left]] += 1
            left = 0
    return {cell: count for cell, count in given.items() if count}
