"""A source that ends: rows that are begun in a fixed order, each once, until so many are accepted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from stillroom.programs.flow import Wanted
from stillroom.rows import EmittedRow

__all__ = ["Listed"]

CELL = "rows"


@dataclass(frozen=True)
class Listed:
    """What can be asked about is listed; the run ends when enough rows were accepted, or the list does.

    For methods that make several rows of one thing given, so that neither rows nor things are its measure.

    Attributes:
        rows: Accepted rows wanted.
        starts: What the steps of each begin from, in order, each with the ids of the rows it comes from.
        together: How many are best begun one after the other.
    """

    rows: int
    starts: Sequence[tuple[Mapping[str, object], Iterable[str]]]
    together: int = 1

    @property
    def quotas(self) -> Mapping[str, int]:
        """One cell for all."""
        return {CELL: self.rows}

    def wanted(self, cell: str) -> Iterator[Wanted]:
        """Each of the list, in its order."""
        for slot, (fields, parents) in enumerate(self.starts):
            yield Wanted(cell, slot, dict(fields), parents=tuple(parents))

    def learn(self, rows: Sequence[EmittedRow]) -> None:
        """Nothing to learn."""
