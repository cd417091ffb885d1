"""What was seen of a flow so far: how many of its rows passed in each cell, and what they and their calls have cost.

It comes from the rows and calls that a run has on record, and is all that a forecast rests on.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from stillroom.database import reading
from stillroom.errors import RunError
from stillroom.programs.flow.draft import unsplit

__all__ = ["Cell", "Moments", "Seen", "Usage", "counted", "models_in", "recorded", "seen_in", "unlike"]

PASSED = ("accepted", "surplus")


@dataclass(frozen=True)
class Moments:
    """What is needed of numbers to estimate the mean of their like: how many, their sum, that of their squares, the least."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0
    least: float = 0.0

    @classmethod
    def of(cls, counts: Mapping[int, int]) -> Moments:
        """Of whole numbers, by how often each came."""
        total, squares = (sum(count * number**power for number, count in counts.items()) for power in (1, 2))
        return cls(sum(counts.values()), float(total), float(squares), min(counts, default=0))

    def __add__(self, other: Moments) -> Moments:
        if not (self.count and other.count):
            return self if self.count else other
        least = min(self.least, other.least)
        return Moments(self.count + other.count, self.total + other.total, self.squares + other.squares, least)

    @property
    def mean(self) -> float:
        """The mean; 0 of nothing."""
        return self.total / self.count if self.count else 0.0

    @property
    def variance(self) -> float:
        """The variance of a sample; 0 of one number."""
        if self.count < 2:
            return 0.0
        return max(0.0, (self.squares - self.total * self.mean) / (self.count - 1))


@dataclass(frozen=True)
class Cell:
    """The rows of one cell.

    Attributes:
        begun: Rows begun and committed.
        gave: Of those begun, the ones that gave a row which came through all gates.
        passed: Rows that came through, surplus ones included; more than `gave` only where rows are split.
        accepted: Those that count for the quota.
        stopped: Rows stopped, by gate or step.
    """

    begun: int = 0
    gave: int = 0
    passed: int = 0
    accepted: int = 0
    stopped: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Usage:
    """The finished calls of one model: their tokens, and the seconds that each took beside the others."""

    tokens_in: Moments
    tokens_out: Moments
    seconds: Moments

    @property
    def calls(self) -> int:
        """How many."""
        return self.tokens_in.count


@dataclass(frozen=True)
class Seen:
    """What was seen.

    Attributes:
        origin: Of what, in words.
        cells: By name.
        asked: Calls that each begun row asked for, answers that were on record already included; by the gate or step
            that stopped the row, "" for those that passed.
        models: Calls by the model that answered.
        calls: How many were timed.
        seconds: In how many seconds, by the clock, some of these were under way; 0 where nobody looked.
        wall: How many went by meanwhile, those in which gates computed and things were prepared among them.
    """

    origin: str
    cells: Mapping[str, Cell]
    asked: Mapping[str, Moments]
    models: Mapping[str, Usage]
    calls: int = 0
    seconds: float = 0.0
    wall: float = 0.0

    @property
    def begun(self) -> int:
        """Rows begun and committed."""
        return sum(cell.begun for cell in self.cells.values())

    @property
    def passed(self) -> int:
        """Rows that came through all gates."""
        return sum(cell.passed for cell in self.cells.values())

    @property
    def size(self) -> float:
        """Rows that one gave which gave any."""
        gave = sum(cell.gave for cell in self.cells.values())
        return self.passed / gave if gave else 1.0

    @property
    def pace(self) -> float:
        """Calls a second; 0 where nobody looked."""
        return self.calls / self.seconds if self.seconds > 0 else 0.0

    @property
    def under_way(self) -> float:
        """Calls under way at once, on average (Little 1961: pace times seconds a call); 0 where nobody looked."""
        many = sum(usage.calls for usage in self.models.values())
        each = sum(usage.seconds.total for usage in self.models.values()) / many if many else 0.0
        return self.pace * each

    def as_json(self) -> dict[str, Any]:
        """As a plain JSON value."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Seen:
        """Read back what `as_json` wrote."""
        return cls(
            value["origin"],
            {name: Cell(**cell) for name, cell in value["cells"].items()},
            {gate: Moments(**moments) for gate, moments in value["asked"].items()},
            {
                model: Usage(*(Moments(**usage[name]) for name in ("tokens_in", "tokens_out", "seconds")))
                for model, usage in value["models"].items()
            },
            value["calls"],
            value["seconds"],
            value["wall"],
        )


def seen_in(folder: Path | str, phase: str = "emit", recipe: str | None = None) -> Seen:
    """What another run has on record, without taking it.

    Args:
        folder: Of the run.
        phase: Whose calls are meant.
        recipe: What its rows are kept under; that with the most rows, where not given.

    Raises:
        RunError: If there is no run that can be read, or it has no rows.
    """
    path = Path(folder) / "run.db"
    if not path.is_file():
        raise RunError(f"a run folder must hold run.db, got {str(folder)!r}", mend="Name a folder given to --run.")
    try:
        with reading(path) as db:
            if recipe is None:
                most = "SELECT recipe FROM rows GROUP BY recipe ORDER BY COUNT(*) DESC LIMIT 1"
                recipe = next((name for (name,) in db.execute(most)), "")
            found = recorded(db, phase, recipe, str(folder))
    except (sqlite3.DatabaseError, ValueError, TypeError) as error:
        raise RunError(f"{path} is not a run that can be read ({type(error).__name__}: {error})") from error
    if not found.begun:
        raise RunError(
            f"a forecast from a run needs rows of it, {str(folder)!r} has none",
            mend="Emit there first, or use --probe.",
        )
    return found


def unlike(folder: Path | str, phase: str, fingerprint: Mapping[str, Any]) -> list[str]:
    """In which parts of its fingerprint another run differs: its plan, say, or a gate."""
    with reading(Path(folder) / "run.db") as db:
        found = db.execute("SELECT fingerprint FROM claims WHERE phase = ?", (phase,)).fetchone()
    other = {} if found is None else json.loads(found[0])
    return [name for name in sorted(fingerprint.keys() | other.keys()) if fingerprint.get(name) != other.get(name)]


def recorded(db: sqlite3.Connection, phase: str, recipe: str, name: str) -> Seen:
    """What is on record of one recipe, through a connection that reads; the run is called `name`."""
    cells, asked = counted(db, recipe)
    ((seconds,),) = db.execute("SELECT COALESCE(SUM(seconds), 0) FROM sessions WHERE phase = ?", (phase,))
    models = models_in(db, phase)
    begun = sum(cell.begun for cell in cells.values())
    timed = sum(usage.calls for usage in models.values())
    return Seen(f"{begun:,} rows of {name}", cells, asked, models, timed, seconds, seconds)


def counted(db: sqlite3.Connection, recipe: str) -> tuple[dict[str, Cell], dict[str, Moments]]:
    """The cells of a recipe's rows, and the calls that each row begun has asked for, by what stopped it."""
    cells: dict[str, list[int]] = {}
    stopped: dict[str, Counter[str]] = {}
    asked: dict[str, Counter[int]] = {}
    for place, rows in groupby(_rows(db, recipe), key=lambda row: unsplit(row[0], 0)):
        name = place.rsplit("/", 2)[0]
        cell = cells.setdefault(name, [0, 0, 0, 0])
        fates, many, last = Counter[str](), 0, ""
        for _, status, gate, calls in rows:
            many += calls
            fates[status] += 1
            if status not in PASSED:
                stopped.setdefault(name, Counter())[gate] += 1
                last = gate
        passed = sum(fates[status] for status in PASSED)
        asked.setdefault("" if passed else last, Counter())[many] += 1
        for at, count in enumerate((1, passed > 0, passed, fates["accepted"])):
            cell[at] += count
    return {
        name: Cell(begun, gave, passed, accepted, dict(stopped.get(name, {})))
        for name, (begun, gave, passed, accepted) in cells.items()
    }, {gate: Moments.of(counts) for gate, counts in asked.items()}


def _rows(db: sqlite3.Connection, recipe: str) -> Iterator[tuple[str, str, str, int]]:
    """(place, status, gate, calls), in the order they were committed."""
    # the sign keeps SQLite from going by recipe, which would sort everything
    query = (
        "SELECT place, status, json_extract(row, '$.gate'), json_extract(row, '$.passport.calls')"
        " FROM rows WHERE +recipe = ? ORDER BY rowid"
    )
    yield from db.execute(query, (recipe,))


def models_in(db: sqlite3.Connection, phase: str) -> dict[str, Usage]:
    """The finished calls of a phase, by the model that answered."""
    sums = ", ".join(
        f"SUM({name}), SUM(1.0 * {name} * {name}), MIN({name})" for name in ("tokens_in", "tokens_out", "seconds")
    )
    query = (
        f"SELECT model, COUNT(*), {sums} FROM calls WHERE phase = ? AND status = 'done' GROUP BY model ORDER BY model"
    )
    return {
        model: Usage(*(Moments(count, *sums[at : at + 3]) for at in (0, 3, 6)))
        for model, count, *sums in db.execute(query, (phase,))
    }
