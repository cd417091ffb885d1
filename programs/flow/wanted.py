"""What rows are wanted: so many of each cell, or one for each row of the user's own input.

A source is asked for one wanted row at a time, when there is room for it, so
that neither a quota of a million rows nor a file of them is ever held in memory.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from stillroom.errors import BadConfig, BadData
from stillroom.rows import EmittedRow
from stillroom.signatures import Field, read_rows
from stillroom.signatures.cells import settled
from stillroom.values import digest

__all__ = ["INPUTS", "Inputs", "Quotas", "Source", "Wanted", "most_of"]

INPUTS = "rows"
"""The cell of rows that come from an input."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One wanted row, before anything is written for it.

    Attributes:
        cell: The stratum it counts for.
        slot: Its number in the cell, from 0.
        fields: What its steps start from.
        target: The outputs it should have, for gates that compare.
        asked: What its passport says it was asked to be.
        parents: Ids of the rows it comes from.
        key: What its seeds are drawn from: equal keys and equal fields give equal requests. None for its place,
            which no other row shares.
        attempt: Earlier tries of the same slot.
        fault: Why nothing can be asked about it, or "".
    """

    cell: str
    slot: int
    fields: Mapping[str, Any]
    target: Mapping[str, Any] = field(default_factory=dict)
    asked: Mapping[str, Any] = field(default_factory=dict)
    parents: tuple[str, ...] = ()
    key: str | None = None
    attempt: int = 0
    fault: str = ""

    @property
    def place(self) -> str:
        """Where in the run it stands: cell/slot/attempt."""
        return f"{self.cell}/{self.slot}/{self.attempt}"


class Source(Protocol):
    """Where wanted rows come from.

    What it gives may depend on what it has learnt and on nothing else: a run that goes on draws
    the same rows again. A source without quotas ends by itself; one that need not come to its end
    says in `most` how many accepted rows are enough. Cells with quotas may end too.
    """

    @property
    def quotas(self) -> Mapping[str, int] | None:
        """Accepted rows wanted of each cell; None for one of each input row, in the cell `INPUTS`."""

    @property
    def together(self) -> int:
        """How many rows of a cell are best begun one after the other (they share their prompt's beginning)."""

    def wanted(self, cell: str) -> Iterator[Wanted]:
        """The wanted rows of a cell in their fixed order, from slot 0; called anew to start over."""

    def learn(self, rows: Sequence[EmittedRow]) -> None:
        """See what became of rows, in the order they were committed, before further ones are drawn."""


def most_of(source: Source) -> int | None:
    """Accepted rows that are enough of a source without quotas; None for all there are, and where there are quotas."""
    most: int | None = getattr(source, "most", None)
    return most


@dataclass(frozen=True)
class Quotas:
    """So many accepted rows of each cell, drawn by a function of (cell, slot).

    Raises:
        BadConfig: If a quota is negative.
    """

    quotas: Mapping[str, int]
    draw: Callable[[str, int], Wanted]
    together: int = 1

    def __post_init__(self) -> None:
        negative = {cell: count for cell, count in self.quotas.items() if count < 0}
        if negative:
            raise BadConfig(f"a quota must be at least 0, got {negative}")

    def wanted(self, cell: str) -> Iterator[Wanted]:
        """Endless: a cell is drawn from until its quota is met."""
        return map(partial(self.draw, cell), itertools.count())

    def learn(self, rows: Sequence[EmittedRow]) -> None:
        """Nothing to learn."""


@dataclass(frozen=True)
class Inputs:
    """Every row of the user's own input, once, in its order. Rows are read as they are needed.

    Columns that nobody reads stay in the row. A column named like an output is what the row should
    have, for gates that compare; the emitted row has the program's own.

    Attributes:
        rows: As `stillroom.signatures.read_rows` takes them. What can be read once only cannot be resumed.
        inputs: The fields each row must have.
        outputs: The fields that its steps add.
        columns: The column of each field whose column is called otherwise.
    """

    rows: Any
    inputs: Sequence[Field]
    outputs: Sequence[Field] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    together: int = 1

    quotas = None

    def check(self) -> None:
        """Look at the first row. Raises `BadData` if there is none or it lacks an input."""
        first = next(read_rows(self.rows), None)
        if first is None:
            raise BadData("the input must hold rows, got none")
        _, problems = settled(first[1], self.inputs, columns=self.columns)
        if problems:
            lines = [f"row {first[0]}, field {name!r}: {rule}" for name, rule in problems]
            raise BadData("the input must hold the program's input fields, its first row does not:", lines)

    def wanted(self, cell: str) -> Iterator[Wanted]:
        """The rows of the input; one that breaks its types is wanted with its fault, and nothing is asked for it."""
        for slot, (_, raw) in enumerate(read_rows(self.rows)):
            yield self._wanted(slot, raw)

    def learn(self, rows: Sequence[EmittedRow]) -> None:
        """Nothing to learn."""

    def _wanted(self, slot: int, raw: Mapping[str, Any]) -> Wanted:
        values, problems = settled(raw, self.inputs, columns=self.columns)
        taken = {self.columns.get(name, name) for name in values}
        rest = {name: plain(value) for name, value in raw.items() if name not in taken}
        gold = {each.name: rest.pop(each.name) for each in self.outputs if each.name in rest}
        fault = "; ".join(f"{name}: {rule}" for name, rule in problems)
        fields = {**values, **rest}
        return Wanted(INPUTS, slot, fields, gold, parents=(digest(fields),), key="", fault=fault)


def plain(value: Any) -> Any:
    """A cell of a table as a JSON value: a CSV cell is the text it holds."""
    return str(value) if isinstance(value, str) else value
