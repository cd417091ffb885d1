"""Which wanted rows to begin next, given what became of those before.

Nothing here makes a call or looks at a clock: the same outcomes in the same
order give the same decisions, which is why a run that was killed goes on as if
it had not been.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from stillroom.errors import BadConfig

from .wanted import INPUTS, Source, Wanted, most_of

__all__ = ["PRIOR", "Schedule"]

PRIOR = 4.0
"""A cell's yield leans on that of all cells as if so many of its rows had been seen."""


@dataclass
class _Cell:
    """One stratum: what is wanted of it and how far it is."""

    name: str
    wanted: int | None
    fresh: Iterator[Wanted]
    most: int | None  # rows that may be begun
    again: deque[Wanted] = field(default_factory=deque)
    revived: Iterator[Wanted] = field(default_factory=lambda: iter(()))
    drawn: int = 0  # slots taken from `fresh`
    begun: int = 0
    done: int = 0
    passed: int = 0  # rows, surplus ones included
    filled: int = 0  # slots that gave a row
    accepted: int = 0

    @property
    def in_flight(self) -> int:
        return self.begun - self.done

    @property
    def full(self) -> bool:
        return self.wanted is not None and self.accepted >= self.wanted

    @property
    def spent(self) -> bool:
        return self.most is not None and self.begun >= self.most


class Schedule:
    """The decisions of one run.

    A cell with a quota begins rows while those under way are not expected to fill it: by the share
    of its rows that passed so far, and at first as if all of them would. Slots that failed come
    before fresh ones, so that what was to be balanced over slots stays so. An input that need not be
    read to its end is a cell with a quota, but for one thing: it ends by itself.

    Args:
        source: What is wanted.
        attempts: Tries of a slot. A cell that is drawn from without end begins at most `attempts` rows for each
            wanted one, whichever slots they go to. A slot whose engine failed waits until it is revived: the engine has had
            its own tries, and what nobody answered leaves the slot all of its own.

    Attributes:
        limit: Input rows that may be drawn; None for all. A run that goes on knows where the input ended before.
        ended: How many rows the input turned out to have, once that is known.
    """

    def __init__(self, source: Source, attempts: int) -> None:
        if attempts < 1:
            raise BadConfig(f"attempts must be at least 1, got {attempts!r}")
        self._source, self._attempts = source, attempts
        if source.quotas is None:
            cells = [_Cell(INPUTS, most_of(source), source.wanted(INPUTS), None)]
        else:
            quotas = source.quotas.items()
            cells = [_Cell(name, wanted, source.wanted(name), attempts * wanted) for name, wanted in quotas]
        self._cells = {cell.name: cell for cell in cells}
        self._ring = deque(self._cells.values())
        self._turn = 0
        self._lost: dict[tuple[str, int], int] = {}
        self._forgiven: Counter[tuple[str, int]] = Counter()
        self._done = self._passed = 0
        self.limit: int | None = None
        self.ended: int | None = None

    # -- what to begin ----------------------------------------------------------------

    def begin(self, room: int) -> list[Wanted]:
        """The next rows to begin, at most `room`: round the cells, some rows of each that belong together."""
        begun: list[Wanted] = []
        idle = 0
        while len(begun) < room and idle < len(self._ring):
            cell = self._ring[0]
            if self._turn >= self._source.together:
                self._next()
            elif not self._needs(cell) or (wanted := self._draw(cell)) is None:
                self._next()
                idle += not cell.full  # a full cell has left the ring: those that stay are looked at once each
            else:
                self._turn += 1
                cell.begun += 1
                begun.append(wanted)
                idle = 0
        return begun

    def _next(self) -> None:
        self._turn = 0
        cell = self._ring.popleft()
        if not cell.full:
            self._ring.append(cell)

    def _needs(self, cell: _Cell) -> bool:
        if cell.wanted is None:
            return True
        left = cell.wanted - cell.accepted
        # to the nearest: one row missing and one under way that passes 7 times in 10 is not worth a second call
        return left > 0 and not cell.spent and cell.in_flight * self._yield(cell) + 0.5 <= left

    def _yield(self, cell: _Cell) -> float:
        """Rows that pass for each one begun, shrunk towards that of all cells."""
        overall = (self._passed + 1) / (self._done + 1)
        return (cell.passed + PRIOR * overall) / (cell.done + PRIOR)

    def _draw(self, cell: _Cell) -> Wanted | None:
        if cell.again:
            wanted = cell.again.popleft()
            self._lost.pop((wanted.cell, wanted.slot), None)
            return wanted
        if (revived := next(cell.revived, None)) is not None:
            return revived
        if self.limit is not None and cell.drawn >= self.limit:
            return None
        fresh = next(cell.fresh, None)
        if fresh is None:
            if self._source.quotas is None:  # what ends otherwise is the same each time, and never grows
                self.ended = cell.drawn
            return None
        cell.drawn += 1
        return fresh

    # -- what became of it ------------------------------------------------------------

    def admit(self, cell: str) -> bool:
        """Count a row that passed every gate as accepted, unless the quota of its cell is full."""
        found = self._cells[cell]
        if found.full:
            return False
        found.accepted += 1
        return True

    def end(self, wanted: Wanted, passed: int, *, lost: bool, unanswered: bool = False) -> None:
        """See that a begun row came to its end.

        Args:
            wanted: The row.
            passed: How many rows it gave that passed.
            lost: Whether it was lost to a fault.
            unanswered: Whether that fault was the engine's.
        """
        cell = self._cells[wanted.cell]
        cell.done += 1
        cell.passed += passed
        cell.filled += passed > 0
        self._done += 1
        self._passed += passed
        if passed or wanted.fault:
            return
        if lost:
            self._lost[wanted.cell, wanted.slot] = wanted.attempt
        if not unanswered and wanted.attempt + 1 - self._forgiven[wanted.cell, wanted.slot] < self._attempts:
            cell.again.append(replace(wanted, attempt=wanted.attempt + 1))

    def revive(self) -> None:
        """Let the slots that were lost to a fault be begun once more; their tries are forgiven."""
        for cell in self._cells.values():
            waiting = {wanted.slot for wanted in cell.again}
            slots = {
                slot: attempt
                for (name, slot), attempt in self._lost.items()
                if name == cell.name and slot not in waiting
            }
            cell.begun -= len(slots)
            cell.done -= len(slots)
            self._forgiven.update((cell.name, slot) for slot in slots)
            cell.revived = _picked(self._source, cell.name, slots)
        self._lost.clear()
        self._ring, self._turn = deque(cell for cell in self._cells.values() if not cell.full), 0

    # -- how far it is ----------------------------------------------------------------

    @property
    def accepted(self) -> int:
        """Accepted rows so far."""
        return sum(cell.accepted for cell in self._cells.values())

    @property
    def wanted(self) -> int:
        """Accepted rows wanted in all; of an input, its rows so far."""
        return sum(cell.drawn if cell.wanted is None else cell.wanted for cell in self._cells.values())

    @property
    def shortfall(self) -> dict[str, int]:
        """Missing rows by cell: of a quota, or input rows that gave none. Cells that lack none are left out."""
        missing = {
            name: cell.drawn - cell.filled if cell.wanted is None else cell.wanted - cell.accepted
            for name, cell in self._cells.items()
        }
        return {name: count for name, count in missing.items() if count > 0}

    @property
    def exhausted(self) -> list[str]:
        """Cells with a quota that are not full and have used all their tries."""
        return [name for name, cell in self._cells.items() if cell.spent and not cell.full]


def _picked(source: Source, cell: str, slots: dict[int, int]) -> Iterator[Wanted]:
    """The rows of some slots, drawn anew for their next try."""
    left = len(slots)
    if not left:
        return
    for wanted in source.wanted(cell):
        if wanted.slot in slots:
            yield replace(wanted, attempt=slots[wanted.slot] + 1)
            left -= 1
            if not left:
                return
