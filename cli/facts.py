"""Read what a run folder holds, without taking it: no lock, no write, also while a run is under way.

`Store` would take the run's lock and mark open calls as lost; a report must do
neither. So the tables of `core/database.py` are read here through a read-only
connection and one transaction, which gives one consistent moment of the run.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from stillroom.database import reading
from stillroom.errors import BadConfig, RunError
from stillroom.programs import Plan
from stillroom.rows import EmittedRow

__all__ = ["Emission", "Facts", "Spend", "read_facts"]

PER_GATE = 5  # rejects shown of each gate
KEPT = 12  # accepted rows shown
PHASES = ("compile", "emit", "distil", "prove")
NEEDED = {
    "trial": {"params", "plan", "mean", "rows", "unparsed", "state", "demos", "format", "instruction"},
    "compile": {"established", "verdict", "best", "baseline", "trials", "ended"},
    "funnel": {"gates", "accepted", "written", "shortfall"},
    "row cost": {"words"},
    "proof": {"task", "metric", "rows", "results", "comparisons", "words"},
    "provenance": {
        "licence",
        "sources",
        "ledger",
        "overrides",
        "copies",
        "doubtful",
        "involvement",
        "policies",
        "notes",
    },
}  # what a report looks up in a note of each kind


@dataclass(frozen=True)
class Spend:
    """What one phase has cost: calls by status, tokens, US dollars, wall-clock seconds of its sessions."""

    phase: str
    calls: Mapping[str, int]
    tokens_in: int
    tokens_out: int
    usd: float
    seconds: float


@dataclass(frozen=True)
class Emission:
    """One recipe run, counted from its rows.

    Attributes:
        recipe: Its digest.
        gates: (gate, rows that reached it, rows it stopped), in gate order.
        written: Rows that entered the funnel.
        accepted: Rows that passed every gate.
        recorded: The funnel as the emission itself noted it when it ended; `None` while it has not.
        cells: Accepted and stopped rows of each quota cell.
        words: How many rows have how many words in their inputs, `accepted` and `stopped` apart.
        kept: A fixed sample of accepted rows.
        stopped: A fixed sample of the rows that each gate stopped.
        fates: How many stopped rows were `rejected`, are for `audit`, were lost to faults (`quarantined`), or
            passed when their quota was full (`surplus`).
        provenance: Where the rows come from, as the emission noted it when it ended; `None` while it has not.
        cost: What an accepted row took beside what was forecast, in words; "" where nothing was.
    """

    recipe: str
    gates: tuple[tuple[str, int, int], ...]
    written: int
    accepted: int
    recorded: Mapping[str, Any] | None
    cells: Mapping[str, tuple[int, int]]
    words: Mapping[str, Counter[int]]
    kept: tuple[EmittedRow, ...]
    stopped: Mapping[str, tuple[EmittedRow, ...]]
    fates: Mapping[str, int]
    provenance: Mapping[str, Any] | None = None
    cost: str = ""


@dataclass(frozen=True)
class Facts:
    """Everything a report tells of a run.

    Attributes:
        name: The run folder's name.
        changed: When the newest of its files was changed, in seconds since 1970.
        models: Names of the models called.
        spend: Per phase, in the order of the phases.
        trials: The `trial` notes in order.
        compiled: The `compile` note, or `None` while the search has not ended.
        emissions: One for each recipe.
        proof: The `proof` note, or `None`.
        misses: The `misses` note: by system, the first rows it got wrong.
        plan: The saved plan, the reason why it cannot be read, or `None` where there is none.
        baseline: Likewise.
        overrides: (student, licence, who, why, when) of each licence that a student was trained on by somebody's word.
    """

    name: str
    changed: float
    models: tuple[str, ...]
    spend: tuple[Spend, ...]
    trials: tuple[Mapping[str, Any], ...]
    compiled: Mapping[str, Any] | None
    emissions: tuple[Emission, ...]
    proof: Mapping[str, Any] | None
    misses: Mapping[str, Any]
    plan: Plan | str | None
    baseline: Plan | str | None
    overrides: tuple[tuple[str, str, str, str, str], ...] = ()


def read_facts(run: Path | str) -> Facts:
    """Read the facts of the run folder `run` as they stand at one moment.

    Raises:
        RunError: If the folder holds no run, or one that this version cannot read.
    """
    run = Path(run)
    if not (run / "run.db").is_file():
        raise RunError(
            f"a run folder must hold run.db, got {str(run)!r}", mend="Name the folder given to --run, or compile first."
        )
    try:
        with reading(run / "run.db") as db:
            db.execute("BEGIN")  # all of it is read as of one moment: that of the first read
            notes = _notes(db)
            return Facts(
                run.resolve().name,
                _changed(run),
                tuple(model for (model,) in db.execute("SELECT DISTINCT model FROM calls ORDER BY model")),
                _spend(db),
                tuple(notes.get("trial", {}).values()),
                notes.get("compile", {}).get("latest"),
                _emissions(db, notes),
                notes.get("proof", {}).get("latest"),
                notes.get("misses", {}).get("latest") or {},
                _plan(run / "plan.json"),
                _plan(run / "baseline.json"),
                tuple(_overrides(run)),
            )
    except (sqlite3.DatabaseError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{run / 'run.db'} is not a run that this version can read ({type(error).__name__}: {error})",
            mend="Name another run folder.",
        ) from error


def _changed(run: Path) -> float:
    files = [run / name for name in ("run.db", "run.db-wal", "plan.json")]
    # an empty write-ahead log may be left by a reader: it says nothing about the run
    return max(file.stat().st_mtime for file in files if file.is_file() and file.stat().st_size)


def _overrides(run: Path) -> Iterator[tuple[str, str, str, str, str]]:
    """As the students' cards keep them."""
    for card in sorted(run.glob("students/*/card.json")):
        for each in json.loads(card.read_text(encoding="utf-8")).get("overrides", ()):
            yield card.parent.name, each["licence"], each["by"], each["why"], each["when"]


def _plan(path: Path) -> Plan | str | None:
    if not path.is_file():
        return None
    try:
        return Plan.load(path)
    except BadConfig as error:
        return str(error)


def _notes(db: sqlite3.Connection) -> dict[str, dict[str, Any]]:
    notes: dict[str, dict[str, Any]] = {}
    for kind, key, value in db.execute("SELECT kind, key, value FROM notes ORDER BY kind, key"):
        note = json.loads(value)
        missing = NEEDED.get(kind, set()) - set(note)
        if missing:
            raise KeyError(f"note {kind} {key} lacks {', '.join(sorted(missing))}")
        notes.setdefault(kind, {})[key] = note
    return notes


def _spend(db: sqlite3.Connection) -> tuple[Spend, ...]:
    seconds = dict(db.execute("SELECT phase, SUM(seconds) FROM sessions GROUP BY phase").fetchall())
    calls: dict[str, dict[str, int]] = {phase: {} for phase in seconds}
    cost: dict[str, list[float]] = {phase: [0, 0, 0.0] for phase in seconds}
    by_status = "SELECT phase, status, COUNT(*), SUM(tokens_in), SUM(tokens_out), SUM(usd) FROM calls GROUP BY phase, status ORDER BY phase, status"
    for phase, status, count, *spent in db.execute(by_status):
        calls.setdefault(phase, {})[status] = count
        cost[phase] = [sum(pair) for pair in zip(cost.get(phase, [0, 0, 0.0]), spent, strict=True)]
    phases = sorted(calls, key=lambda phase: (PHASES.index(phase) if phase in PHASES else len(PHASES), phase))
    return tuple(
        Spend(
            phase,
            calls[phase],
            int(cost.get(phase, [0])[0]),
            int(cost[phase][1]),
            cost[phase][2],
            seconds.get(phase, 0.0),
        )
        for phase in phases
    )


def _emissions(db: sqlite3.Connection, notes: Mapping[str, Mapping[str, Any]]) -> tuple[Emission, ...]:
    recorded, origins, costs = (notes.get(kind, {}) for kind in ("funnel", "provenance", "row cost"))
    tallies: dict[str, _Tally] = {recipe: _Tally() for recipe in recorded}
    for recipe, text in db.execute("SELECT recipe, row FROM rows ORDER BY recipe, place"):
        tallies.setdefault(recipe, _Tally()).add(EmittedRow.from_json(json.loads(text)))
    return tuple(
        replace(
            tallies[recipe].emission(recipe, recorded.get(recipe), origins.get(recipe)),
            cost=costs.get(recipe, {}).get("words", ""),
        )
        for recipe in sorted(tallies)
    )


class _Sample:
    """Keep the `size` rows whose hashes are smallest: a fixed draw, whatever the order they come in."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._heap: list[tuple[int, str, EmittedRow]] = []

    def add(self, row: EmittedRow) -> None:
        rank = int.from_bytes(hashlib.sha256(f"{row.id}/{row.place}".encode()).digest()[:8])
        entry = (-rank, row.place, row)
        if len(self._heap) < self._size:
            heapq.heappush(self._heap, entry)
        elif entry[:2] > self._heap[0][:2]:
            heapq.heapreplace(self._heap, entry)

    def rows(self) -> tuple[EmittedRow, ...]:
        return tuple(row for _, _, row in sorted(self._heap, key=lambda entry: entry[1]))


@dataclass
class _Tally:
    """Count the rows of one recipe run as they come."""

    accepted: int = 0
    reached: Counter[str] = field(default_factory=Counter)
    out: Counter[str] = field(default_factory=Counter)
    order: list[str] = field(default_factory=list)
    cells: dict[str, list[int]] = field(default_factory=dict)
    words: dict[str, Counter[int]] = field(default_factory=lambda: {"accepted": Counter(), "stopped": Counter()})
    fates: Counter[str] = field(default_factory=Counter)
    kept: _Sample = field(default_factory=lambda: _Sample(KEPT))
    stopped: dict[str, _Sample] = field(default_factory=dict)

    def add(self, row: EmittedRow) -> None:
        gates = [str(verdict["gate"]) for verdict in row.passport.verdicts]
        self.reached.update(gates)
        self.order = max(self.order, gates, key=len)  # the longest way through shows all gates in order
        cell = self.cells.setdefault(_cell(row), [0, 0])
        if row.status == "accepted":
            self.accepted += 1
            cell[0] += 1
            self.kept.add(row)
        else:
            self.out[row.gate] += 1
            self.fates[row.status] += 1
            cell[1] += 1
            self.stopped.setdefault(row.gate, _Sample(PER_GATE)).add(row)
        if (words := _words(row)) is not None:
            self.words["accepted" if row.status == "accepted" else "stopped"][words] += 1

    def emission(self, recipe: str, recorded: Mapping[str, Any] | None, origin: Mapping[str, Any] | None) -> Emission:
        order = [str(gate) for gate, _, _ in recorded["gates"]] if recorded else self.order
        # what only loses rows (a step that failed, an input row that is none) stands before the gates
        order = [*sorted(self.out.keys() - set(order)), *order]
        return Emission(
            recipe,
            self._gates(order),
            self.accepted + self.out.total(),
            self.accepted,
            recorded,
            {cell: (counts[0], counts[1]) for cell, counts in sorted(self.cells.items())},
            self.words,
            self.kept.rows(),
            {gate: self.stopped[gate].rows() for gate in order if gate in self.stopped},
            dict(sorted(self.fates.items())),
            origin,
        )

    def _gates(self, order: Sequence[str]) -> tuple[tuple[str, int, int], ...]:
        left, gates = self.accepted + self.out.total(), []
        for name in order:
            out = self.out[name]
            # steps and quotas have a verdict of the rows they stopped and of no others: all that were left came by
            gates.append((name, left if out and self.reached[name] == out else self.reached[name], out))
            left -= out
        return tuple(gates)


def _cell(row: EmittedRow) -> str:
    """The quota cell: `place` is cell/slot/attempt, and a cell may hold a slash itself."""
    return row.place.rsplit("/", 2)[0]


def _words(row: EmittedRow) -> int | None:
    """Words in the inputs of a row; `None` where the answer did not parse."""
    wanted = row.passport.target.get("outputs", {})
    inputs = [value for name, value in row.values.items() if name not in wanted]
    if not row.passport.verdicts or (set(row.values) == {"text"} and row.status != "accepted"):
        return None
    return sum(len(str(value).split()) for value in inputs)
