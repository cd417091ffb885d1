"""Count what became of the rows of a run: the funnel, and why cells are short."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from stillroom.rows import EmittedRow

__all__ = ["Reason", "Tally"]

COUNTED = ("repaired", "reasked")
WORDS = 160  # characters of a reason that are kept


@dataclass(frozen=True)
class Reason:
    """What stopped rows of a cell: a gate or step, how many rows, and what it said of the last one."""

    gate: str
    rows: int
    why: str

    def __str__(self) -> str:
        return f"{self.gate} {self.rows} ({self.why})"


@dataclass
class Tally:
    """Counts of one run. Grows with cells and gates, not with rows.

    Attributes:
        fates: Rows by what they have become.
        notes: How often answers were repaired, and asked for again.
    """

    fates: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    _stopped: Counter[str] = field(default_factory=Counter)
    _cells: dict[str, dict[str, tuple[int, str]]] = field(default_factory=dict)

    def add(self, cell: str, row: EmittedRow) -> None:
        """Count one row."""
        self.fates[row.status] += 1
        for name in COUNTED:
            if name in row.extra:
                self.notes[name] += row.extra[name]
        if row.status != "accepted":
            self._stopped[row.gate] += 1
            gates = self._cells.setdefault(cell, {})
            gates[row.gate] = (gates.get(row.gate, (0, ""))[0] + 1, row.why[:WORDS])

    @property
    def written(self) -> int:
        """All rows."""
        return self.fates.total()

    def funnel(self, names: Sequence[str], gates: Sequence[str]) -> tuple[tuple[str, int, int], ...]:
        """(name, rows that reached it, rows it stopped) of each gate, and of other parts that stopped any.

        Args:
            names: Of all parts, in their order.
            gates: Those that are listed whether or not they stopped a row.
        """
        left, found = self.written, []
        for name in names:
            stopped = self._stopped[name]
            if stopped or name in gates:
                found.append((name, left, stopped))
                left -= stopped
        return tuple(found)

    def reasons(self, cells: Mapping[str, int], most: int = 3) -> dict[str, list[Reason]]:
        """For each of `cells` the gates and steps that stopped most of its rows."""
        found: dict[str, list[Reason]] = {}
        for cell in cells:
            gates = self._cells.get(cell, {}).items()
            ordered = sorted(gates, key=lambda each: (-each[1][0], each[0]))[:most]
            found[cell] = [Reason(gate, rows, why) for gate, (rows, why) in ordered]
        return found
