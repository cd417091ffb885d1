"""One SQLite file per run: everything that was paid for, decided or emitted.

    calls   every model call: its request, answer, cost; `done` calls are found again by key
    reused  answers taken over from other runs, with where they come from; they cost nothing here
    evals   one (plan, example, model, sample) -> output, score, why
    rows    every emitted row and every reject, with its passport
    notes   derived facts for reports (trials, funnels, proofs), replaceable by recomputing
    claims  the fingerprint each phase was started with

Records go to one writer that commits them in batches (`writer.py`), in the order
they were made: an answer is on disk before, or with, what was made from it. They
are found again at once, from memory. kill -9 loses at most the answers still under
way and what was recorded in the last 20 ms (never more than 2,048 records); a
power cut about the last second, as the disk is made to keep the log that often.
What is left is whole either way. One process at a time holds a run (`flock`).
"""

from __future__ import annotations

import atexit
import itertools
import json
import os
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from types import TracebackType
from typing import Any

from .database import CALLS, EVALS, NOTES, REUSED, ROWS, UNREADABLE, check, damaged, hold, open_to_read, open_to_write
from .errors import FingerprintChanged
from .ledger import Spent
from .reuse import OtherRuns
from .rows import EmittedRow, Status
from .values import canonical, compact, seal
from .writer import EVERY, MOST, WITHIN, Writer

__all__ = ["Store"]

PAGE = 512  # rows read at a time
MOST_TOKENS = 2**40  # of one call: endpoints may claim anything, and the sum must fit in the file too
FIND = "SELECT response, seal FROM calls WHERE key = ? AND status = 'done'"
FIND_REUSED = "SELECT response, seal FROM reused WHERE key = ?"


class Store:
    """The memory of one run folder. Safe to use from many threads of one process.

    Args:
        folder: Made when missing.
        reuse: Folders of other runs whose finished calls may be taken over, as they are found. They are read
            without being taken or changed. This is the consent to share answers of models that change without
            notice (`@live`): without it no run ever sees the answers of another.
        every: Records that make a batch be committed at once.
        within: Seconds after which a record is committed at the latest, as long as the disk keeps up.
        most: Records that may wait in memory.

    Attributes:
        under_way: For the engines on this store: calls that somebody waits for, by key, so that equal ones are sent once.
        guard: Held to look at `under_way` or change it.

    Raises:
        RunLocked: If another process works in the folder.
        RunReadOnly: If the folder cannot be written.
        RunDamaged: If its file is damaged.
        RunError: If the file there is not a store, or a folder in `reuse` holds none.
    """

    def __init__(
        self,
        folder: Path | str,
        reuse: Sequence[Path | str] = (),
        *,
        every: int = EVERY,
        within: float = WITHIN,
        most: int = MOST,
    ) -> None:
        self.folder = Path(folder)
        self._path = self.folder / "run.db"
        self.under_way: dict[str, Any] = {}
        self.guard = threading.Lock()
        self._sessions: dict[str, tuple[int, float]] = {}
        self._reading = threading.Lock()
        with ExitStack() as held:
            held.callback(os.close, hold(self.folder))
            self._db = held.enter_context(closing(open_to_write(self._path)))
            self._reader = held.enter_context(closing(open_to_read(self._path)))
            self._others = held.enter_context(closing(OtherRuns(reuse, self.folder)))
            self._held: ExitStack | None = held.pop_all()  # all of it was had: it is held until the store closes
        self._reader.create_function("cell", 1, lambda place: place.rsplit("/", 2)[0], deterministic=True)
        (last,) = self._reader.execute("SELECT COALESCE(MAX(id), 0) FROM calls").fetchone()
        self._ids: Iterator[int] = itertools.count(last + 1)
        (some,) = self._reader.execute("SELECT EXISTS (SELECT 1 FROM reused)").fetchone()
        self._reuses = bool(some or self._others)
        self._writer = Writer(self._db, self.folder, self._tick, every=every, within=within, most=most)
        atexit.register(self.close)  # what waits in memory when a program ends without closing its run

    def close(self) -> None:
        """Write everything out and let go of the folder; a second time does nothing.

        Raises:
            RunReadOnly: If the last records could not be written.
        """
        held, self._held = self._held, None
        if held is None:
            return
        atexit.unregister(self.close)
        with held:
            self._writer.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def check(self) -> None:
        """Do nothing while records reach the disk; ask before anything is spent. Raises `RunReadOnly`."""
        self._writer.check()

    def flush(self) -> None:
        """Return when everything recorded so far is on disk. Raises `RunReadOnly`."""
        self._writer.flush()

    # -- claims and sessions -------------------------------------------------

    def claim(self, phase: str, fingerprint: Mapping[str, Any], *, begin: bool = True) -> None:
        """Start or resume `phase`; its fingerprint must be the one it was started with.

        Unless it should `begin`: then a phase that was not started yet stays so.

        Raises:
            FingerprintChanged: Naming each part that differs, old and new.
        """

        def start(db: sqlite3.Connection) -> int | None:
            found = db.execute("SELECT fingerprint FROM claims WHERE phase = ?", (phase,)).fetchone()
            if found is not None:
                _compare(phase, json.loads(found[0]), dict(fingerprint), self.folder)
            if not begin:
                return None
            if found is None:
                db.execute("INSERT INTO claims VALUES (?, ?)", (phase, canonical(dict(fingerprint))))
            return db.execute("INSERT INTO sessions (phase, seconds) VALUES (?, 0)", (phase,)).lastrowid

        session = self._writer.now(start)
        if session is not None:
            self._sessions[phase] = (session, time.monotonic())

    def spent(self, phase: str | None = None) -> Spent:
        """What `phase` (or everything) has cost over all sessions, lost calls at their worst case."""
        where, values = _where("phase", phase)
        (calls,) = self._read(
            f"SELECT COALESCE(SUM(status != 'failed'), 0), COALESCE(SUM(tokens_in), 0), COALESCE(SUM(tokens_out), 0), COALESCE(SUM(usd), 0.0) FROM calls {where}",
            values,
        )
        ((seconds,),) = self._read(f"SELECT COALESCE(SUM(seconds), 0.0) FROM sessions {where}", values)
        return Spent(calls[0], calls[1], calls[2], calls[3], seconds)

    def _tick(self, db: sqlite3.Connection) -> None:
        for session, started in list(self._sessions.values()):
            db.execute("UPDATE sessions SET seconds = ? WHERE id = ?", (time.monotonic() - started, session))

    # -- calls ----------------------------------------------------------------

    def find_call(self, key: str) -> str | None:
        """The recorded answer of a finished call, or `None`; taken over from another run where that is allowed.

        Raises:
            RunDamaged: If the answer on disk is not the one that was recorded.
        """
        fresh = self._writer.find(CALLS, key)
        if fresh is not None:
            return str(fresh[6])
        for text, sealed in self._ask(FIND, (key,)):
            check(self._path, sealed, key, text)  # the key that was asked for: an index may be damaged as well
            return str(text)
        return self._reused(key) if self._reuses else None

    def _reused(self, key: str) -> str | None:
        fresh = self._writer.find(REUSED, key)
        if fresh is not None:
            return str(fresh[4])
        for text, sealed in self._ask(FIND_REUSED, (key,)):
            check(self._path, sealed, key, text)
            return str(text)
        taken = self._others.find(key)
        if taken is None:
            return None
        self._writer.put(REUSED, {key: (key, *taken)})
        return str(taken[3])

    def open_call(self, key: str, phase: str, model: str, tokens: int, usd: float) -> int:
        """Record that a call is about to be made that may cost this much; give its id."""
        call = next(self._ids)
        self._put_unanswered(call, key, phase, model, "open", tokens, usd)
        return call

    def lose_call(self, key: str, phase: str, model: str, tokens: int, usd: float, opened: int | None = None) -> None:
        """Record a call that may have been paid for and that nobody has an answer of, or waits for any more."""
        call = next(self._ids) if opened is None else opened
        self._put_unanswered(call, key, phase, model, "lost", tokens, usd)

    def _put_unanswered(
        self, call: int, key: str, phase: str, model: str, status: str, tokens: int, usd: float
    ) -> None:
        values = (call, key, phase, model, status, None, None, None, min(tokens, MOST_TOKENS), 0, usd, 0.0, None)
        self._writer.put(CALLS, {call: values})

    def finish_call(
        self, key: str, phase: str, model: str, request: str, response: str, cost: Spent, opened: int | None = None
    ) -> None:
        """Record a finished call, in place of its `opened` record if it had one.

        The first answer of a key stays. It is on disk within the batch window; a disk that
        does not take it is told by the next `check`, and the record is kept to be tried again.

        Raises:
            UnicodeEncodeError: If a text holds half a surrogate pair.
        """
        call = next(self._ids) if opened is None else opened
        tokens = min(cost.tokens_in, MOST_TOKENS), min(cost.tokens_out, MOST_TOKENS)
        values = (call, key, phase, model, "done", request, response, None, *tokens, cost.usd, cost.seconds)
        self._writer.put(CALLS, {key: (*values, seal(key, response))}, instead_of=opened)

    def fail_call(self, key: str, phase: str, model: str, error: str, opened: int | None = None) -> None:
        """Record a call that the infrastructure failed; it costs nothing and is never found again."""
        call = next(self._ids) if opened is None else opened
        error = error.encode(errors="replace").decode()
        self._writer.put(CALLS, {call: (call, key, phase, model, "failed", None, None, error, 0, 0, 0.0, 0.0, None)})

    def call_counts(self) -> dict[str, int]:
        """How many calls stand in each status, and how many finished keys stand twice (always 0)."""
        counts = dict(self._read("SELECT status, COUNT(*) FROM calls GROUP BY status"))
        ((counts["twice"],),) = self._read(
            "SELECT COUNT(*) FROM (SELECT key FROM calls WHERE status = 'done' GROUP BY key HAVING COUNT(*) > 1)"
        )
        return counts

    def reuse_counts(self) -> dict[str, int]:
        """How many answers were taken over from each other run, by its folder."""
        return dict(self._read("SELECT origin, COUNT(*) FROM reused GROUP BY origin ORDER BY origin"))

    # -- evaluations, rows, notes ----------------------------------------------

    def put_evals(self, records: Iterable[tuple[str, str, str, str, float | None, str, Any]]) -> None:
        """Record evaluations: (key, plan, example, outcome, score, why, output). The first of a key stays."""
        self.check()
        made: dict[str, tuple[Any, ...]] = {}
        for key, plan, example, outcome, score, why, output in records:
            told = (outcome, None if score is None else float(score), why, canonical(output))
            made.setdefault(key, (key, plan, example, *told, seal(key, *told)))
        self._writer.put(EVALS, made)

    def find_eval(self, key: str) -> tuple[str, float | None, str, Any] | None:
        """The recorded (outcome, score, why, output) of one evaluation, or `None`."""
        fresh = self._writer.find(EVALS, key)
        query = "SELECT outcome, score, why, output, seal FROM evals WHERE key = ?"
        found = [fresh[3:]] if fresh else self._read(query, (key,))
        if not found:
            return None
        *told, sealed = found[0]
        check(self._path, sealed, key, *told)
        return (told[0], told[1], told[2], json.loads(told[3]))

    def put_rows(self, recipe: str, rows: Iterable[EmittedRow]) -> None:
        """Record rows and rejects of a recipe run, after the calls they came from. The first of a place stays.

        They are on disk within the batch window, all of them together, and come back from `rows` in this order.

        Raises:
            RunReadOnly: If records do not reach the disk.
        """
        self.check()
        made: dict[tuple[str, str], tuple[Any, ...]] = {}
        for row in rows:
            text = compact(row.as_json())
            made.setdefault((recipe, row.place), (recipe, row.place, row.status, text, seal(recipe, text)))
        self._writer.put(ROWS, made)

    def rows(self, recipe: str | None = None, status: Status | None = None) -> Iterator[EmittedRow]:
        """All recorded rows, of one recipe run or of all, in the order they were recorded.

        They are read a few at a time: a run of any length takes the same memory. Rows
        recorded meanwhile are seen too.
        """
        last = 0
        while True:
            # the sign keeps SQLite from going by recipe, which would sort everything for each page
            found = self._read(
                "SELECT rowid, recipe, row, seal FROM rows WHERE rowid > ? AND (? IS NULL OR +recipe = ?) AND (? IS NULL OR status = ?) ORDER BY rowid LIMIT ?",
                (last, recipe, recipe, status, status, PAGE),
            )
            for place, made_by, text, sealed in found:
                last = place
                check(self._path, sealed, made_by, text)
                yield EmittedRow.from_json(json.loads(text))
            if len(found) < PAGE:
                return

    def count_rows(self, recipe: str | None = None) -> dict[str, dict[str, int]]:
        """How many rows of each quota cell stand in each status, of one recipe run or of all."""
        where, values = _where("recipe", recipe)
        counts: dict[str, dict[str, int]] = {}
        grouped = f"SELECT cell(place), status, COUNT(*) FROM rows {where} GROUP BY 1, 2 ORDER BY 1, 2"
        for cell, status, count in self._read(grouped, values):
            counts.setdefault(cell, {})[status] = count
        return counts

    def row_totals(self, recipe: str | None = None) -> dict[str, int]:
        """How many rows stand in each status, of one recipe run or of all."""
        return dict(sum((Counter(counts) for counts in self.count_rows(recipe).values()), Counter()))

    def put_note(self, kind: str, key: str, value: Any) -> None:
        """Record a derived fact, in place of an earlier one of the same kind and key; it is on disk at once."""
        text = canonical(value)
        self._writer.put(NOTES, {(kind, key): (kind, key, text, seal(kind, key, text))})
        self.flush()

    def notes(self, kind: str) -> dict[str, Any]:
        """All facts of a kind by key, sorted by key."""
        found = self._read("SELECT key, value, seal FROM notes WHERE kind = ? ORDER BY key", (kind,))
        for key, value, sealed in found:
            check(self._path, sealed, kind, key, value)
        return {key: json.loads(value) for key, value, _ in found}

    def _read(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        """Ask for what must be on disk to be counted."""
        self.flush()
        return self._ask(query, values)

    def _ask(self, query: str, values: Sequence[Any]) -> list[Any]:
        try:
            with self._reading:
                return self._reader.execute(query, values).fetchall()
        except UNREADABLE as error:
            raise damaged(self._path, str(error)[:100]) from error


def _compare(phase: str, old: dict[str, Any], new: dict[str, Any], folder: Path) -> None:
    changed = [
        f"{name} was {old.get(name)!r}, is {new.get(name)!r}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]
    if changed:
        raise FingerprintChanged(
            f"{phase} in {folder} was started with something else: {'; '.join(changed)}",
            mend="Resume with what it was started with, or give a new --run folder.",
        )


def _where(column: str, value: str | None) -> tuple[str, tuple[str, ...]]:
    return ("", ()) if value is None else (f"WHERE {column} = ?", (value,))
