"""What a run has given: rows that stay in its store and are read when they are asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from stillroom.database import check, reading
from stillroom.rows import EmittedRow, Status

from .tally import Reason

if TYPE_CHECKING:
    import pandas as pd

    from stillroom.programs.forecast import Compared
    from stillroom.programs.provenance import Provenance

__all__ = ["NOT_ACCEPTED", "Emitted", "Stored"]

NOT_ACCEPTED: tuple[Status, ...] = ("rejected", "audit", "quarantined", "surplus")


class Stored(Sequence[EmittedRow]):
    """Rows of one run with some fates, in the order they were committed. Each reading goes through the run's file.

    They stay what they were when this was made: rows that the run commits later come behind them.

    Args:
        folder: Of the run.
        key: What the rows are kept under.
        fates: Which of them.
        count: How many there are.
    """

    def __init__(self, folder: Path, key: str, fates: Sequence[Status], count: int) -> None:
        self._path, self._key, self._fates, self._count = folder / "run.db", key, tuple(fates), count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[EmittedRow]:
        return map(EmittedRow.from_json, self.plain())

    def plain(self) -> Iterator[dict[str, Any]]:
        """The rows as plain JSON values, as `EmittedRow.as_json` gives them."""
        wanted = ", ".join("?" * len(self._fates))
        # the sign keeps SQLite from going by recipe, which would sort everything
        query = f"SELECT row, seal FROM rows WHERE +recipe = ? AND status IN ({wanted}) ORDER BY rowid LIMIT ?"
        with reading(self._path) as database:
            for text, sealed in database.execute(query, (self._key, *self._fates, self._count)):
                check(self._path, sealed, self._key, text)
                yield json.loads(text)

    @overload
    def __getitem__(self, at: int) -> EmittedRow: ...
    @overload
    def __getitem__(self, at: slice) -> list[EmittedRow]: ...
    def __getitem__(self, at: int | slice) -> EmittedRow | list[EmittedRow]:
        """Read up to the rows asked for: to look at a few, not to go through all."""
        if isinstance(at, slice):
            places = range(self._count)[at]
            if places.step < 0:
                return list(islice(self, places[-1], places[0] + 1))[:: places.step] if places else []
            return list(islice(self, places.start, places.stop, places.step))
        place = range(self._count)[at]
        return next(islice(self, place, None))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{self._count} {' or '.join(self._fates)} rows of {self._path.parent}>"


@dataclass(frozen=True)
class Emitted:
    """What a run gave.

    Attributes:
        rows: Accepted rows, in the order they were committed.
        rejects: All other rows, each with its fate, gate and reason: `rejected`, for a person to look at (`audit`),
            lost to a fault (`quarantined`), or passed when the quota was full (`surplus`).
        funnel: (gate, how many reached it, how many it stopped), in their order; steps that lost rows are among them.
        shortfall: Wanted rows that are missing, by quota cell; of an input, rows without an answer.
        reasons: For each cell that is short, what stopped most of its rows.
        fates: How many rows have which fate.
        counts: How many answers were repaired (`repaired`) and asked for again (`reasked`).
        provenance: Where the rows come from and who checked them; None until somebody looked.
        cost: What an accepted row took, beside what was forecast; None where nothing was.
    """

    rows: Sequence[EmittedRow]
    rejects: Sequence[EmittedRow]
    funnel: tuple[tuple[str, int, int], ...]
    shortfall: Mapping[str, int]
    reasons: Mapping[str, Sequence[Reason]] = field(default_factory=dict)
    fates: Mapping[str, int] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    provenance: Provenance | None = None
    cost: Compared | None = None

    @property
    def written(self) -> int:
        """Rows that entered the funnel: accepted plus every kind of reject."""
        return len(self.rows) + len(self.rejects)

    def frame(self) -> pd.DataFrame:
        """Accepted rows as a table, in memory: the row's fields, then `id` and the passport as `meta`."""
        import pandas as pd

        return pd.DataFrame([{**row.values, "id": row.id, "meta": row.as_json()["passport"]} for row in self.rows])

    def why(self) -> list[str]:
        """For each cell that is short, how many rows it lacks and what stopped most of its rows."""
        return [
            f"{cell} lacks {missing}: {'; '.join(map(str, self.reasons.get(cell, ()))) or 'none were begun'}"
            for cell, missing in self.shortfall.items()
        ]

    def as_json(self) -> dict[str, Any]:
        """Everything but the rows, for notes and reports."""
        return {
            "gates": [list(each) for each in self.funnel],
            "accepted": len(self.rows),
            "written": self.written,
            "shortfall": dict(self.shortfall),
            "why": self.why(),
            "fates": dict(self.fates),
            **self.counts,
        }
